"""Networks of convolutional blocks and their losses, as autograd computes them: every layer from its own hinge loss
(CLAPP++ and its relatives), or the top layer's loss through the whole network (BP-CLAPP++)."""

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint


def pooled(z, cell):
    """Means over cells of `cell` x `cell` positions, or over the whole map, as one row an image."""
    p = F.adaptive_avg_pool2d(z, 1) if cell is None else F.avg_pool2d(z, cell)
    return p.flatten(1)


def hinge(p, c, projection):
    """Mean loss over the rows; contexts are not part of the gradient, positives and negatives are."""
    rows = p.shape[0]
    partner = torch.roll(p, rows // 2, 0)
    s = F.linear(c.detach(), projection)
    u_pos = (partner * s).sum(1)
    u_neg = (torch.roll(partner, -1, 0) * s).sum(1)
    return (F.relu(1 - u_pos) + F.relu(1 + u_neg)).mean()


def block(z, weight, bias, max_pool):
    z = F.relu(F.conv2d(z, weight, bias, padding=1))
    return F.max_pool2d(z, 2) if max_pool else z


class Network:
    """`spec` is {"learning": "local" or "global", "layers": [{"max_pool": bool, "cell": int or None}, ...]}, `tensors`
    the first values of `layerN.weight`, `.bias`, `.projection` (context of the same layer), `.feedback` (of the top)."""

    def __init__(self, spec, tensors, channels_last, recompute=False):
        self.spec = spec
        self.recompute = recompute
        if channels_last:
            tensors = {
                name: t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t
                for name, t in tensors.items()
            }
        self.parameters = {name: t.requires_grad_() for name, t in tensors.items()}

    def losses(self, x):
        """The loss of each layer that has one, for the rows `x`: first views, then second views."""
        local = self.spec["learning"] == "local"
        maps, z = [], x
        for index, layer in enumerate(self.spec["layers"]):
            weight, bias = (self.parameters[f"layer{index}.{name}"] for name in ("weight", "bias"))
            if self.recompute:
                z = checkpoint(block, z, weight, bias, layer["max_pool"], use_reentrant=False)
            else:
                z = block(z.detach() if local else z, weight, bias, layer["max_pool"])
            maps.append(z)
        cells = [layer["cell"] for layer in self.spec["layers"]]
        if not local:
            p = pooled(maps[-1], cells[-1])
            return [hinge(p, p, self.parameters[f"layer{len(maps) - 1}.projection"])]
        p = [pooled(z, cell) for z, cell in zip(maps, cells)]
        losses = []
        for index, own in enumerate(p):
            terms = []
            if f"layer{index}.projection" in self.parameters:
                terms.append(hinge(own, own, self.parameters[f"layer{index}.projection"]))
            if f"layer{index}.feedback" in self.parameters:
                terms.append(hinge(own, p[-1], self.parameters[f"layer{index}.feedback"]))
            losses.append(sum(terms))
        return losses

"""The same training step as `peer_step`, in PyTorch: every layer from its own hinge loss (CLAPP++ and its
relatives), or the top layer's loss through the whole network (BP-CLAPP++), with AdamW.

Reads the network, its first parameters and one batch from a safetensors file that `peer_step` wrote, takes some
steps on it, and prints one line of JSON: the losses of the first steps (they must agree with those of
`peer_step`), the seconds of each step, and the peak of the process's memory.
"""

import argparse
import json
import os
import time

import torch
import torch.nn.functional as F
from safetensors import safe_open


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layout", choices=["nchw", "channels-last"], default="channels-last")
    parser.add_argument("--adamw", choices=["fused", "foreach", "loop"], default="fused")
    return parser.parse_args()


def peak_mib():
    """Peak of resident memory since `clear_peak`, as the kernel counts it."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def clear_peak():
    """Forgets the peak so far: what reading the file took is not the step's."""
    try:
        with open("/proc/self/clear_refs", "w") as refs:
            refs.write("5")
    except OSError:
        pass


def pooled(z, cell):
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


class Network:
    def __init__(self, path, layout):
        with safe_open(path, "pt") as file:
            self.spec = json.loads(file.metadata()["peer"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        self.x = tensors.pop("x")
        if layout == "channels-last":
            self.x = self.x.contiguous(memory_format=torch.channels_last)
            tensors = {
                name: t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t
                for name, t in tensors.items()
            }
        self.parameters = {name: t.requires_grad_() for name, t in tensors.items()}

    def losses(self):
        local = self.spec["learning"] == "local"
        maps, z = [], self.x
        for index, layer in enumerate(self.spec["layers"]):
            weight, bias = (self.parameters[f"layer{index}.{name}"] for name in ("weight", "bias"))
            z = F.relu(F.conv2d(z.detach() if local else z, weight, bias, padding=1))
            if layer["max_pool"]:
                z = F.max_pool2d(z, 2)
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


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    network = Network(args.file, args.layout)
    kind = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}[args.adamw]
    optimizer = torch.optim.AdamW(list(network.parameters.values()), lr=network.spec["lr"], weight_decay=0.0, **kind)
    clear_peak()
    seconds, losses = [], []
    for step in range(args.warm_up + args.steps):
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        parts = network.losses()
        sum(parts).backward()
        optimizer.step()
        if step < 3:
            losses.append([part.item() for part in parts])
        if step >= args.warm_up:
            seconds.append(time.perf_counter() - begin)
    print(
        json.dumps(
            {
                "program": f"PyTorch {torch.__version__.split('+')[0]}",
                "losses": losses,
                "seconds": seconds,
                "images": network.x.shape[0] // 2,
                "peak_mib": peak_mib(),
                "threads": torch.get_num_threads(),
                "pid": os.getpid(),
            }
        )
    )


if __name__ == "__main__":
    main()

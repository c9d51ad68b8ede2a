"""VGG-6 as the presets `cifar10`, `tiny-imagenet` and `stl10` of `clapp` have it (host-gpu/engine/src/config/presets.rs), and
its rules."""

import math

import torch

CHANNELS = [128, 256, 256, 512, 1024, 1024]
HALVES = [False, True, False, True, True, True]
# Sides of the cells of the loss pooling, at the input's size.
CELLS = {32: [4, 4, 4, 2, 2, 1], 64: [8, 8, 8, 4, 4, 2], 96: [12, 12, 12, 6, 6, 3]}
LEARNING_RATE = 2e-4
WEIGHT_DECAY = {32: 0.0, 64: 1e-5, 96: 0.0}
# Rule: the network's learning, contexts of the losses, and what back-propagation does to save memory.
RULES = {
    "clapp++": ("local", ["projection"], None),
    "clapp++dfb": ("local", ["feedback"], None),
    "clapp++both": ("local", ["projection", "feedback"], None),
    "bp-clapp++": ("global", ["projection"], None),
    "bp-clapp++accumulate": ("global", ["projection"], "accumulate"),
    "bp-clapp++checkpoint": ("global", ["projection"], "checkpoint"),
}


def describe(rule, size):
    """The description that `network.Network` takes."""
    learning, _, _ = RULES[rule]
    cells = CELLS[size] if learning == "local" else [None] * len(CHANNELS)
    layers = [{"max_pool": halves, "cell": cell} for halves, cell in zip(HALVES, cells)]
    return {"learning": learning, "layers": layers}


def first_values(rule, size, width, device):
    """First values of all parameters, uniform in the inverse root of the fan-in."""
    learning, contexts, _ = RULES[rule]
    generator = torch.Generator().manual_seed(1)

    def uniform(fan_in, *shape):
        values = torch.empty(shape).uniform_(-1, 1, generator=generator)
        return (values / math.sqrt(fan_in)).to(device)

    channels = [max(1, math.floor(c * width + 0.5)) for c in CHANNELS]
    tensors, dimensions, side, below = {}, [], size, 3
    for index, (out, halves, cell) in enumerate(zip(channels, HALVES, CELLS[size])):
        tensors[f"layer{index}.weight"] = uniform(9 * below, out, below, 3, 3)
        tensors[f"layer{index}.bias"] = uniform(9 * below, out)
        side = side // 2 if halves else side
        dimensions.append(out * (side // cell) ** 2 if learning == "local" else out)
        below = out
    top = len(channels) - 1
    for index, own in enumerate(dimensions):
        if learning == "global" and index != top:
            continue
        for context in contexts:
            source = dimensions[top] if context == "feedback" else own
            tensors[f"layer{index}.{context}"] = uniform(source, own, source)
    return tensors

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
from network import Network
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


def read(path, channels_last):
    """The network, and its batch."""
    with safe_open(path, "pt") as file:
        spec = json.loads(file.metadata()["peer"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    x = tensors.pop("x")
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    return Network(spec, tensors, channels_last), x


def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    network, x = read(args.file, args.layout == "channels-last")
    kind = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}[args.adamw]
    optimizer = torch.optim.AdamW(list(network.parameters.values()), lr=network.spec["lr"], weight_decay=0.0, **kind)
    clear_peak()
    seconds, losses = [], []
    for step in range(args.warm_up + args.steps):
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        parts = network.losses(x)
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
                "images": x.shape[0] // 2,
                "peak_mib": peak_mib(),
                "threads": torch.get_num_threads(),
                "pid": os.getpid(),
            }
        )
    )


if __name__ == "__main__":
    main()

"""What the device can do at most: a large matrix product and a large convolution in each precision, and a copy in its
memory. The floor of a training step is stated with them. Prints one line of JSON.
"""

import argparse
import json

import torch
import torch.nn.functional as F
from speed import Clock, device_of


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--side", type=int, default=8192, help="of the square matrices")
    parser.add_argument("--rows", type=int, default=512, help="frames of the convolution")
    parser.add_argument("--channels", type=int, default=512)
    parser.add_argument("--copy", type=int, default=1 << 30, help="bytes of the copy")
    parser.add_argument("--repetitions", type=int, default=10)
    return parser.parse_args()


def fastest(work, device, repetitions):
    """Seconds of the fastest of several, as a bound should be."""
    for _ in range(3):
        work()
    clock = Clock(device)
    clock.mark()
    for _ in range(repetitions):
        work()
        clock.mark()
    return min(clock.seconds())


def main():
    args = arguments()
    device = device_of(args.device)
    torch.backends.cudnn.benchmark = True
    result = {"device": torch.cuda.get_device_name() if device.type == "cuda" else device.type}
    precisions = {"f32": (torch.float32, False), "tf32": (torch.float32, True), "bf16": (torch.bfloat16, True)}
    for name, (dtype, tf32) in precisions.items():
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        # Random numbers: a product of zeros draws less power and runs faster than any real one.
        a, b = (torch.randn(args.side, args.side, device=device, dtype=dtype) for _ in range(2))
        seconds = fastest(lambda: a @ b, device, args.repetitions)
        result[f"product_flops_{name}"] = 2 * args.side**3 / seconds
        del a, b
        shape = (args.rows, args.channels, 16, 16)
        x = torch.randn(shape, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        w = torch.randn(args.channels, args.channels, 3, 3, device=device, dtype=dtype)
        w = w.contiguous(memory_format=torch.channels_last)
        seconds = fastest(lambda: F.conv2d(x, w, padding=1), device, args.repetitions)
        result[f"convolution_flops_{name}"] = 2 * 9 * args.channels**2 * args.rows * 16 * 16 / seconds
        del x, w
    source = torch.randint(0, 255, (args.copy,), device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    # Read and written.
    result["copy_bytes_per_second"] = 2 * args.copy / fastest(lambda: target.copy_(source), device, args.repetitions)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""Seconds and bytes of training steps of VGG-6 as the paper's code does them: autograd with detached blocks, AdamW.

Prints one line of JSON for each combination of rule, size, batch, variant and mode, as soon as it is measured. A
combination that does not fit into memory, or fails, gives a line with the reason; the next one follows.

variants   as-is: NCHW, float32 with PyTorch's defaults (TF32 in convolutions)
           best:  channels-last, autocast to bfloat16, torch.compile, cuDNN's search, fused AdamW, and the whole step as
                  one CUDA graph; if the compiler fails or the graph cannot be captured, the row says why and is of the
                  steps without it
modes      step:       one batch that lies on the device
           end-to-end: with views made by torchvision in a DataLoader's workers, copied to the device
"""

import argparse
import glob
import itertools
import json
import os
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import vgg6
from network import Network


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rules", default=",".join(vgg6.RULES))
    parser.add_argument("--sizes", default="32,64,96")
    parser.add_argument("--batches", default="32,256", help="pairs in a batch")
    parser.add_argument("--variants", default="as-is,best")
    parser.add_argument("--modes", default="step,end-to-end")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warm-up", type=int, default=5)
    parser.add_argument("--parts", type=int, default=4, help="parts of a batch of bp-clapp++accumulate")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes of the DataLoader")
    parser.add_argument("--images", type=int, default=4096, help="generated images")
    parser.add_argument("--cifar", help="folder of CIFAR-10's binary files, in place of generated images at size 32")
    parser.add_argument("--deadline", type=float, default=float("inf"), help="seconds after which nothing new is begun")
    return parser.parse_args()


class Clock:
    """The times between steps: as the device counts them, without waiting for it, where it can."""

    def __init__(self, device):
        self.device, self.marks = device, []

    def mark(self):
        if self.device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def seconds(self):
        pairs = itertools.pairwise(self.marks)
        if self.device.type != "cuda":
            return [after - before for before, after in pairs]
        torch.cuda.synchronize()
        return [before.elapsed_time(after) / 1e3 for before, after in pairs]


class Training:
    """The parameters of a rule, and one step of them."""

    def __init__(self, rule, size, variant, args, device):
        _, _, saving = vgg6.RULES[rule]
        self.best = variant == "best"
        self.device = device
        tensors = vgg6.first_values(rule, size, args.width, device)
        self.network = Network(vgg6.describe(rule, size), tensors, self.best, saving == "checkpoint")
        self.count = args.parts if saving == "accumulate" else 1
        self.loss = torch.compile(self.total, dynamic=False) if self.best else self.total
        # As part of a graph, the optimiser must count its steps on the device.
        graphs = self.best and device.type == "cuda"
        fused = ({"fused": True} if self.best else {}) | ({"capturable": True} if graphs else {})
        self.graph, self.input, self.graph_loss = None, None, None
        parameters = list(self.network.parameters.values())
        self.optimizer = torch.optim.AdamW(
            parameters, lr=vgg6.LEARNING_RATE, weight_decay=vgg6.WEIGHT_DECAY[size], **fused
        )

    def total(self, x):
        """The sum of all layers' losses; no gradient crosses a layer's border where they are local."""
        return sum(self.network.losses(x))

    def parts(self, x):
        """The rows of the batches whose gradients are added up; each compares its images with its own only."""
        if self.count == 1:
            return [x]
        first, second = x.chunk(2)
        return [torch.cat(pair) for pair in zip(first.chunk(self.count), second.chunk(self.count))]

    def first_step(self, x):
        """A step that compiles the loss. If the compiler fails: a step without it, and the reason."""
        try:
            self.eager_step(x)
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:
            if not self.best:
                raise
            self.loss = self.total
            self.eager_step(x)
            return reason(error)
        return None

    def capture(self, x):
        """Makes the steps on batches of this size one graph; returns the reason if that fails."""
        if not self.best:
            return None
        if self.device.type != "cuda":
            return "needs a GPU"
        self.input = x.clone()
        try:
            # Everything that is compiled, searched or allocated lazily happens beside the capture, on a stream of its own.
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(3):
                    self.eager_step(self.input)
            torch.cuda.current_stream().wait_stream(beside)
            torch.cuda.synchronize()
            self.optimizer.zero_grad(set_to_none=True)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.graph_loss = self.eager_step(self.input)
            self.graph = graph
        except RuntimeError as error:
            torch.cuda.synchronize()
            return reason(error)
        return None

    def step(self, x):
        if self.graph is None:
            return self.eager_step(x)
        self.input.copy_(x)
        self.graph.replay()
        return self.graph_loss

    def eager_step(self, x):
        self.optimizer.zero_grad(set_to_none=True)
        parts = self.parts(x)
        for part in parts:
            if self.best:
                part = part.contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.best):
                loss = self.loss(part)
            (loss / len(parts)).backward()
        self.optimizer.step()
        return loss.detach()


def reason(error):
    """The first line of an error, with its kind."""
    return f"{type(error).__name__}: {error}".strip().split("\n")[0]


def device_of(name):
    """The device; ends the program if PyTorch cannot use it."""
    device = torch.device(name)
    if device.type == "cuda":
        try:
            torch.cuda.init()
        except Exception as error:
            sys.exit(f"PyTorch cannot use the GPU: {reason(error)}")
    return device


def on_device(host, device):
    """The next batch there; the copy is queued."""
    return (x.to(device, non_blocking=True) for x in host)


def measure(training, source, args, mode):
    device = training.device
    without_compiler = training.first_step(next(source))
    for _ in range(args.warm_up - 1):
        training.eager_step(next(source))
    result = {} if without_compiler is None else {"without_compiler": without_compiler}
    if device.type == "cuda":
        # Of steps without a graph: the memory of a graph is not counted while it runs.
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        training.eager_step(next(source))
        torch.cuda.synchronize()
        result["peak_bytes"] = torch.cuda.max_memory_allocated()
    without = training.capture(next(source))
    clock = Clock(device)
    if device.type == "cuda":
        torch.cuda.synchronize()
    clock.mark()
    for _ in range(args.steps):
        loss = training.step(next(source))
        clock.mark()
    seconds = clock.seconds()
    # Batches come in bursts of as many as there are workers: the median of single steps would hide the waiting.
    result["seconds_per_step"] = statistics.median(seconds) if mode == "step" else sum(seconds) / len(seconds)
    result["last_loss"] = loss.item()
    if without is not None:
        result["without_graph"] = without
    return result


def row(rule, size, batch, variant, mode, args, images):
    device = torch.device(args.device)
    cuda = device.type == "cuda"
    torch.manual_seed(1)
    # PyTorch's defaults, named: convolutions in TF32, products in full precision.
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = True, False
    torch.backends.cudnn.benchmark = variant == "best"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    training = Training(rule, size, variant, args, device)
    if mode == "step":
        source = itertools.repeat(torch.randn(2 * batch, 3, size, size, device=device))
    else:
        import views

        source = on_device(views.batches(images(size, batch), size, batch, args.workers), device)
    result = measure(training, source, args, mode)
    result["images_per_second"] = batch / result["seconds_per_step"]
    result["parameters"] = sum(p.numel() for p in training.network.parameters.values())
    if cuda:
        result["reserved_bytes"] = torch.cuda.max_memory_reserved()
    return result


def main():
    args = arguments()
    begin = time.monotonic()
    device_of(args.device)

    def images(size, batch):
        import views

        if size == 32 and args.cifar:
            return views.cifar10(sorted(glob.glob(f"{args.cifar}/data_batch_*.bin")))
        return views.generated(max(args.images, batch), size)

    lists = (args.rules, args.sizes, args.batches, args.variants, args.modes)
    rules, sizes, batches, variants, modes = (given.split(",") for given in lists)
    for size, batch, mode, rule, variant in itertools.product(sizes, batches, modes, rules, variants):
        if time.monotonic() - begin > args.deadline:
            break
        size, batch = int(size), int(batch)
        line = {"rule": rule, "size": size, "batch": batch, "variant": variant, "mode": mode, "width": args.width}
        line |= {"torch": torch.__version__, "steps": args.steps}
        if mode == "end-to-end":
            line["workers"] = args.workers
        try:
            line |= row(rule, size, batch, variant, mode, args, images)
        except torch.cuda.OutOfMemoryError:
            line["error"] = "out of memory"
        except Exception as error:
            line["error"] = f"failed: {reason(error)}"
        torch._dynamo.reset()
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()

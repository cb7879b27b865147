"""What the sides share: images from a file, the clock, and memory. Needs torch alone.

The clock runs from the moment a batch is in hand to the moment the weights have changed. The first `UNTIMED` steps, in
which kernels are compiled, aren't counted. Memory is the process's peak over what it held before the supernet.
"""

from __future__ import annotations

import json
import statistics
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from resident import forget_peak, peak, resident
from torch import Tensor

UNTIMED = 20
LR, MOMENTUM, WEIGHT_DECAY = 0.05, 0.9, 1e-4

Batch = tuple[Tensor, Tensor]


def parser() -> ArgumentParser:
    """The flags that all sides have."""
    made = ArgumentParser()
    made.add_argument("--images", type=Path, required=True, help="a file of uint8 images, labels, mean and std")
    made.add_argument("--strategy", required=True)
    made.add_argument("--steps", type=int, required=True, help="that are timed")
    made.add_argument("--batch-size", type=int, required=True)
    made.add_argument("--threads", type=int, required=True)
    made.add_argument("--channels-last", action="store_true")
    return made


def batches(options: Namespace) -> Iterator[Batch]:
    """Normalized batches in the order of a fixed seed, for ever; in the layout wanted."""
    held = torch.load(options.images, weights_only=True)
    mean, std = (torch.tensor(held[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    stream = torch.Generator().manual_seed(0)
    while True:
        for chosen in torch.randperm(len(held["labels"]), generator=stream).split(options.batch_size):
            if len(chosen) == options.batch_size:
                values = (held["images"][chosen].float() / 255 - mean) / std
                yield values.contiguous(memory_format=layout), held["labels"][chosen]


def sgd(parameters: Iterator[Tensor]) -> torch.optim.SGD:
    """The peers' optimizer of the weights; ours has the same momentum."""
    return torch.optim.SGD(parameters, lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True)


def measure(options: Namespace, make: Callable[[], Callable[[], float]]) -> None:
    """Makes the supernet, times its steps, and prints what was measured as JSON.

    Args:
        options: of `parser`.
        make: makes everything and gives a function that takes one step and returns its seconds.
    """
    torch.set_num_threads(options.threads)
    forget_peak()
    before = resident()
    step = make()
    seconds = [step() for _ in range(UNTIMED + options.steps)][UNTIMED:]
    found = {
        "seconds": statistics.median(seconds),
        "seconds_mean": statistics.fmean(seconds),
        "peak_mib": peak() - before,
        "torch": torch.__version__,
    }
    print(json.dumps(found))


def timed(work: Callable[[], object]) -> float:
    """Its seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start

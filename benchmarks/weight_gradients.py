"""The backward pass of depthwise convolutions on a CPU: torch's, and that of `fpnas.elastic.weight_gradients`.

    python benchmarks/weight_gradients.py [--results FILE.md]

Layers by themselves, forward and backward, and whole steps of random networks; the two take turns, processor seconds of
one thread are counted, memory is kept as `fpnas` has malloc keep it.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import results_file
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fpnas
from fpnas.allocator import keep_memory
from fpnas.elastic.weight_gradients import quicken
from fpnas.spaces import by_name

LAYERS = [
    (5, 1, 64, 24),
    (5, 1, 32, 48),
    (5, 1, 16, 96),
    (5, 1, 8, 144),
    (5, 1, 4, 192),
    (5, 2, 32, 96),
    (3, 1, 2, 192),
]
"""Kernel, stride, px of the input, channels."""

NETWORKS = [("tiny", 32, 64), ("tiny", 32, 128), ("fbnetv2-f", 64, 64), ("fbnetv2-f", 128, 32)]
"""Space, px, images a step."""

EACH, ROUNDS, BATCH = 8, 7, 64


def pair(network: nn.Module, x: Tensor) -> tuple[float, float]:
    """Milliseconds of a step by torch's backward pass and by the other: medians of turns."""
    plain = network.to(memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
    quick = copy.deepcopy(plain)
    quicken(quick)
    found = tuple(list[float]() for _ in range(2))
    for number in range(ROUNDS + 2):
        for ways, each in zip(found, (plain, quick), strict=True):
            took = _seconds(lambda each=each: _step(each, x))
            if number > 1:  # shapes are compiled before
                ways.append(1000 * took)
    return statistics.median(found[0]), statistics.median(found[1])


def _step(network: nn.Module, x: Tensor) -> None:
    y = network(x)
    network.zero_grad()
    loss = y.square().mean() if y.dim() == 4 else F.cross_entropy(y, torch.arange(len(y)) % y.shape[1])
    loss.backward()


def _seconds(call: Callable[[], None]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def batch(images: int, channels: int, size: int) -> Tensor:
    return torch.rand(images, channels, size, size).to(memory_format=torch.channels_last)


def layers() -> list[tuple[object, ...]]:
    """A row for each: what it is, both ways, and their ratio."""
    rows: list[tuple[object, ...]] = []
    for kernel, stride, size, channels in LAYERS:
        layer = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
        plain, quick = pair(layer, batch(BATCH, channels, size).requires_grad_())
        rows.append((f"{kernel} x {kernel}, stride {stride}", size, channels, f"{plain:.2f}", f"{quick:.2f}",
                     f"{quick / plain:.2f}"))  # fmt: skip
    return rows


def networks() -> list[tuple[object, ...]]:
    """A row for each space: sums over random networks."""
    rows: list[tuple[object, ...]] = []
    for name, size, images in NETWORKS:
        supernet = by_name(name)(num_classes=10, in_channels=3, image_size=size)
        codes = fpnas.ArchDistribution(supernet.space).sample(EACH, torch.Generator().manual_seed(0)).tolist()
        x = batch(images, 3, size)
        pairs = [pair(fpnas.from_scratch(supernet, supernet.space.decode(code), 0), x) for code in codes]
        plain, quick = (sum(found) / EACH for found in zip(*pairs, strict=True))
        shares = [after / before for before, after in pairs]
        rows.append((name, size, images, f"{plain:.1f}", f"{quick:.1f}", f"{quick / plain:.2f}",
                     f"{min(shares):.2f} to {max(shares):.2f}"))  # fmt: skip
    return rows


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    facts = f"{BATCH} images a layer; {EACH} random networks of a space; medians of {ROUNDS} turns, processor time"
    lines = results_file.head("Depthwise convolutions with a backward pass of their own", facts)
    head = ("layer", "px", "channels", "torch's, ms", "ours, ms", "ratio")
    lines += results_file.table(head, layers())
    head = ("networks of", "px", "images", "torch's, ms", "ours, ms", "ratio", "of single ones")
    lines += ["", *results_file.table(head, networks())]
    print("\n".join(lines))
    results_file.write(given.results, lines)


if __name__ == "__main__":
    main()

"""The r depthwise convolutions of split attention: apart, or as one grouped convolution?

Three ways to the same r feature maps, from one process, in turn, channels last:

* apart: r depthwise convolutions, one after another (what `MBConv` does);
* grouped: one convolution whose h groups have one input and r output channels, the r weights concatenated;
* tiled: one depthwise convolution of the input repeated r times, the r weights concatenated.

Shapes are those of the depthwise layers of a space's network that takes the middle option of each choice. Times are
medians; on one CPU thread of the processor's time, which other programs don't add to, else of the clock.

    python benchmarks/split_convolutions.py [--space fpnas-l0] [--batch 8] [--threads 1] [--device auto] [--json]
                                            [--results FILE.md]
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import results_file
import torch
import torch.nn.functional as F
from torch import Tensor

import fpnas
from fpnas.elastic import DepthwiseConv2d
from fpnas.spaces import IMAGE_SIZES, SPACES
from fpnas.streams import generator

SPLITS, KERNELS = (2, 4), (3, 5)
SECONDS = 0.15
"""Of measuring for each way, in at least five and at most 100 rounds."""


@dataclass(frozen=True)
class Shape:
    """A depthwise layer: width h, input size in px, stride."""

    width: int
    size: int
    stride: int


@dataclass(frozen=True)
class Row:
    """Milliseconds of each way, and those of the others over those of "apart"."""

    shape: Shape
    splits: int
    kernel: int
    backward: bool
    apart_ms: float
    grouped: float
    tiled: float


def shapes(space: str) -> list[Shape]:
    """The distinct depthwise layers of the network in the middle of the space."""
    with torch.device("meta"):
        net = SPACES[space]()
    middle = {choice.name: choice.options[len(choice.options) // 2] for choice in net.space.choices}
    size = IMAGE_SIZES[space]
    found: dict[Shape, None] = {}
    for layer in fpnas.layer_costs(net, middle, (3, size, size)):
        module = net.module.get_submodule(layer.name)
        if isinstance(module, DepthwiseConv2d):
            width, height, _ = layer.output_shape
            found[Shape(width, height * module.stride, module.stride)] = None
    return list(found)


def apart(x: Tensor, weights: list[Tensor], stride: int) -> list[Tensor]:
    """One convolution a split."""
    return [F.conv2d(x, w, None, stride, w.shape[-1] // 2, 1, len(w)) for w in weights]


def grouped(x: Tensor, weights: list[Tensor], stride: int) -> list[Tensor]:
    """One convolution with h groups of r outputs: channel c of split s is output c * r + s."""
    width, _, k, _ = weights[0].shape
    weight = torch.stack(weights, dim=1).reshape(len(weights) * width, 1, k, k)
    y = F.conv2d(x, weight, None, stride, k // 2, 1, width)
    return list(y.unflatten(1, (width, len(weights))).unbind(2))


def tiled(x: Tensor, weights: list[Tensor], stride: int) -> list[Tensor]:
    """One depthwise convolution of r copies of the input."""
    weight = torch.cat(weights)
    y = F.conv2d(x.repeat(1, len(weights), 1, 1), weight, None, stride, weight.shape[-1] // 2, 1, len(weight))
    return list(y.chunk(len(weights), dim=1))


WAYS: dict[str, Callable[[Tensor, list[Tensor], int], list[Tensor]]] = {
    "apart": apart,
    "grouped": grouped,
    "tiled": tiled,
}


def measure(shape: Shape, splits: int, kernel: int, batch: int, device: str, clock: Callable[[], float]) -> list[Row]:
    """Forward alone and with backward, of all ways in turn; they must agree first."""
    random = generator(0, "split convolutions")
    x = torch.randn(batch, shape.width, shape.size, shape.size, generator=random).to(device)
    x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    weights = [torch.randn(shape.width, 1, kernel, kernel, generator=random).to(device) for _ in range(splits)]
    weights = [weight.requires_grad_() for weight in weights]
    expected = apart(x, weights, shape.stride)
    cotangents = [torch.randn_like(y) for y in expected]
    for way in WAYS.values():
        for y, wanted in zip(way(x, weights, shape.stride), expected, strict=True):
            torch.testing.assert_close(y, wanted, rtol=1e-3, atol=1e-3)

    def run(way: str, backward: bool) -> None:
        with torch.set_grad_enabled(backward):
            outputs = WAYS[way](x, weights, shape.stride)
        if backward:
            torch.autograd.grad(outputs, [x, *weights], cotangents)

    rows: list[Row] = []
    for backward in (False, True):
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        rounds, spent = 0, 0.0
        while rounds < 5 or (spent < SECONDS * len(WAYS) and rounds < 100):
            for way in WAYS:
                start = clock()
                run(way, backward)
                seconds[way].append(clock() - start)
                spent += seconds[way][-1]
            rounds += 1
        median = {way: statistics.median(values[1:]) for way, values in seconds.items()}
        others = (median[way] / median["apart"] for way in ("grouped", "tiled"))
        rows.append(Row(shape, splits, kernel, backward, 1000 * median["apart"], *others))
    return rows


def table(rows: list[Row]) -> list[str]:
    """A line a shape and r; ratios above 1: apart is quicker."""
    cells: list[list[object]] = []
    for row in rows:
        where = f"{row.shape.width}, {row.shape.size}, {row.shape.stride}"
        what = "with backward" if row.backward else "forward"
        ratios = [f"{value:.2f}" for value in (row.apart_ms, row.grouped, row.tiled)]
        cells.append([where, row.splits, row.kernel, what, *ratios])
    head = ["h, px, stride", "r", "kernel", "", "apart, ms", "grouped / apart", "tiled / apart"]
    return results_file.table(head, cells)


def verdict(rows: list[Row]) -> Iterator[str]:
    """Where another way is quicker by more than 5 %, and geometric means."""
    for backward in (False, True):
        own = [row for row in rows if row.backward == backward]
        what = "with backward" if backward else "forward"
        for way in ("grouped", "tiled"):
            ratios = [getattr(row, way) for row in own]
            mean = math.exp(statistics.fmean(map(math.log, ratios)))
            quicker = [row for row, ratio in zip(own, ratios, strict=True) if ratio < 0.95]
            where = "; ".join(
                f"h {r.shape.width}, {r.shape.size} px, stride {r.shape.stride}, r {r.splits}, kernel {r.kernel}"
                for r in quicker
            )
            yield (
                f"{what}, {way}: {mean:.2f} times the time of apart (geometric mean); quicker by more than 5 % in"
                f" {len(quicker)} of {len(own)} cases{': ' + where if 0 < len(quicker) <= 6 else ''}"
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--space", choices=list(SPACES), default="fpnas-l0")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--results", type=Path, default=None, help="also write a results file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"

    def on_device() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    clock = on_device if device == "cuda" else time.process_time if arguments.threads == 1 else time.perf_counter
    rows: list[Row] = []
    for shape in shapes(arguments.space):
        for splits in SPLITS:
            for kernel in KERNELS:
                rows += measure(shape, splits, kernel, arguments.batch, device, clock)
        if not arguments.json:
            print(f"{shape} done", file=sys.stderr, flush=True)
    name = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()}, {arguments.threads} thread(s)"
    facts = {"device": name, "torch": torch.__version__, "space": arguments.space, "batch": arguments.batch}
    if arguments.json:
        print(json.dumps({**facts, "rows": [asdict(row) for row in rows], "verdict": list(verdict(rows))}, indent=2))
    else:
        print("\n".join([*table(rows), "", *verdict(rows)]))
    head = results_file.head(
        "Split attention's depthwise convolutions: apart or as one",
        f"Batch {arguments.batch}; depthwise layers of the middle network of `{arguments.space}` at"
        f" {IMAGE_SIZES[arguments.space]} px; ratios above 1 mean that apart, which the code uses, is quicker",
        *verdict(rows),
        machine=f"{name}; float32, channels last",
    )
    results_file.write(arguments.results, [*head, *table(rows)])
    return 0


if __name__ == "__main__":
    sys.exit(main())

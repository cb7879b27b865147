"""CIFAR-10 (JPEG copy) with few multiply-adds: a network found and trained beside a hand-made one of equal cost.

For each seed `tiny` is searched at 32 px under a FLOPs target, and what is found is trained from scratch. The hand-made
one follows MobileNetV3-Small (Howard et al. 2019): its kernels, expansions, squeeze-excites and nonlinearities block by
block, with strides for 32 px and one width multiplier, the greatest at which it costs no more than the found one. Both
are trained by the same recipe on all 50,000 images and judged on the 10,000 test images in the last epoch.

    python benchmarks/cifar10_small.py [--data ../shared/data/cifar10] [--seeds 5] [--target 5e6] [--results FILE.md]

Seeds run in turn on as many processes as there are cores, one thread each; what is finished in --out isn't repeated.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import results_file
import torch
from torch import Tensor, nn

import fpnas
from fpnas.cost.recorder import multiply_adds
from fpnas.data import ImageData
from fpnas.elastic import initialise
from fpnas.streams import generator

PUBLISHED = (
    # kernel, hidden width, width, squeeze-excite, nonlinearity, and a stride of ours: for 32 px they come later
    (3, 16, 16, True, "relu", 1),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "hswish", 1),
    (5, 240, 40, True, "hswish", 1),
    (5, 240, 40, True, "hswish", 1),
    (5, 120, 48, True, "hswish", 1),
    (5, 144, 48, True, "hswish", 1),
    (5, 288, 96, True, "hswish", 2),
    (5, 576, 96, True, "hswish", 1),
    (5, 576, 96, True, "hswish", 1),
)
STEM, HEAD = 16, 576


@dataclass(frozen=True)
class Row:
    """A trained network."""

    name: str
    seed: int
    flops: int
    params: int
    search_seconds: float
    train_seconds: float
    accuracy: float


class Gate(nn.Module):
    """Squeeze-excite with a quarter of the width inside."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 4)
        self.layers = nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.layers(x.mean((2, 3)))[:, :, None, None]


class Block(nn.Module):
    """Inverted residual."""

    def __init__(self, inputs: int, kernel: int, hidden: int, outputs: int, gate: bool, act: str, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        self.layers = nn.Sequential(
            *layer(inputs, hidden, 1, 1, act),
            *layer(hidden, hidden, kernel, stride, act, hidden),
            Gate(hidden) if gate else nn.Identity(),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


def layer(inputs: int, outputs: int, kernel: int, stride: int, act: str, groups: int = 1) -> list[nn.Module]:
    """Convolution, batch norm, nonlinearity."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU() if act == "relu" else nn.Hardswish()]


def by_hand(multiplier: float, seed: int) -> nn.Module:
    """The hand-made network with every width times `multiplier`, freshly initialised as the found one is."""
    stem, *widths, head = (max(4, round(width * multiplier)) for width in (STEM, *(row[2] for row in PUBLISHED), HEAD))
    layers, inputs = layer(3, stem, 3, 2, "hswish"), stem
    for (kernel, hidden, _, gate, act, stride), outputs in zip(PUBLISHED, widths, strict=True):
        layers.append(Block(inputs, kernel, max(4, round(hidden * multiplier)), outputs, gate, act, stride))
        inputs = outputs
    layers += [*layer(inputs, head, 1, 1, "hswish"), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(head, 10)]
    network = nn.Sequential(*layers)
    initialise(network, generator(seed, "network"))
    return network


def widest(flops: int) -> float:
    """The greatest multiplier, in hundredths, whose network costs no more."""
    image = torch.zeros(1, 3, 32, 32)
    return max(m / 100 for m in range(10, 201) if multiply_adds(by_hand(m / 100, 0), image) <= flops)


def train(network: nn.Module, data: ImageData, asked: argparse.Namespace, at: Path) -> Row:
    """By the one recipe."""
    recipe = fpnas.Recipe(epochs=asked.epochs, crop="pad", flip=True)
    start = time.process_time()
    job = fpnas.Training(network, data, recipe=recipe, seed=asked.seed)
    result = fpnas.run(job, at)
    flops, params = job.facts["flops"], job.facts["params"]
    return Row(at.name, asked.seed, flops, params, 0.0, time.process_time() - start, result.accuracy)


def one(asked: argparse.Namespace) -> list[Row]:
    """A seed: search, and both trainings."""
    folder = asked.out / f"seed-{asked.seed}"
    record = folder / "rows.json"
    if record.exists():
        return [Row(**row) for row in json.loads(record.read_text())]
    torch.set_num_threads(1)
    data = fpnas.data.load(asked.data, image_size=32)
    net = fpnas.spaces.tiny(num_classes=data.num_classes, in_channels=data.in_channels, seed=asked.seed)
    task = fpnas.SupernetEvaluator(net, data, seed=asked.seed)
    budget = fpnas.Budget(fpnas.Flops(net, data.input_shape), asked.target)
    search = fpnas.methods.fpnas_posterior(task, budget, epochs=asked.search_epochs, seed=asked.seed)
    start = time.process_time()
    fpnas.run(search, folder / "search")
    searched = time.process_time() - start
    found = train(fpnas.from_scratch(net, search.answer().arch, asked.seed), data, asked, folder / "found")
    hand = train(by_hand(widest(found.flops), asked.seed), data, asked, folder / "by-hand")
    rows = [replace(found, search_seconds=searched), hand]
    record.write_text(json.dumps([asdict(row) for row in rows]))
    return rows


def markdown(rows: Sequence[Row]) -> list[str]:
    """The results file."""
    cells = [
        [
            row.name,
            row.seed,
            f"{row.flops / 1e6:.2f}",
            f"{row.params:,}",
            f"{row.search_seconds:,.0f}",
            f"{row.train_seconds:,.0f}",
            f"{row.accuracy:.2f}",
        ]
        for row in rows
    ]
    pairs = [(rows[index], rows[index + 1]) for index in range(0, len(rows), 2)]
    ahead = [found.accuracy - hand.accuracy for found, hand in pairs]
    longest = max(found.search_seconds + found.train_seconds for found, _ in pairs) / 60
    return [
        *results_file.head(
            "CIFAR-10 with few multiply-adds: found beside hand-made",
            "A process of one thread a seed; processor seconds",
        ),
        *results_file.table(
            ["network", "seed", "M multiply-adds", "parameters", "search, s", "training, s", "test accuracy, %"], cells
        ),
        "",
        f"The found network is ahead in {sum(gap > 0 for gap in ahead)} of {len(ahead)} seeds, by "
        f"{statistics.fmean(ahead):+.2f} points on average; search and training took {longest:.0f} minutes of one "
        "thread at most.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/cifar10"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--target", type=float, default=5e6)
    parser.add_argument("--epochs", type=int, default=8, help="of each training")
    parser.add_argument("--search-epochs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/cifar10-small"))
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    each = [argparse.Namespace(**{**vars(asked), "seed": seed}) for seed in range(asked.seeds)]
    with ProcessPoolExecutor(asked.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        rows = [row for found in pool.map(one, each) for row in found]
    print("\n".join(markdown(rows)))
    results_file.write(asked.results, markdown(rows))


if __name__ == "__main__":
    main()

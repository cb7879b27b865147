"""Which recipe trains a found network best?

One fixed network of `tiny` learns from a class-balanced part of the training images by several recipes, each a change
of a few fields of the plain one, with several seeds (of weights, order and draws). Accuracy is the last epoch's on
held-out images: a class-balanced part of Fashion-MNIST's test images, or the fifth of digits that is split off. Seconds
are those of the steps, on one thread. Each training is a run in `--out`, which goes on where it was left.

    python benchmarks/train_recipes.py [--data fashion-mnist] [--classes N] [--images 2000] [--epochs 10] [--seeds 0 1]
                                       [--only NAME ...] [--out runs/train-recipes] [--results FILE.md]
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import results_file
import torch

import fpnas
from fpnas.data import ImageData, stratified_split
from fpnas.runner import Progress
from fpnas.runner.folder import read_json

PLAIN: dict[str, Any] = {"crop": "none", "flip": False, "ema": 0.0, "label_smoothing": 0.05, "optimizer": "sgd"}
SHIFTED: dict[str, Any] = {"crop": "pad", "flip": True, "ema": 0.999}
MOVED: dict[str, Any] = {"crop": "pad", "flip": True}
RECIPES: dict[str, dict[str, Any]] = {
    "plain: SGD 0.2, smoothing 0.05": {},
    "SGD 0.1": {"lr": 0.1},
    "SGD 0.4": {"lr": 0.4},
    "AdamW 0.004": {"optimizer": "adamw", "lr": 0.004},
    "AdamW 0.008": {"optimizer": "adamw", "lr": 0.008},
    "smoothing 0.1": {"label_smoothing": 0.1},
    "averaged 0.999": {"ema": 0.999},
    "crop": {"crop": "pad"},
    "crop, flip, averaged": SHIFTED,
    "mixup 0.2": {"mixup": 0.2},
    "CutMix 1": {"cutmix": 1.0},
    "drop path 0.1": {"drop_path": 0.1},
    "crop, flip, averaged, RandAugment 9": {**SHIFTED, "randaugment": 9},
    "crop, flip, averaged, erasing 0.25": {**SHIFTED, "random_erasing": 0.25},
    "resized crop, flip, averaged": {**SHIFTED, "crop": "resized", "crop_area": 0.5},
    "crop, flip": MOVED,
    **{f"crop, flip, SGD {lr:g}": {**MOVED, "lr": lr} for lr in (0.4, 0.8)},
    **{f"crop, flip, RandAugment {magnitude}": {**MOVED, "randaugment": magnitude} for magnitude in (4, 9)},
}
GROUPS = ((3, "swish", 1, 2, 16), (3, "relu", 0, 2, 24), (0, "relu", 0, 2, 40), (5, "swish", 1, 2, 64))
"""Kernel, activation, splits, expansion and channels of the network's four groups."""


@dataclass(frozen=True)
class Row:
    """A recipe's trainings, one a seed."""

    name: str
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]
    seconds: tuple[float, ...]

    def cells(self) -> list[str]:
        """A row of the table as text."""
        each = ", ".join(f"{accuracy:.2f}" for accuracy in self.accuracies)
        mean, seconds = statistics.mean(self.accuracies), statistics.mean(self.seconds)
        return [self.name, f"{mean:.2f} %", each, f"{statistics.mean(self.losses):.3f}", f"{seconds:.1f}"]


def part_of(data: ImageData, images: int, heldout: int) -> ImageData:
    """`data` with at most so many images, class by class, measured anew."""
    train, judged = data.train, data.heldout
    if images < len(train):
        train = train.subset(stratified_split(train.labels, images / len(train), 0)[1])
    if heldout < len(judged):
        judged = judged.subset(stratified_split(judged.labels, heldout / len(judged), 0)[1])
    return ImageData.of(data.name, train, judged, classes=data.classes, heldout_from=data.heldout_from)


def network_for(data: ImageData, seed: int) -> tuple[torch.nn.Module, int]:
    """The one network with fresh weights, and its multiply-adds."""
    with torch.device("meta"):
        supernet = fpnas.spaces.tiny(num_classes=data.num_classes, in_channels=data.in_channels)
    names = ("kernel", "act", "splits", "expansion", "channels")
    choices = {
        f"group{number}.{name}": value
        for number, group in enumerate(GROUPS, start=1)
        for name, value in zip(names, group, strict=True)
    }
    arch = fpnas.Arch.from_mapping(choices)
    flops = fpnas.Flops(supernet, (data.in_channels, data.image_size, data.image_size)).of(arch)
    return fpnas.from_scratch(supernet, arch, seed), flops


def trained(data: ImageData, name: str, epochs: int, seed: int, out: Path) -> tuple[float, float, float]:
    """Accuracy in percent, loss in nats and seconds of one training."""
    network, _ = network_for(data, seed)
    job = fpnas.Training(network, data, seed=seed, epochs=epochs, **{**PLAIN, **RECIPES[name]})
    folder = out / f"{name.replace(' ', '-').replace(',', '').replace(':', '')}-seed{seed}"
    found = fpnas.run(job, folder, progress=Progress())
    return found.accuracy, found.loss, read_json(folder / "result.json")["seconds"]


def report(rows: list[Row], data: ImageData, epochs: int, seeds: list[int]) -> list[str]:
    """The results in Markdown."""
    flops = network_for(data, 0)[1]
    head = results_file.head(
        f"Recipes on {data.name} at {data.image_size} px",
        f"{len(data.train):,} training and {len(data.heldout):,} {data.heldout_from} images of {data.image_size} px; "
        f"{epochs} epochs of batch 128; a network of {flops / 1e6:.2f} MFLOPs; seeds {' '.join(map(str, seeds))}",
        "A change of the plain recipe a row; the other fields as in the first.",
    )
    columns = ["recipe", "accuracy, mean", "each seed", "loss, nats", "s a training"]
    return [*head, *results_file.table(columns, [row.cells() for row in rows])]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--classes", type=int, default=None)
    parser.add_argument("--image-size", type=int, default=None)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--heldout", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", nargs="+", default=list(RECIPES), choices=list(RECIPES), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("runs/train-recipes"))
    parser.add_argument("--results", type=Path, default=None, help="also write a results file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = fpnas.data.load(arguments.data, arguments.image_size, download=True, classes=arguments.classes)
    data = part_of(data, arguments.images, arguments.heldout)
    rows: list[Row] = []
    for name in arguments.only:
        found = [trained(data, name, arguments.epochs, seed, arguments.out) for seed in arguments.seeds]
        accuracies, losses, seconds = zip(*found, strict=True)
        rows.append(Row(name, accuracies, losses, seconds))
        print(" | ".join(rows[-1].cells()), flush=True)
        # After each row: the whole table takes its time.
        results_file.write(arguments.results, report(rows, data, arguments.epochs, arguments.seeds))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What weights that were trained before are worth: a quarter of EfficientNet-Lite0 on photographs of waste.

Each width of the network is narrowed alike until it costs a quarter of the whole. It is trained on four fifths of
trashnet; the rest judges. `--what` says which trainings are compared:

* rates: what is left of its ImageNet weights, the channels in their order or the largest first, and fresh weights.
* defaults: rates at the batch size of `fpnas train` and for both optimizers, from the largest channels.
* courses: the head alone learns first, for some epochs; or the rate falls by a factor a block, from the head down.

    python benchmarks/pretrained/rates.py [--what rates] [--data ../shared/data/trashnet] [--results FILE.md]
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lite0
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import results_file

import fpnas
from fpnas.elastic import make_elastic
from fpnas.spaces.heads import with_classes

SHARE = 0.25
AS_IS, L1, L2, FRESH = "inherited, as they are", "inherited, sorted by l1", "inherited, sorted by l2", "fresh"
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Course:
    """A training: `head_epochs` of the head alone come before `epochs` (those asked for, and `more`) of the whole."""

    weights: str
    rate: float
    optimizer: Any = "sgd"
    batch_size: int = 64
    head_epochs: int = 0
    more: int = 0
    layer_decay: float = 1.0
    seed: int = 0

    @property
    def told(self) -> str:
        """In words."""
        parts = [f"{self.optimizer}, batches of {self.batch_size}"]
        if self.head_epochs:
            parts.append(f"{self.head_epochs} epochs of the head first")
        if self.layer_decay != 1:
            parts.append(f"layer decay {self.layer_decay:g}")
        return ", ".join(parts)


USUAL = Course(L2, 0.08)
WHAT = {
    "rates": [
        Course(weights, rate)
        for weights, rates in (
            (AS_IS, (0.005, 0.02, 0.08, 0.2)),
            (L1, (0.02,)),
            (L2, (0.005, 0.02, 0.08)),
            (FRESH, (0.08, 0.2)),
        )
        for rate in rates
    ],
    "defaults": [
        *(replace(USUAL, batch_size=128, rate=rate) for rate in (0.08, 0.16, 0.04)),
        *(replace(USUAL, batch_size=128, optimizer="adamw", rate=rate) for rate in (0.001, 0.002, 0.004, 0.0005)),
    ],
    "courses": [
        replace(course, seed=seed)
        for seed in (0, 1)
        for course in (
            USUAL,
            replace(USUAL, head_epochs=1),
            replace(USUAL, head_epochs=3, more=-1),
            replace(USUAL, layer_decay=0.9),
            replace(USUAL, layer_decay=0.8),
        )
    ],
}


def narrowed(
    module: nn.Module, data: fpnas.data.ImageData, share: float, sort: Any
) -> tuple[fpnas.Supernet, fpnas.Arch, float]:
    """The supernet of one fraction of all widths whose smallest network costs at most `share` of the whole, greatest
    fraction first; that network, and its cost's share."""
    for percent in range(95, 5, -5):
        widths = (percent / 100,)
        supernet = make_elastic(module, widths=widths, name="lite0", input_shape=data.input_shape, sort=sort)
        flops = fpnas.Flops(supernet, data.input_shape)
        arch = supernet.space.decode([0] * len(supernet.space))
        part = flops.of(arch) / flops.bounds()[1]
        if part <= share:
            return supernet, arch, part
    raise AssertionError("no fraction is small enough")


def trained(network: nn.Module, data: fpnas.data.ImageData, recipe: fpnas.Recipe, course: Course) -> Any:
    """`network` after the course; what `Training` finds."""
    if course.head_epochs:
        head_alone(network, data, recipe.with_fields({"epochs": course.head_epochs}), course.seed)
    training = fpnas.Training(network, data, recipe=recipe, seed=course.seed)
    if course.layer_decay != 1:
        fall_by_block(training, course.layer_decay)
    return finished(training)


def finished(training: fpnas.Training) -> Any:
    """What it finds at its end."""
    while training.steps_done < training.steps_total:
        training.step()
    return training.result()


def head_alone(network: nn.Module, data: fpnas.data.ImageData, recipe: fpnas.Recipe, seed: int) -> None:
    """Trains the last layer; batch norms stay in evaluation mode, as Keras has frozen ones."""

    def stay(norm: nn.Module, _: Any) -> None:
        norm.train(False)

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(stay) for norm in norms]
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith("classifier"))
    finished(fpnas.Training(network, data, recipe=recipe, seed=seed))
    network.requires_grad_()
    for hook in hooks:
        hook.remove()


def fall_by_block(training: fpnas.Training, factor: float) -> None:
    """The head learns at the training's rate, each block below at `factor` of that of the one above, as in BEiT."""
    optimizer: Any = training._optimizer  # pyright: ignore[reportPrivateUsage]
    shares = {id(p): factor ** _below_head(name) for name, p in training.network.named_parameters()}
    groups = [
        {**group, "params": [p], "share": shares[id(p)]} for group in optimizer.param_groups for p in group["params"]
    ]
    optimizer.param_groups[:] = groups

    def scaled(rule: Any, *_: Any) -> None:
        for group in rule.param_groups:
            group["lr"] *= group["share"]

    optimizer.register_step_pre_hook(scaled)


STAGES = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of each of the network's stages."""


def _below_head(name: str) -> int:
    """How many blocks a parameter lies below the head: 0 for the head, 1 for the last block, 17 for the stem."""
    part, *rest = name.split(".")
    if part == "blocks":
        return sum(STAGES[int(rest[0]) :]) - int(rest[1])
    return sum(STAGES) + 1 if part in ("conv_stem", "bn1") else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=WHAT, default="rates")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/trashnet"))
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = fpnas.data.load(asked.data, asked.size)
    data = data.normalized_by((HALF, HALF))
    module = with_classes(lite0.lite0(), data.num_classes, data.input_shape, 0, "lite0")
    lines: list[str] = []
    rows: list[list[str]] = []
    made: dict[str, Any] = {}
    for course in WHAT[asked.what]:
        weights = course.weights
        if weights not in made:
            made = {weights: narrowed(module, data, SHARE, weights.rpartition(" ")[2] if "sorted" in weights else None)}
        supernet, arch, part = made[weights]
        started = time.process_time()
        network = fpnas.from_scratch(supernet, arch) if weights == FRESH else fpnas.inherited(supernet, arch, data)
        recipe = fpnas.Recipe(
            epochs=asked.epochs + course.more,
            batch_size=course.batch_size,
            optimizer=course.optimizer,
            lr=course.rate,
            crop="pad",
            flip=True,
        )
        found = trained(network, data, recipe, course)
        seconds = time.process_time() - started
        cells = [f"{found.accuracy:.1f}", f"{found.balanced_accuracy:.1f}", f"{seconds:.0f}"]
        rows.append([weights, course.told, f"{course.rate:g}", str(course.seed), *cells])
        print(rows[-1], flush=True)
        lines = [
            *results_file.head(
                f"Weights that were trained before: {asked.what}",
                f"EfficientNet-Lite0, all widths alike, {part:.0%} of the multiply-adds of the whole; {asked.size} px",
                f"{len(data.train):,} photographs of trashnet to train on, {len(data.heldout):,} to judge; "
                f"{asked.epochs} epochs, shifted by up to an eighth, half of them mirrored",
            ),
            *results_file.table(
                ["weights", "course", "rate", "seed", "accuracy, %", "balanced, %", "processor s"], rows
            ),
        ]
        results_file.write(asked.results, lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()

"""How well do shared weights rank architectures, by how they begin and how fast they move?

40 architectures of `tiny` between 0.3 and 0.8 M multiply-adds are trained from scratch on Fashion-MNIST at 16 px, one
epoch with each of two seeds: the mean accuracy is the truth. Then supernets learn on 10,000 images for --steps steps of
two uniformly drawn architectures, and score the 40 on 16 validation batches. What counts is Spearman's correlation.

    python benchmarks/supernet_ranking.py [--seeds 5] [--steps 480] [--out runs/ranking] [--results FILE.md]

One thread. The truth, a quarter of an hour, is kept in --out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import results_file
import torch
from macro_supernet import spearman
from torch import Tensor

import fpnas
from fpnas.data import ImageData
from fpnas.elastic import Supernet
from fpnas.elastic.init import initialise
from fpnas.spaces import tiny
from fpnas.streams import generator

ARMS = (
    # name, whether branches begin alike, rate
    ("drawn apart, rate 0.003", False, 0.003),
    ("drawn apart, rate 0.01", False, 0.01),
    ("aligned, rate 0.003", True, 0.003),
    ("aligned, rate 0.01", True, 0.01),
)
RECIPE = fpnas.Recipe(epochs=1, crop="none", flip=False, ema=0.0)
SCORED = 16
"""Validation batches."""


def judged(net: Supernet) -> Tensor:
    """The 40 architectures: (40, V)."""
    draws = torch.Generator().manual_seed(7)
    codes = torch.stack([torch.randint(n, (4000,), generator=draws) for n in net.space.cardinalities], dim=1)
    flops = fpnas.Flops(net, (1, 16, 16))(codes).double()
    return codes[(flops <= 0.8e6) & (flops > 0.3e6)][:40]


def truth(codes: Tensor, data: ImageData, file: Path) -> list[list[float]]:
    """Accuracies in per cent, one a seed, of each; what `file` holds isn't trained again."""
    rows: list[list[float]] = json.loads(file.read_text()) if file.exists() else []
    net = tiny(num_classes=data.num_classes, in_channels=1)
    for code in codes.tolist()[len(rows) :]:
        arch, found = net.space.decode(code), list[float]()
        for seed in (0, 1):
            network = fpnas.from_scratch(net, arch, seed)
            with tempfile.TemporaryDirectory() as folder:
                job = fpnas.Training(network, data, recipe=RECIPE, seed=seed)
                found.append(fpnas.run(job, Path(folder) / "run").accuracy)
        rows.append(found)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(rows))
    return rows


def ranked(
    aligned: bool, rate: float, seed: int, data: ImageData, codes: Tensor, accuracy: Tensor, steps: int
) -> tuple[float, float]:
    """The last steps' training loss, and the correlation."""
    net = tiny(num_classes=data.num_classes, in_channels=1, seed=seed)
    if not aligned:
        initialise(net.module, generator(seed, "weights"), elastic_only=True)
    task = fpnas.SupernetEvaluator(net, data, seed=seed, lr=rate)
    draws, losses = torch.Generator().manual_seed(seed), list[float]()
    for step in range(steps):
        columns = [torch.randint(n, (2,), generator=draws) for n in net.space.cardinalities]
        losses.append(task.train_step(torch.stack(columns, dim=1), step / steps).loss)
    scores = torch.zeros(len(codes), dtype=torch.float64)
    for _ in range(SCORED):
        scores += task.score(codes)
        task.train_step(codes[:1], 1.0)  # at a rate of 0: on to the next batch
    return statistics.fmean(losses[-steps // 5 :]), spearman(scores, accuracy)


def third(data: ImageData, seed: int) -> ImageData:
    """20,000 of the training images."""
    chosen = torch.randperm(len(data.train), generator=generator(seed, "searched"))[:20_000]
    return replace(data, train=data.train.subset(chosen))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=480)
    parser.add_argument("--out", type=Path, default=Path("runs/ranking"))
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = fpnas.data.load("fashion-mnist", image_size=16)
    codes = judged(tiny(num_classes=data.num_classes, in_channels=1))
    twice = torch.tensor(truth(codes, data, asked.out / "truth.json")).double()
    rows: list[list[object]] = []
    for name, aligned, rate in ARMS:
        found = [
            ranked(aligned, rate, seed, third(data, seed), codes, twice.mean(dim=1), asked.steps)
            for seed in range(asked.seeds)
        ]
        each = ", ".join(f"{correlation:.2f}" for _, correlation in found)
        loss, mean = (statistics.fmean(row[index] for row in found) for index in (0, 1))
        rows.append([name, f"{loss:.2f}", each, f"{mean:.2f}"])
        print(*rows[-1], flush=True)
    lines = [
        *results_file.head(
            "How well shared weights rank architectures",
            f"Two trainings of the same {len(codes)} architectures agree by {spearman(twice[:, 0], twice[:, 1]):.2f}",
        ),
        *results_file.table(["weights", "training loss at the end", "Spearman, a seed each", "mean"], rows),
    ]
    print("\n".join(lines))
    results_file.write(asked.results, lines)


if __name__ == "__main__":
    main()

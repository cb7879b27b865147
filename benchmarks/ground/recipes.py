"""Which recipe trains the networks of a pool best? Chosen on the pool's first five, by their held-back images.

    python benchmarks/ground/recipes.py [--pool cifar10-tiny-3M] [--networks 5] [--kept NAME ...] [--device cuda]
        [--results FILE.md]

All recipes are tried on the first network, those that are kept on the others too. What is finished lies in runs/ground.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import ground
import results_file

RECIPES: dict[str, dict[str, Any]] = {
    "SGD 0.4": {"lr": 0.4},
    "SGD 0.8": {"lr": 0.8},
    "SGD 1.6": {"lr": 1.6},
    "SGD 0.4, batches of 64": {"lr": 0.4, "batch_size": 64},
    "SGD 0.8, decay 5e-4": {"lr": 0.8, "weight_decay": 5e-4},
    "AdamW 0.01": {"optimizer": "adamw", "lr": 0.01},
}
"""By name, what differs from the pool's own recipe."""

KEPT = ("SGD 0.8", "SGD 0.4, batches of 64")
"""The best two on the first network."""


def one(name: str, recipe: str, number: int, device: str) -> ground.Trained:
    """A training; what is finished is looked up."""
    pool = ground.POOLS[name]
    changed = pool.recipe.with_fields({"optimizer": "sgd", "weight_decay": None, **RECIPES[recipe]})
    row = ground.trained(pool, ground.draw(pool)[number], 0, changed, device)
    print(f"{recipe} on network {number}: val {row.val[-1]:.2f} %", file=sys.stderr, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", choices=tuple(ground.POOLS), default="cifar10-tiny-3M")
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--kept", nargs="+", choices=tuple(RECIPES), default=list(KEPT), metavar="NAME")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    pool_of = ground.POOLS[asked.pool]
    # All on the first network; then those that are kept on the others.
    tasks = [(asked.pool, name, 0) for name in RECIPES]
    tasks += [(asked.pool, name, number) for number in range(1, asked.networks) for name in asked.kept]
    with ProcessPoolExecutor(asked.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = dict(zip(tasks, pool.map(one, *zip(*tasks, strict=True), repeat(asked.device)), strict=True))
    rows: list[list[str]] = []
    for name in RECIPES:
        own = [found[task] for task in tasks if task[1] == name]
        vals = ", ".join(f"{row.val[-1]:.2f}" for row in own)
        mean = f"{statistics.fmean(row.val[-1] for row in own):.2f}" if len(own) == asked.networks else "-"
        seconds = ground.mean_seconds(own)
        rows.append([name, vals, mean, "-" if seconds is None else f"{seconds:.0f}"])
    lines = [
        *results_file.head(
            f"Recipes for the pool {asked.pool}",
            f"The pool's first {asked.networks} networks, {pool_of.recipe.epochs} epochs each; accuracy in % on "
            "images held back from the training images, never the test images; one thread, processor seconds",
            f"The pool's own recipe: {ground.facts(pool_of)[1].removeprefix('# recipe: ')}",
        ),
        *results_file.table(["recipe", "each network", "mean", "seconds"], rows),
    ]
    print("\n".join(lines))
    results_file.write(asked.results, lines)


if __name__ == "__main__":
    main()

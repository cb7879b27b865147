"""Several budgets from one search, beside a search for each: what it costs and what it loses, on NAS-Bench-Macro.

Each rotation of the table in turn is the noisy reward and the mean of the other two runs the truth. One search for
three targets may look at 1.5 times as many networks as a search for one target; its regret in each target stands beside
that of the target's own search.

    python benchmarks/many_budgets.py [--data ../shared/data] [--seeds 20] [--queries 200] [--results FILE.md]
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import results_file
import torch

import fpnas
from fpnas.search import methods
from fpnas.tables import KnownTable

TARGETS = (40e6, 50e6, 60e6)
SHARE = 1.5
"""Looks of the shared search over those of one."""
PATIENCE = 100


def regrets(table: KnownTable, targets: Sequence[float], queries: int, rotation: int, seed: int) -> list[float]:
    """Points of accuracy that the answers fall short of the best within each target."""
    judge = fpnas.TableEvaluator(table, rotation=rotation, steps_per_epoch=1)
    budgets = [fpnas.Budget(table.cost(None), target) for target in targets]
    wanted = budgets if len(budgets) > 1 else budgets[0]
    search = methods.fpnas_posterior(judge, wanted, lam=1.0, epochs=queries, seed=seed, warmup=0.0)
    quiet = 0
    while judge.queries < queries and search.steps_done < search.steps_total and quiet < PATIENCE:
        before = judge.queries
        search.step()
        quiet = 0 if judge.queries > before else quiet + 1
    answers = search.front() or [search.answer()]
    codes = torch.tensor([table.space.encode(answer.arch) for answer in answers])
    best = [table.best(rotation, budget).truth for budget in budgets]
    return [100 * (top - found) for top, found in zip(best, judge.truth(codes).tolist(), strict=True)]


def figures(table: KnownTable, queries: int, seeds: int) -> dict[str, list[float]]:
    """Median regret in each target, mean over rotations: of own searches, and of the shared one."""
    rotations = range(len(table.rotations))
    shared = round(SHARE * queries)
    own = [
        statistics.fmean(
            statistics.median(regrets(table, [target], queries, rotation, seed)[0] for seed in range(seeds))
            for rotation in rotations
        )
        for target in TARGETS
    ]
    runs = [[regrets(table, TARGETS, shared, rotation, seed) for seed in range(seeds)] for rotation in rotations]
    together = [
        statistics.fmean(statistics.median(run[index] for run in rows) for rows in runs)
        for index in range(len(TARGETS))
    ]
    return {"own": own, "together": together}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    table = fpnas.tables.load(asked.data / "nas-bench-macro_cifar10.npz")
    found = figures(table, asked.queries, asked.seeds)
    if asked.json:
        print(json.dumps(found))
        return
    rows = [
        ["one for each target", f"{len(TARGETS)} x {asked.queries}", *(f"{value:.2f}" for value in found["own"])],
        ["one for all", f"{round(SHARE * asked.queries)}", *(f"{value:.2f}" for value in found["together"])],
    ]
    text = [
        *results_file.head(
            "Several budgets from one search",
            f"NAS-Bench-Macro; simple regret in points of accuracy, median over {asked.seeds} seeds, mean of 3"
            " rotations",
        ),
        *results_file.table(["search", "looks", *(f"{t / 1e6:.0f} M" for t in TARGETS)], rows),
    ]
    print("\n".join(text))
    results_file.write(asked.results, text)


if __name__ == "__main__":
    main()

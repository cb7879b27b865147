"""Settings of all methods for tables: the same number of tried ones for each, and none chosen on NAS-Bench-Macro.

Each method has at most ten settings (random search has nothing to set), tried on Accel-NASBench and on made-up tables
of weak and strong interactions, with budgets that about a third of the networks meet. The best one is that of the least
mean regret after 50, 100, 200 and 400 looks, in standard deviations of the table's accuracy; `fpnas bench` has these,
and NAS-Bench-Macro is what it reports on.

    python benchmarks/table_settings.py [--data ../shared/data] [--seeds 3] [--workers N] [--results FILE.md]
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import made_up
import numpy as np
import results_file
import torch

import fpnas
from fpnas import ArchDistribution
from fpnas.bench import METHODS, Contest, Task, run_all
from fpnas.search import CostTerm, methods

NONE: dict[str, Any] = {"warmup": 0.0}
RATES = (0.03, 0.1, 0.3)
LOOKS = (50, 100, 200, 400)
MEETS = 0.35
"""The share of networks that the budget allows."""

TRIED: dict[str, list[dict[str, Any]]] = {
    "fpnas-posterior": [
        *({"lam": lam, "temperature": t} for lam in (0.25, 0.5, 1.0, 2.0) for t in ("product", 4.0)),
        {"lam": 1.0, "join_at": 0.0},
        {"lam": 1.0, "join_at": 1.0},
    ],
    "fpnas-thompson": [
        *({"lam": lam, "at_least": least} for lam in (0.12, 0.25, 0.5, 1.0) for least in (2, 4)),
        {"lam": 0.25, "join_at": 0.0},
        {"lam": 0.25, "join_at": 1.0},
    ],
    "fpnas-within": [
        *({"lam": lam, "lr": lr} for lam in (0.5, 2.0) for lr in RATES),
        {"lam": 1.0, "lr": 0.1},
        {"lam": 2.0, "lr": 0.1, "temperature": 4.0},
        {"lam": 0.5, "lr": 0.1, "temperature": 4.0},
        {"lam": 0.5, "lr": 0.1, "join_at": 0.0},
    ],
    "fpnas": [
        *({"lam": lam, "lr": lr} for lam in (0.5, 2.0) for lr in RATES),
        *({"lam": 2.0, "lr": 0.1, "cost_term": CostTerm(beta)} for beta in (0.1, 1.0)),
        *({"lam": 0.5, "lr": 0.1, "cost_term": CostTerm(beta)} for beta in (0.1, 1.0)),
    ],
    "parsec": [
        *({"num_samples": k, "lr": lr} for k, lr in itertools.product((4, 8, 16), RATES)),
        {"num_samples": 8, "lr": 0.1, "temperature": 4.0},
    ],
    "reinforce": [
        *({"num_samples": k, "lr": lr} for k, lr in itertools.product((2, 4, 8), RATES)),
        {"num_samples": 4, "lr": 1.0},
    ],
    "random": [{}],
    "evolution": [
        {"population": p, "tournament": t}
        for p, t in ((10, 3), (10, 10), (20, 5), (20, 10), (30, 10), (50, 5), (50, 10), (50, 25), (100, 10), (100, 25))
    ],
}
FIXED: dict[str, Any] = {
    "fpnas-posterior": partial(methods.fpnas_posterior, **NONE),
    "fpnas-thompson": methods.fpnas_thompson,
    "fpnas-within": partial(methods.fpnas, cost_term=None, baseline="mean", **NONE),
    "fpnas": partial(methods.fpnas, **NONE),
    "parsec": partial(methods.parsec, **NONE),
    "reinforce": partial(methods.reinforce, **NONE),
    "random": partial(methods.random, num_samples=4, **NONE),
    "evolution": partial(methods.evolution, num_samples=1, **NONE),
}
HOT: dict[str, Any] = {"temperature": "product"}


def name_of(method: str, settings: Mapping[str, Any]) -> str:
    """In tables, and by which processes find it."""
    return f"{method}: {', '.join(f'{key} {value}' for key, value in settings.items()) or 'nothing to set'}"


def _made(method: str, settings: Mapping[str, Any]) -> Any:
    hot = HOT if method in ("fpnas", "fpnas-within", "fpnas-posterior", "parsec") else {}
    return partial(FIXED[method], **{**hot, **settings})


# Not in main: the processes of the pool import this module, and find the variants by name.
if __name__ in ("__main__", "__mp_main__"):
    cast(dict[str, Any], METHODS).update({name_of(m, s): _made(m, s) for m, many in TRIED.items() for s in many})


def contests(data: Path) -> list[Contest]:
    """The tables that settings are chosen on."""
    tables = [fpnas.tables.load(data / "accel-nasbench.npz"), made_up.nk(2, seed=0), made_up.nk(5, seed=1)]
    found: list[Contest] = []
    for table in tables:
        draws = ArchDistribution(table.space).sample(20_000, torch.Generator().manual_seed(0))
        found.append(Contest.of(table, float(table.cost()(draws).quantile(MEETS)), max(LOOKS)))
    return found


def spread(contest: Contest) -> float:
    """The standard deviation of the true accuracy over the space, in points."""
    draws = ArchDistribution(contest.table.space).sample(20_000, torch.Generator().manual_seed(1))
    return 100 * float(contest.table.rotations[0].truth(draws).std())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    every = [(method, settings, name_of(method, settings)) for method, many in TRIED.items() for settings in many]
    regrets: dict[str, list[np.ndarray]] = {name: [] for _, _, name in every}
    tables = contests(asked.data)
    for contest in tables:
        rotations, unit = range(len(contest.best)), spread(contest)
        tasks = [Task(name, r, s) for _, _, name in every for r in rotations for s in range(asked.seeds)]
        outcomes = run_all(contest, tasks, asked.workers)
        at = [contest.checkpoints.index(looks) for looks in LOOKS]
        for _, _, name in every:
            own = np.array([outcome.regret for outcome in outcomes if outcome.task.method == name])
            regrets[name].append(np.minimum(own[:, at], 100 * max(contest.best)).mean(axis=0) / unit)
        print(f"{contest.table.name}: {len(tasks)} runs", flush=True)
    rows: list[list[str]] = []
    for method, many in TRIED.items():
        scores = {name_of(method, s): float(np.mean(regrets[name_of(method, s)])) for s in many}
        best = min(scores, key=scores.__getitem__)
        for name, score in scores.items():
            cells = [f"{np.mean(part):.3f}" for part in regrets[name]]
            rows.append([f"**{name}**" if name == best else name, f"{score:.3f}", *cells])
    lines = [
        *results_file.head(
            "Settings of all methods for tables",
            f"{asked.seeds} seeds in each of three rotations; mean simple regret over {', '.join(map(str, LOOKS))} "
            "looks in standard deviations of the table's true accuracy; the best of each method in bold; an answer "
            "beyond the budget counts as an accuracy of 0",
            f"Budgets that {MEETS:.0%} of the networks meet",
        ),
        *results_file.table(["settings", "mean", *(contest.table.name for contest in tables)], rows),
    ]
    print("\n".join(lines))
    results_file.write(asked.results, lines)


if __name__ == "__main__":
    main()

"""Which settings of FP-NAS are worth what, on tables whose truth is known: one knob moved at a time.

Two bases: the paper's step, eq. 7, and ours, the posterior. Chosen on NAS-Bench-Macro under 50 M FLOPs, checked on
Accel-NASBench without a budget.

    python benchmarks/table_defaults.py --data ../shared/data [--seeds 10] [--workers N] [--results FILE.md]
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import results_file

import fpnas
from fpnas.bench import METHODS, Contest, Task, run_all, summary
from fpnas.memory import Memory
from fpnas.search import Search, methods

EQ7: dict[str, Any] = {"update": "eq7", "temperature": "product", "lam": 2.0, "lr": 0.1, "warmup": 0.0}
OURS: dict[str, Any] = {"update": "posterior", "lam": 1.0, "warmup": 0.0}

MOVED: Mapping[str, Mapping[str, Any]] = {
    "eq. 7: product, 1/K taken off, lr 0.1, lambda 2": EQ7,
    "eq. 7, temperature 4": EQ7 | {"temperature": 4.0},
    "eq. 7, temperature mean": EQ7 | {"temperature": "mean"},
    "eq. 7, no baseline (the paper's)": EQ7 | {"baseline": "none"},
    "eq. 7, leave-one-out (VIMCO)": EQ7 | {"baseline": "leave-one-out"},
    "eq. 7, lr 0.03": EQ7 | {"lr": 0.03},
    "eq. 7, lr 0.3": EQ7 | {"lr": 0.3},
    "eq. 7, lambda 1/2": EQ7 | {"lam": 0.5},
    "eq. 7, lambda 1": EQ7 | {"lam": 1.0},
    "eq. 7, lambda 4": EQ7 | {"lam": 4.0},
    "eq. 7, least K 4": EQ7 | {"at_least": 4},
    "eq. 7, drawn within the budget": EQ7 | {"within": True},
    "posterior: product, lambda 1, within the budget": OURS,
    "posterior, temperature 4": OURS | {"temperature": 4.0},
    "posterior, temperature mean": OURS | {"temperature": "mean"},
    "posterior, lambda 1/4": OURS | {"lam": 0.25},
    "posterior, lambda 2": OURS | {"lam": 2.0},
    "posterior, least K 4": OURS | {"at_least": 4},
    "posterior, drawn from the whole space": OURS | {"within": False},
    "posterior, joint from the start": OURS | {"join_at": 0.0},
    "posterior, never joint": OURS | {"join_at": 1.0},
    "posterior, a joint cell's own effect 0": OURS | {"interaction": 0.0},
    "posterior, a joint cell's own effect 1": OURS | {"interaction": 1.0},
    "posterior, scores fade by half in 10 steps": OURS | {"half_life": 10.0},
}
"""By name; `interaction` and `half_life` are the memory's."""


def search(settings: Mapping[str, Any], evaluator: fpnas.Evaluator, budget: fpnas.Budget | None, **more: Any) -> Search:
    """`methods.fpnas` with these settings."""
    own = dict(settings)
    kept = {name: own.pop(name) for name in ("interaction", "half_life") if name in own}
    memory = Memory(evaluator.space, batch_effect=0.0, **kept) if kept else None
    return methods.fpnas(evaluator, budget, memory=memory, **own, **more)


# Here, not in main: the processes of the pool import this module, and find the variants by name.
cast(dict[str, Any], METHODS).update({name: partial(search, settings) for name, settings in MOVED.items()})


def lines(table: str, target: float | None, seeds: int, workers: int | None) -> list[str]:
    """The figures of one table."""
    known = fpnas.tables.load(table)
    contest = Contest.of(known, target, 400)
    rotations = range(len(known.rotations))
    tasks = [Task(name, rotation, seed) for name in MOVED for rotation in rotations for seed in range(seeds)]
    found = summary(contest, run_all(contest, tasks, workers))
    rows: list[list[str]] = []
    for name, own in found.items():
        cells = [f"{q.median:.2f} [{q.q25:.2f}, {q.q75:.2f}]" if math.isfinite(q.median) else "-" for q in own.values()]
        rows.append([name, *cells])
    return results_file.table(["settings", *(f"{queries} queries" for queries in contest.checkpoints)], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with the two tables")
    parser.add_argument("--seeds", type=int, default=10, help="of each setting and rotation")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    text = [
        *results_file.head(
            "Settings of FP-NAS on known tables, one moved at a time",
            "Simple regret in points of accuracy, median [quartiles] over seeds, mean over rotations; a step a query at"
            " most, so theta (45 % of the steps) comes late or never",
        ),
        "## NAS-Bench-Macro, at most 50 M FLOPs: chosen here",
        "",
        *lines(str(asked.data / "nas-bench-macro_cifar10.npz"), 50e6, asked.seeds, asked.workers),
        "",
        "## Accel-NASBench, no budget: checked here",
        "",
        *lines(str(asked.data / "accel-nasbench.npz"), None, max(2, asked.seeds // 2), asked.workers),
    ]
    print("\n".join(text))
    results_file.write(asked.results, text)


if __name__ == "__main__":
    main()

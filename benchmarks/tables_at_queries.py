"""The default's search on tables whose choices interact, against other methods and searches led by predictors.

On Accel-NASBench and on two made-up landscapes of 16.8 million architectures, whose choices interact weakly and
strongly, under budgets that about a third of the networks meet: the simple regret after 100, 200 and 400 looks, in
standard deviations of the table's true accuracy, and by seed how much less than each other method's that of
fpnas-thompson is. "No worse" is said where the interval lies above a margin of 0.1 deviations.

    python benchmarks/tables_at_queries.py [--data ../shared/data] [--seeds 20] [--workers N] [--results FILE.md]

What is finished lies in benchmarks/ground/runs/tables.jsonl, with a digest of the code that made it; what is missing is
run. Settings are those of `fpnas bench`: of fpnas-thompson and of the predictors the first that were thought of, of the
others the best of ten (table_settings.py).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import made_up
import numpy as np
import predictors
import results_file
import torch
from table_settings import MEETS, spread
from verdicts import Verdict, verdict

import fpnas
from fpnas.bench import METHODS, Contest, Outcome, Task, run_all
from fpnas.tables import KnownTable

KEPT = Path(__file__).parent / "ground" / "runs" / "tables.jsonl"
LOOKS = (100, 200, 400)
MARGIN = 0.1
DEFAULT = "fpnas-thompson"
OTHERS = ("evolution", "random", "parsec", "reinforce", *(f"predictor: {kind}" for kind in predictors.PREDICTORS))
TABLES = ("accel-nasbench", "NK(12, 3)", "NK(12, 6)")

# Not in main: the processes of the pool import this module, and find the methods by name.
if __name__ in ("__main__", "__mp_main__"):
    mine = {f"predictor: {kind}": partial(predictors.predicted, kind=kind) for kind in predictors.PREDICTORS}
    cast(dict[str, Any], METHODS).update(mine)


def table(name: str, data: Path) -> KnownTable:
    """The table of that name."""
    if name == TABLES[0]:
        return fpnas.tables.load(data / "accel-nasbench.npz")
    return made_up.nk_wide(3, seed=10) if name == TABLES[1] else made_up.nk_wide(6, seed=11)


def contest_of(found: KnownTable) -> Contest:
    """Under a budget that a third of the networks meet."""
    draws = fpnas.ArchDistribution(found.space).sample(20_000, torch.Generator().manual_seed(0))
    return Contest.of(found, float(found.cost()(draws).quantile(MEETS)), max(LOOKS))


def kept(digest: str) -> dict[tuple[str, str, int], list[float]]:
    """Regrets in deviations of (table, method, seed), of this code."""
    rows = [json.loads(line) for line in KEPT.read_text().splitlines()] if KEPT.exists() else []
    return {(row["table"], row["method"], row["seed"]): row["regret"] for row in rows if row["source"] == digest}


def run_missing(name: str, data: Path, methods: Sequence[str], seeds: int, workers: int | None, digest: str) -> None:
    """What of a table hasn't been run."""
    done = kept(digest)
    missing = [(method, seed) for method in methods for seed in range(seeds) if (name, method, seed) not in done]
    if not missing:
        return
    contest = contest_of(table(name, data))
    unit, at = spread(contest), [contest.checkpoints.index(looks) for looks in LOOKS]

    def keep(outcome: Outcome, seed: int) -> None:
        worst = 100 * max(contest.best)  # an answer beyond the budget counts as an accuracy of 0
        regret = (np.minimum(np.array(outcome.regret)[at], worst) / unit).tolist()
        row = {"table": name, "method": outcome.task.method, "seed": seed, "regret": regret, "source": digest}
        with KEPT.open("a") as file:
            file.write(json.dumps(row) + "\n")

    for method in methods:  # a method at a time, so that little is lost where this is stopped
        own = [seed for which, seed in missing if which == method]
        tasks = [Task(method, seed % len(contest.best), seed) for seed in own]
        for outcome, seed in zip(run_all(contest, tasks, workers) if tasks else [], own, strict=True):
            keep(outcome, seed)
        print(f"{name}: {method}", flush=True)


def verdicts_of(regrets: Mapping[str, np.ndarray], other: str) -> list[Verdict]:
    """By how much the default's regret is less, by seed, at each number of looks."""
    gaps = regrets[other] - regrets[DEFAULT]
    return [verdict(gaps[:, number].tolist(), MARGIN) for number in range(len(LOOKS))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--methods", nargs="+", choices=(DEFAULT, *OTHERS), default=(DEFAULT, *OTHERS))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    here = Path(__file__).parent
    beside = [here / "predictors.py", here / "made_up.py", f"{LOOKS}, {MEETS}"]
    parts = ("search", "cost", "tables", "bench", "estimators.py", "distribution.py", "memory.py", "gaussian.py")
    digest = results_file.source(*parts, "evaluators/table.py", "space.py", beside=beside)
    for name in asked.tables:
        run_missing(name, asked.data, asked.methods, asked.seeds, asked.workers, digest)
    done = kept(digest)
    lines = results_file.head(
        "Searches on tables whose choices interact",
        f"{asked.seeds} seeds; simple regret in standard deviations of the table's true accuracy, "
        "mean ± standard error of the mean",
        f"Verdicts: by how much less {DEFAULT}'s is, seed by seed, by Student's t, 95 %, margin {MARGIN} deviations",
        f"Budgets that {MEETS:.0%} of the networks meet",
    )
    for name in asked.tables:
        regrets = {
            method: np.array([done[name, method, seed] for seed in range(asked.seeds)])
            for method in asked.methods
            if all((name, method, seed) in done for seed in range(asked.seeds))
        }
        rows: list[list[str]] = []
        for method, own in regrets.items():
            means, errors = own.mean(axis=0), own.std(axis=0, ddof=1) / np.sqrt(len(own))
            said = ["-"] * len(LOOKS)
            if method != DEFAULT and DEFAULT in regrets:
                said = [f"{v.mean:+.2f} [{v.low:+.2f}, {v.high:+.2f}] {v.word}" for v in verdicts_of(regrets, method)]
            cells = [f"{mean:.2f} ± {error:.2f}" for mean, error in zip(means, errors, strict=True)]
            rows.append([method, *cells, *said])
        head = ["method", *(f"{n} looks" for n in LOOKS), *(f"less than this, {n}" for n in LOOKS)]
        lines += [f"## {name}", "", *results_file.table(head, rows), ""]
    print("\n".join(lines))
    results_file.write(asked.results, lines)


if __name__ == "__main__":
    main()

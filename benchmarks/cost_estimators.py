"""How well does the found network meet its target, by estimator of the cost term?

NAS-Bench-Macro (shared/data) under 50 M multiply-adds: log-likelihoods are 200 x the accuracy of one training run, the
truth is the mean of the other two. For each estimator and floor: the mode's cost as a share of the target, how often it
exceeds it, and the regret in points of accuracy of the most probable feasible architecture.

    python benchmarks/cost_estimators.py [--seeds 30] [--steps 200] [--results FILE.md]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import results_file
import torch

import fpnas
from fpnas.evaluators import Learned
from fpnas.search import CostTerm
from fpnas.search.cost_term import Estimator

TABLE = Path(__file__).parents[2] / "shared" / "data" / "nas-bench-macro_cifar10.npz"
TARGET = 50e6
CASES: tuple[tuple[Estimator, float], ...] = (
    ("samples", 0.0),
    ("samples", 0.05),
    ("many", 0.0),
    ("many", 0.05),
    ("exact", 0.0),
    ("exact", 0.05),
)


class Table:
    """An evaluator that looks accuracies up."""

    stationary = True

    def __init__(self, space: fpnas.SearchSpace, accuracies: np.ndarray, steps: int) -> None:
        self.space, self.steps_per_epoch, self.num_images = space, steps, 200
        self._scores = torch.from_numpy(2.0 * accuracies.astype(np.float64))
        self.place = torch.tensor([3**power for power in range(len(space) - 1, -1, -1)])

    def train_step(self, codes: torch.Tensor, progress: float) -> Learned:
        del codes, progress
        return Learned(None)

    def score(self, codes: torch.Tensor) -> torch.Tensor:
        return self._scores[codes @ self.place]

    def describe(self, arch: fpnas.Arch) -> dict[str, Any]:
        return {"choices": dict(arch)}

    def settings(self) -> dict[str, Any]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        del state


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--beta", type=float, default=1.0)
    parser.add_argument("--results", type=Path, default=None)
    arguments = parser.parse_args()
    if not TABLE.exists():
        print(f"the table is not here: {TABLE}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    archive = np.load(TABLE)
    order = np.lexsort(archive["arch"].T[::-1])
    accuracies = archive["test_acc"][order]
    with torch.device("meta"):
        supernet = fpnas.spaces.nasbench_macro()
    flops = fpnas.Flops(supernet, (3, 32, 32))
    feasible = flops(torch.from_numpy(archive["arch"][order].astype(np.int64))).numpy() <= TARGET
    columns = [
        "estimator",
        "floor",
        "mode's cost / target",
        "exceeds",
        "regret, points (median, quartiles)",
        "s a search",
    ]
    rows: list[list[str]] = []
    for estimator, floor in CASES:
        shares, regrets = [], []
        started = time.perf_counter()
        for seed in range(arguments.seeds):
            reward = seed % 3
            truth = np.delete(accuracies, reward, axis=1).mean(axis=1)
            task = Table(supernet.space, accuracies[:, reward], arguments.steps)
            budget, term = fpnas.Budget(flops, TARGET), CostTerm(arguments.beta, floor, estimator)
            settings: dict[str, Any] = {"baseline": "mean", "lam": 1.0, "join_at": 1.0, "temperature": 1.0, "lr": 0.1}
            search = fpnas.methods.fpnas(task, budget, epochs=1, seed=seed, warmup=0.0, cost_term=term, **settings)
            while search.steps_done < search.steps_total:
                search.step()
            result = search.result()
            shares.append(flops.of(result.arch) / TARGET)
            answer = supernet.space.encode(result.best_within().arch)
            row = int((torch.tensor(answer) @ task.place).item())
            regrets.append(float(truth[feasible].max() - truth[row]))
        seconds = (time.perf_counter() - started) / arguments.seeds
        low, middle, high = statistics.quantiles(regrets, n=4)
        over = sum(share > 1 for share in shares)
        regret = f"{middle:.2f} ({low:.2f} to {high:.2f})"
        exceeds = f"{over} of {arguments.seeds}"
        rows.append([estimator, f"{floor:g}", f"{statistics.mean(shares):.3f}", exceeds, regret, f"{seconds:.2f}"])
        print(*rows[-1], sep=" | ", flush=True)
    head = results_file.head(
        "The cost term's estimators",
        f"NAS-Bench-Macro, target {TARGET / 1e6:.0f} M multiply-adds, beta {arguments.beta:g}, {arguments.seeds} seeds,"
        f" {arguments.steps} steps, K = H, temperature 1; one training run in turn as the reward, the mean of the other"
        " two as the truth",
    )
    results_file.write(arguments.results, [*head, *results_file.table(columns, rows)])
    return 0


if __name__ == "__main__":
    sys.exit(main())

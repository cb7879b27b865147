"""A NAS-Bench-Macro supernet on real images: search with shared weights, then look the answer up in the table.

The search sees CIFAR-10 (JPEG copy) at --image-size px; the budget is of the table's own multiply-adds, those at 32 px.
A rank is that of the found network's mean accuracy over the table's three runs, 1 being the best, among the networks
within the budget and among all 6,561. Beside it stands how well the supernet ranks in the end: Spearman's correlation
of its log-likelihoods of one validation batch with the table, over 200 random networks within the budget. Lambda is 1,
for a K0 of 9: the space has 8.8 nats, of which the default of 1/4 makes the least K there is from start to end. Arms:
ours, ours with one setting moved, and eq. 7 with our additions and to the letter. Searches run side by side, one thread
each; seconds are of their own processor time.

    python benchmarks/macro_supernet.py [--data ../shared/data] [--seeds 5] [--steps 400] [--results FILE.md]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import results_file
import torch

import fpnas
from fpnas.search import Search, methods
from fpnas.streams import generator

TARGET = 50e6
ARMS: dict[str, Callable[..., Search]] = {
    "ours": methods.fpnas_posterior,
    "cooled to 0.03": partial(methods.fpnas_posterior, cooling=0.03),
    "temperature 0.1 throughout": partial(methods.fpnas_posterior, temperature=0.1),
    "warm-up 0.15": partial(methods.fpnas_posterior, warmup=0.15),
    "eq. 7, draws within the budget, 1/K taken off": partial(methods.fpnas, cost_term=None, baseline="mean"),
    "eq. 7 to the letter": methods.fpnas,
}
JUDGED = 200
LAMBDA = 1.0


@dataclass(frozen=True)
class Row:
    """What one search found."""

    arm: str
    seed: int
    digits: str
    flops: float
    accuracy: float
    rank_within: int
    of_within: int
    rank_of_all: int
    correlation: float
    samples: int
    seconds: float


def spearman(a: torch.Tensor, b: torch.Tensor) -> float:
    """The correlation of ranks; ties are broken by position."""
    return float(torch.corrcoef(torch.stack([x.argsort().argsort().double() for x in (a, b)]))[0, 1])


def one(arm: str, seed: int, asked: argparse.Namespace) -> Row:
    """Searches, and looks up."""
    torch.set_num_threads(1)
    table = np.load(asked.data / "nas-bench-macro_cifar10.npz")
    codes, truth = torch.from_numpy(table["arch"]).long(), torch.from_numpy(table["test_acc"]).double().mean(dim=1)
    flops = torch.from_numpy(table["flops"]).double()
    within = flops <= TARGET
    data = fpnas.data.load(asked.data / "cifar10", image_size=asked.image_size)
    net = fpnas.spaces.nasbench_macro(seed=seed)
    budget = fpnas.Budget(fpnas.Flops(net, (3, 32, 32)), TARGET)
    task = fpnas.SupernetEvaluator(net, data, seed=seed, batch_size=asked.batch_size)
    epochs = max(1, round(asked.steps / task.steps_per_epoch))
    search = ARMS[arm](task, budget, lam=LAMBDA, epochs=epochs, seed=seed)
    start = time.process_time()
    for _ in range(min(asked.steps, search.steps_total)):
        search.step()
    seconds = time.process_time() - start
    answer = search.answer()
    row = int((codes == torch.tensor(net.space.encode(answer.arch))).all(dim=1).nonzero()[0, 0])
    some = torch.randperm(int(within.sum()), generator=generator(seed, "judged"))[:JUDGED]
    judged = within.nonzero()[:, 0][some]
    scores = task.score(codes[judged])
    return Row(
        arm=arm,
        seed=seed,
        digits="".join(map(str, codes[row].tolist())),
        flops=float(flops[row]),
        accuracy=float(truth[row]),
        rank_within=1 + int((truth[within] > truth[row]).sum()),
        of_within=int(within.sum()),
        rank_of_all=1 + int((truth > truth[row]).sum()),
        correlation=spearman(scores, truth[judged]),
        samples=search.result().num_samples_total,
        seconds=seconds,
    )


def markdown(rows: Sequence[Row]) -> list[str]:
    """The results file."""
    head = results_file.head(
        "A NAS-Bench-Macro supernet on CIFAR-10 (JPEG copy): the true rank of what is found",
        f"At most {TARGET / 1e6:.0f} M multiply-adds at 32 px: {rows[0].of_within:,} of 6,561 networks;"
        " processor seconds",
    )
    columns = ["arm", "seed", "found", "M multiply-adds", "table's accuracy, %", "rank within the budget"]
    columns += ["of all", "Spearman", "networks sampled", "s"]
    cells = [
        [
            row.arm,
            row.seed,
            row.digits,
            f"{row.flops / 1e6:.1f}",
            f"{row.accuracy:.2f}",
            f"{row.rank_within:,}",
            f"{row.rank_of_all:,}",
            f"{row.correlation:.2f}",
            f"{row.samples:,}",
            f"{row.seconds:,.0f}",
        ]
        for row in rows
    ]
    return [*head, *results_file.table(columns, cells)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--image-size", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    tasks = [(arm, seed, asked) for arm in ARMS for seed in range(asked.seeds)]
    rows: list[Row] = []
    with ProcessPoolExecutor(asked.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for row in pool.map(one, *zip(*tasks, strict=True)):
            rows.append(row)
            if not asked.json:
                print(row, flush=True)
    print(json.dumps([asdict(row) for row in rows]) if asked.json else "\n".join(markdown(rows)))
    results_file.write(asked.results, markdown(rows))


if __name__ == "__main__":
    main()

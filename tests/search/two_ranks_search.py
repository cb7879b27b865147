"""What torchrun starts twice in test_search_ranks.py: searches whose ranks split the data, or the architectures.

torchrun --nproc-per-node 2 tests/search/two_ranks_search.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import helpers_run as h

import fpnas
import fpnas.search
from fpnas import parallel
from fpnas.errors import InputError
from fpnas.runner import Progress

KINDS = ("data", "architectures")
MIXED = ("darts", "fbnetv2")
PARTS: dict[str, Any] = {"batch_size": 12, "accumulate": 2}
"""Batches of 12 and 11 images, of which each part has 2 at least, on two ranks."""


def task(task_of: Any = fpnas.SupernetEvaluator, **options: Any) -> fpnas.SupernetEvaluator:
    """Batches of 8 and 7 images, so that ranks' parts differ in size."""
    options = {"batch_size": 8, "lr": 0.01, "temperature": 1.0, "negligible": 0.0, **options}
    return task_of(h.small_supernet(double="precision" not in options), h.made_up(train=46), **options)


def search(kind: str, task_of: Any = fpnas.SupernetEvaluator, **options: Any) -> fpnas.Search:
    """6 steps, 3 an epoch, one of them of warm-up."""
    judge = task(task_of, **{"split": kind, **options})
    budget = fpnas.Budget(fpnas.Flops(judge.supernet, (1, 8, 8)), target=6e3)
    return fpnas.methods.fpnas(judge, budget, **h.PINNED, lam=0.8, epochs=2, seed=3)


def mixing(method: str, task_of: Any = fpnas.SupernetEvaluator, **options: Any) -> fpnas.Search:
    """6 steps of a method that mixes all architectures, alpha among them, with a cost term."""
    judge = task(task_of, **options)
    budget = fpnas.Budget(fpnas.Flops(judge.supernet, (1, 8, 8)), target=6e3)
    term = fpnas.search.CostTerm(floor=0.05)
    return fpnas.methods.METHODS[method](judge, budget, lr=0.1, cost_term=term, epochs=2, warmup=0.3, seed=3)


def check_refusals() -> None:
    supernet, data = h.small_supernet(), h.made_up()
    with pytest.raises(InputError, match="two for each rank"):
        fpnas.SupernetEvaluator(supernet, data, batch_size=3)
    with pytest.raises(InputError, match="at least 8 images, two for each part of them"):
        fpnas.SupernetEvaluator(supernet, data, batch_size=6, accumulate=2)
    judge = fpnas.SupernetEvaluator(supernet, data, batch_size=8, split="architectures")
    with pytest.raises(InputError, match="ranks that split data, for a method that mixes"):
        fpnas.methods.darts(judge)


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    with parallel.ranks():
        assert parallel.greatest(float(parallel.rank())) == 1.0
        assert parallel.all_reduce_sum(torch.tensor([1.0, parallel.rank()])).tolist() == [2.0, 1.0]
        check_refusals()
        for kind in KINDS:
            job = search(kind)
            fpnas.run(search(kind), folder / kind, max_steps=2, progress=Progress())
            fpnas.run(job, folder / kind, progress=Progress())  # a new one, as after a restart
            fpnas.run(search(kind, **PARTS), folder / f"{kind}-in-parts", progress=Progress())
            fpnas.run(search(kind, precision="bf16"), folder / f"{kind}-bf16", progress=Progress())
            check_equal(job)
        for method in MIXED:
            job = mixing(method)
            fpnas.run(mixing(method), folder / method, max_steps=2, progress=Progress())
            fpnas.run(job, folder / method, progress=Progress())
            check_equal(job)
    assert not h.gloo_threads(), "left behind they abort processes that end, now and then"


def check_equal(job: fpnas.Search) -> None:
    """Ranks hold the same weights and the same alpha, bit for bit."""
    weights = torch.cat([p.detach().flatten() for p in job.evaluator.supernet.parameters()])
    logits = job.distribution.logits.detach()
    assert torch.equal(parallel.mean(weights), weights)
    assert torch.equal(parallel.mean(logits), logits)


if __name__ == "__main__":
    main()

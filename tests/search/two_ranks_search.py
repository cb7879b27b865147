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
from fpnas import parallel
from fpnas.errors import InputError
from fpnas.runner import Progress

KINDS = ("data", "architectures")


def search(kind: str, task_of: Any = fpnas.SupernetEvaluator) -> fpnas.Search:
    """6 steps, 3 an epoch, one of them of warm-up; batches of 8 and 7 images, so that ranks' parts differ in size."""
    data = h.made_up(train=46)
    supernet = h.small_supernet(double=True)
    task = task_of(supernet, data, batch_size=8, lr=0.01, temperature=1.0, negligible=0.0, split=kind)
    budget = fpnas.Budget(fpnas.Flops(supernet, (1, 8, 8)), target=6e3)
    return fpnas.methods.fpnas(task, budget, **h.PINNED, lam=0.8, epochs=2, seed=3)


def check_refusals() -> None:
    supernet, data = h.small_supernet(), h.made_up()
    with pytest.raises(InputError, match="two for each rank"):
        fpnas.SupernetEvaluator(supernet, data, batch_size=3)
    task = fpnas.SupernetEvaluator(supernet, data, batch_size=8)
    with pytest.raises(InputError, match="a method that mixes"):
        fpnas.methods.darts(task)


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
            weights = torch.cat([p.detach().flatten() for p in job.evaluator.supernet.parameters()])
            assert torch.equal(parallel.mean(weights), weights), "ranks hold the same weights, bit for bit"
            logits = job.distribution.logits.detach()
            assert torch.equal(parallel.mean(logits), logits)
    assert not h.gloo_threads(), "left behind they abort processes that end, now and then"


if __name__ == "__main__":
    main()

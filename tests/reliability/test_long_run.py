"""A search of 50,000 steps: memory stays flat, logits stay finite, and it never loses what it has found."""

from __future__ import annotations

import math
import resource
from pathlib import Path
from typing import Any

import helpers_run as h
import pytest

import fpnas
from fpnas.runner import Progress

STEPS = 50_000


class Watched:
    """A search that notes its process's greatest memory and its logits' greatest size every thousand steps."""

    def __init__(self, job: fpnas.Search) -> None:
        self._job = job
        self.peaks: list[float] = []
        self.sizes: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._job, name)

    def step(self) -> Any:
        if self._job.steps_done % 1000 == 0:
            self.peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)
            self.sizes.append(float(self._job.distribution.logits.detach().abs().max()))
        return self._job.step()


@pytest.mark.soak
@pytest.mark.parametrize("name", ["fpnas", "fpnas_posterior"])
def test_fifty_thousand_steps(name: str, tmp_path: Path) -> None:
    budget = fpnas.Budget(h.TableCost(), 60.0)
    options = h.PINNED if name == "fpnas" else {"warmup": 0.1, "temperature": "mean"}
    job = Watched(getattr(fpnas.methods, name)(Forgetful(100), budget, **options, epochs=STEPS // 100))
    found = fpnas.run(job, tmp_path / "run", progress=Progress(), checkpoint_every=1000)
    lines = h.json_lines(tmp_path / "run" / "metrics.jsonl")
    assert len(lines) == STEPS
    assert all(math.isfinite(size) for size in job.sizes)
    assert all(math.isfinite(line["entropy"]) and line["entropy"] >= 0 for line in lines)
    assert not any("skipped" in line for line in lines)
    grown = job.peaks[-1] - job.peaks[5]
    print(f"{name}: {grown:.1f} MiB grown over the last {STEPS - 5000} steps; |logit| at most {max(job.sizes):.3g}")
    assert grown < 20
    assert found.best_within().cost <= 60


class Forgetful(h.TableEvaluator):
    """The table, without a list of what it was asked: that grows by itself."""

    def train_step(self, codes: Any, progress: float) -> Any:
        found = super().train_step(codes, progress)
        self.learned.clear()
        return found

    def score(self, codes: Any) -> Any:
        found = super().score(codes)
        self.scored.clear()
        self.progress.clear()
        return found

    def state_dict(self) -> dict[str, Any]:
        return {}

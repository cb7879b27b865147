"""Writes tests/fixtures/run-format-2: a run folder as the first release leaves it, half done, and what it ends in.

Run once for each version of the folder's format, and never again for one that has been released: what is kept is what
that release wrote, byte by byte. `python tests/reliability/make_fixture.py`, from the project's root.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import helpers_run as h
import torch
from torch import nn

import fpnas
from fpnas.runner import Progress
from fpnas.runner.folder import FORMAT
from fpnas.search import CostTerm

FIXTURES = Path(__file__).parents[1] / "fixtures"
STEPS = 9


def search() -> fpnas.Search:
    """A search on a table: 20 steps, theta at step 9, so that the checkpoint is of the step before."""
    budget = fpnas.Budget(h.TableCost(), 60.0)
    settings = {**h.PINNED, "cost_term": CostTerm(floor=0.05, estimator="many", num_samples=64)}
    return fpnas.methods.fpnas(h.TableEvaluator(5), budget, **settings, lam=1.0, epochs=4)


def training() -> fpnas.Training:
    """A training of a few dozen weights, batch norm and average among them; 4 steps an epoch."""
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, h.CLASSES))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.linspace(-0.1, 0.2, parameter.numel()).reshape(parameter.shape))
    return fpnas.Training(network, h.made_up(), epochs=2, batch_size=12, ema=0.9)


def main() -> None:
    """Writes it, where it isn't there."""
    place = FIXTURES / f"run-format-{FORMAT}"
    if place.exists():
        raise SystemExit(f"{place} is there; a released format's fixture stays as it is")
    sys.argv = ["fpnas", "search"]  # run.json records the command
    fpnas.run(search(), place / "search", progress=Progress(), max_steps=STEPS, checkpoint_every=4)
    fpnas.run(training(), place / "train", progress=Progress(), max_steps=5, checkpoint_every=5)
    fpnas.run(search(), place / "ended", progress=Progress(), checkpoint_every=100)
    for kind in ("search", "train", "ended"):
        (place / kind / ".lock").unlink(missing_ok=True)
        (place / kind / "checkpoint-before.pt").unlink(missing_ok=True)
        run = json.loads((place / kind / "run.json").read_text())
        run["hardware"]["machine"] = "any"
        (place / kind / "run.json").write_text(json.dumps(run, indent=2) + "\n")
    for name in ("checkpoint.pt", "run.json"):
        (place / "ended" / name).unlink()


if __name__ == "__main__":
    main()

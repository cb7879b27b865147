"""Stored trajectories of whole searches hold on any machine: architectures and K exactly, floats to 1e-6.

They were written by `make_golden.py`, which says when that may be run again. What the numbers should be is proved
elsewhere (the maths by enumeration, the loop by its slow version); these say that nothing has moved since.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from golden_problems import PROBLEMS, training_problem, training_trajectory, trajectory

EXACT = {"codes", "num_samples", "step", "epoch", "joined", "arch"}


def compare(found: Any, golden: Any, where: str) -> None:
    """Numbers to 1e-6 except under an exact key; all else equal."""
    if isinstance(golden, dict):
        assert list(found) == list(golden), where
        for key, value in golden.items():
            if key in EXACT:
                assert found[key] == value, f"{where}.{key}"
            else:
                compare(found[key], value, f"{where}.{key}")
    elif isinstance(golden, list):
        assert len(found) == len(golden), where
        for number, (one, other) in enumerate(zip(found, golden, strict=True)):
            compare(one, other, f"{where}[{number}]")
    elif isinstance(golden, float):
        assert found == pytest.approx(golden, rel=1e-6, abs=1e-6), where
    else:
        assert found == golden, where


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_trajectory_is_the_stored_one(name: str) -> None:
    golden = json.loads((Path(__file__).parent / f"{name}.json").read_text())
    compare(trajectory(PROBLEMS[name]()), golden, name)


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_stored_trajectory_goes_through_all_of_a_search(name: str) -> None:
    """Warm-up, factorised and joint steps, several K or at least several architectures, a cost that matters."""
    golden = json.loads((Path(__file__).parent / f"{name}.json").read_text())
    steps = golden["steps"]
    assert len(steps) == int(name.rpartition("_")[2])
    assert steps[0]["val_loss"] is None
    assert [step["joined"] for step in steps] == sorted(step["joined"] for step in steps)
    assert {step["joined"] for step in steps} == {False, True}
    assert all(len(step["codes"]) == step["num_samples"] for step in steps)
    assert len({json.dumps(step["codes"]) for step in steps}) == len(steps)
    assert max(step["cost_mean"] for step in steps) > PROBLEMS[name]().budget.target


def test_a_trainings_trajectory_is_the_stored_one() -> None:
    """Augmentation, CutMix, drop path, teacher, average and schedule: what moved would show in some norm."""
    golden = json.loads((Path(__file__).parent / "training_8.json").read_text())
    compare(training_trajectory(training_problem()), golden, "training")
    assert len(golden["steps"]) == 8
    assert len({step["lr"] for step in golden["steps"]}) == 6
    assert golden["kept"] != golden["steps"][-1]["norms"]


def test_the_comparison_can_fail() -> None:
    golden = {"steps": [{"num_samples": 3, "entropy": 1.0}]}
    compare({"steps": [{"num_samples": 3, "entropy": 1.0 + 1e-7}]}, golden, "")
    for wrong in ({"num_samples": 4, "entropy": 1.0}, {"num_samples": 3, "entropy": 1.00001}):
        with pytest.raises(AssertionError):
            compare({"steps": [wrong]}, golden, "")

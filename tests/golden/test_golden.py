"""Stored trajectories of whole searches hold on any machine: architectures and K exactly, floats to 1e-6.

They were written by `make_golden.py`, which says when that may be run again. What the numbers should be is proved
elsewhere (the maths by enumeration, the loop by its slow version); these say that nothing has moved since.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from golden_problems import MAKERS

EXACT = {"codes", "num_samples", "step", "epoch", "joined", "arch", "how"}


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


@pytest.mark.parametrize("name", MAKERS)
def test_the_trajectory_is_the_stored_one(name: str) -> None:
    golden = json.loads((Path(__file__).parent / f"{name}.json").read_text())
    compare(MAKERS[name](), golden, name)
    assert len(golden["steps"]) == int(name.rpartition("_")[2])


def test_the_comparison_can_fail() -> None:
    golden = {"steps": [{"num_samples": 3, "entropy": 1.0}]}
    compare({"steps": [{"num_samples": 3, "entropy": 1.0 + 1e-7}]}, golden, "")
    for wrong in ({"num_samples": 4, "entropy": 1.0}, {"num_samples": 3, "entropy": 1.00001}):
        with pytest.raises(AssertionError):
            compare({"steps": [wrong]}, golden, "")

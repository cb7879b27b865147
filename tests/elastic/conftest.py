"""What tests of networks borrow from tests of costs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from fpnas import Arch, Supernet


@pytest.fixture
def count() -> Callable[[Supernet, Arch, tuple[int, ...]], tuple[int, int]]:
    """`counted` of tests/cost: multiply-adds and parameters of the extracted network, by torch's own counter."""
    file = Path(__file__).parents[1] / "cost" / "counting.py"
    spec = importlib.util.spec_from_file_location("cost_counting", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.counted

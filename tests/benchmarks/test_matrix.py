"""The matrix of environments: what it says of those that it leaves out."""

from __future__ import annotations

from helpers_benchmarks import benchmark


def test_torches_beyond_the_range_are_named_with_it() -> None:
    said = benchmark("matrix", "matrix").beyond()
    assert said == "torch beyond >=2.6,<2.15, the range that pyproject.toml names"

"""Which runs count as this code's own: by pairs of digests, an arm and a pool each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers_benchmarks import benchmark

same = benchmark("same", "ground")


def row(arm: str, pool: str, *digests: str) -> dict[str, Any]:
    return {"arm": arm, "pool": pool, "digests": list(digests), "commits": ["0", "1"]}


def test_a_pair_counts_for_its_arm_and_pool_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row("a", "p", "1", "2"), row("a", "p", "2", "3"), row("b", "p", "1", "9"), row("a", "q", "1", "8")]
    (tmp_path / "same.json").write_text(json.dumps(rows))
    monkeypatch.setattr(same, "KEPT_AT", tmp_path / "same.json")
    assert same.same_as("3", same.kept("a", "p")) == {"1", "2", "3"}
    assert same.same_as("3", same.kept("b", "p")) == {"3"}
    assert same.same_as("1", same.kept("a", "q")) == {"1", "8"}
    assert same.same_as("1", same.kept("c", "p")) == {"1"}


def test_without_a_file_each_code_stands_for_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(same, "KEPT_AT", tmp_path / "none.json")
    assert same.kept("a", "p") == []

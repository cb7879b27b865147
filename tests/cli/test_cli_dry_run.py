"""`search --dry-run`: time, memory and K0, and nothing is written; what it refuses, and what it warns of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calling import SEARCH, Found, call, is_refusal, working_in

from fpnas.cli.spaces import describe


@pytest.mark.parametrize("method", ["fpnas", "darts", "random"])
def test_it_prints_what_the_search_would_take_and_writes_nothing(method: str, small: Found, tmp_path: Path) -> None:
    with working_in(tmp_path):
        called = call(*SEARCH, "--method", method, "--dry-run", "--json", "--max-steps", "7", "--out", "run")
        assert not list(tmp_path.iterdir())
        plain = call(*SEARCH, "--method", method, "--dry-run", "--out", "run")
        assert not list(tmp_path.iterdir())
    assert (called.code, called.err, plain.code) == (0, "", 0)
    found = json.loads(called.out)
    with open(small.folder / "metrics.jsonl") as log:
        first = json.loads(next(log))
    assert found["entropy"] == pytest.approx(first["entropy"])
    if method == "fpnas":
        assert found["k0"] == first["num_samples"]
    assert found["steps"] == 7
    assert 0 < found["seconds_per_step"] < 60
    assert 0 < found["seconds"] <= 7.01 * 60
    assert found["largest_mb"] > 0
    assert found["memory_mb"] > 50
    assert "nothing was written" in plain.out
    assert f"K0 = {found['k0']} " in plain.out


@pytest.mark.parametrize("method", ["fpnas", "fpnas-posterior", "fpnas-thompson"])
def test_k0_is_that_of_spaces(method: str, tmp_path: Path) -> None:
    called = call(*SEARCH, "--method", method, "--dry-run", "--json", "--out", tmp_path / "run")
    assert json.loads(called.out)["k0"] == describe("tiny")["k0"] == 5


def test_json_alone_is_refused(small: Found, tmp_path: Path) -> None:
    with working_in(tmp_path):
        called = call(*SEARCH, "--json", "--out", "run")
    assert is_refusal(called)
    assert "--dry-run" in called.err
    assert not list(tmp_path.iterdir())


def test_memory_that_will_not_do_is_one_line_and_no_folder(
    small: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fpnas.runner.rehearsal.free_memory", lambda device: 1000)
    with working_in(tmp_path):
        for more in ((), ("--dry-run",)):
            called = call(*SEARCH, *more, "--out", "run")
            assert is_refusal(called)
            assert "lower the batch size" in called.err
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("more", [("--dry-run",), ("--log", "none")], ids=["dry", "run"])
def test_a_target_without_effect_is_warned_about(more: tuple[str, ...], small: Found, tmp_path: Path) -> None:
    called = call(*SEARCH, *more, "--target-flops", "1G", "--out", tmp_path / "run")
    assert called.code == 0
    assert "warning: the target of 1 G FLOPs has no effect: it is not below 92.18 k, the most" in called.err

"""`fpnas search --target-flops A,B`: a front in one folder, from which each network can be taken."""

from __future__ import annotations

import json
from pathlib import Path

from calling import SEARCH, TRAIN, Found, assert_inherited, call, is_refusal, refused


def test_a_front_of_two(small: Found, tmp_path: Path) -> None:
    run = tmp_path / "run"
    # The greater first: the order in which they are typed is no matter.
    called = call(*SEARCH, "--target-flops", "60k,25k", "--out", run)
    assert called.code == 0, called.err
    front = json.loads((run / "pareto.json").read_text())
    assert front["cost_name"] == "FLOPs"
    assert [(row["target"], row["arch"]) for row in front["front"]] == [
        (25e3, "arch-25k.json"),
        (60e3, "arch-60k.json"),
    ]
    for row in front["front"]:
        assert json.loads((run / row["arch"]).read_text())["flops"] == row["flops"] == row["cost"] <= row["target"]
        assert f"{run / row['arch']}" in called.out
    assert (run / "arch.json").read_text() == (run / "arch-60k.json").read_text()
    assert json.loads((run / "run.json").read_text())["settings"]["targets"] == [25e3, 60e3]
    for name in ("25k", "60k"):  # each into a folder of its own, and from the weights that both have been judged by
        trained = call(*TRAIN, run / f"arch-{name}.json", "--inherit", "--lr", "1e-12")
        assert trained.code == 0, trained.err
        assert_inherited(run / f"train-{name}", run, f"arch-{name}.json")
    assert is_refusal(call(*TRAIN, run / "arch-25k.json", "--inherit", "--classes", "9", "--out", tmp_path / "nine"))


def test_other_methods_take_one(small: Found, tmp_path: Path) -> None:
    line = (*SEARCH, "--method", "random", "--target-flops", "25k,60k", "--out", tmp_path / "run")
    assert "several with random" in refused(tmp_path, *line)

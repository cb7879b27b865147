"""What search and train say beside their numbers: of nothing learnt, of the largest network, of other data."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import helpers_run as h
import pytest
import torch
from calling import SEARCH, TRAIN, Found, call, write_npz

import fpnas
from fpnas.cli.output import say_found
from fpnas.runner import Progress, read_arch
from fpnas.runner.runner import _command
from fpnas.runner.ship import _command as shipped_command


@pytest.mark.parametrize("method", ["fpnas-thompson", "fpnas-posterior", "random"])
def test_a_search_that_ends_before_any_score_says_so(method: str, small: Found, tmp_path: Path) -> None:
    words = (*SEARCH, "--method", method, "--epochs", "2", "--log", "none", "--out", tmp_path / "run")
    called = call(*words, "--max-steps", "1")
    learnt = json.loads((tmp_path / "run" / "result.json").read_text())["learnt"]
    lead = "nothing was learnt in 1 step: no network has a score yet; an arbitrary network: "
    assert (called.code, learnt) == (0, False)
    assert called.out.startswith(lead)
    assert "go on with more steps" in called.out
    if method != "fpnas-thompson":
        assert call(*words, "--max-steps", "30").out.startswith("found: ")


def test_a_search_whose_every_step_was_skipped_has_found_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = h.small_search()
    with torch.no_grad():
        for parameter in job.evaluator.supernet.parameters():
            parameter.fill_(torch.nan)
    fpnas.run(job, tmp_path / "run", max_steps=4, progress=Progress())
    assert not job.learnt
    resumed = h.small_search()
    resumed.load_state_dict(job.state_dict())
    assert not resumed.learnt
    say_found(tmp_path / "run")
    out = capsys.readouterr().out
    assert out.startswith("nothing was learnt in 4 steps: each was skipped for want of a finite loss; an arbitrary")
    assert "found" not in out
    assert "most probable" not in out


@pytest.mark.parametrize(("nearly", "target", "warns"), [(0.0, (), True), (1.1, (), False), (0.0, ("30k",), False)])
def test_the_largest_network_without_a_target(
    nearly: float, target: tuple[str, ...], warns: bool, small: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["fpnas.cli.search"], "NEARLY", nearly)
    flags = [word for value in target for word in ("--target-flops", value)]
    words = ("--method", "random", "--max-steps", "14", "--epochs", "1", *flags, "--log", "none")
    called = call(*SEARCH, *words, "--out", tmp_path / "run")
    assert called.code == 0, called
    told = "warning: without a target the search went for the largest network, "
    assert (told in called.err) == warns
    assert ("of 92.18 k FLOPs; give --target-flops, say" in called.err) == warns


@pytest.mark.filterwarnings("default")
def test_training_on_other_data_than_the_searchs_is_said(small: Found, copied: Path, tmp_path: Path) -> None:
    write_npz(tmp_path / "other.npz", classes=10, seed=0)
    write_npz(tmp_path / "few.npz", classes=3, seed=0)
    for number, (data, words) in enumerate(
        (
            (("--data", tmp_path / "few.npz"), "of other classes, ['0', '1', '2', '3', '4', '5', "),
            (("--classes", "3"), "of other classes, ['0', '1', '2', '3', '4', '5', "),
            (("--data", tmp_path / "other.npz"), "of other data, digits; here they are other: for these another"),
            (("--image-size", "32"), None),
            ((), None),
        )
    ):
        called = call(*TRAIN, copied, *data, "--log", "none", "--max-steps", "1", "--out", tmp_path / f"out{number}")
        assert called.code == 0, called
        assert (f"warning: the search in {copied} was " in called.err) == (words is not None)
        assert (words or "") in called.err


def test_an_arch_file_is_read_once_and_bad_input_never_meets_the_ranks(
    small: Found, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []

    def noting(path: Path) -> object:
        read.append(path)
        return read_arch(path)

    monkeypatch.setattr("fpnas.runner.read_arch", noting)
    monkeypatch.setattr("fpnas.runner.of_run.read_arch", noting)
    monkeypatch.setattr(sys.modules["fpnas.cli.train"], "ranks", lambda *_: pytest.fail("the ranks met"))
    called = call(*TRAIN, copied, "--inherit", "--classes", "3")
    assert called.code == 2
    assert "as the weights know" in called.err
    assert read == [copied]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["/usr/bin/fpnas", "search", "--data", "my photos"], "fpnas search --data 'my photos'"),
        (["/x y/fpnas/__main__.py", "train", "löwe"], "fpnas train 'löwe'"),
        (["my search.py", "--seed", "1"], "python 'my search.py' --seed 1"),
    ],
)
def test_a_recorded_command_can_be_pasted(words: list[str], line: str) -> None:
    assert _command(words) == line
    assert shlex.split(line)[-2:] == words[-2:]
    assert shipped_command(line) == line
    assert shipped_command("/usr/bin/fpnas search --data x") == "fpnas search --data x"
    assert shipped_command("fpnas search it's") == "fpnas search it's"


def test_a_run_records_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/opt/fpnas", "search", "--out", "a b"])
    fpnas.run(h.small_search(), tmp_path / "run", max_steps=1, progress=Progress())
    assert json.loads((tmp_path / "run" / "run.json").read_text())["command"] == "fpnas search --out 'a b'"

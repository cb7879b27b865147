"""Whatever is typed, `fpnas` either does it or refuses it in one line: never a traceback, never another exit code.

Command lines are made of plausible and silly words. So that none of them does much, a search or a training ends with
flags that keep it small: the last of two equal flags counts.
"""

from __future__ import annotations

import itertools
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import helpers_run as h
import pytest
from calling import Found, call, is_refusal, small_tiny, working_in
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fpnas.spaces import SPACES

SMALL = ("--image-size", "16", "--batch-size", "64", "--max-steps", "1", "--epochs", "1")

VALUES = [
    "",
    "0",
    "1",
    "2",
    "-1",
    "3M",
    "0.5",
    "1e400",
    "nan",
    "inf",
    "tiny",
    "digits",
    "no/such",
    "run",
    "new",
    "run.json",
]
silly = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=6)
value = st.one_of(st.sampled_from(VALUES), silly)
SHARES = ("--weight-decay", "--label-smoothing", "--ema", "--random-erasing", "--mixup", "--cutmix")
RECIPE = {*SHARES, "--lr", "--opt", "--crop", "--randaugment", "--teacher"}
right = {
    "--data": st.sampled_from(["digits", "digits", "no/such", "run", ""]),
    "--out": st.sampled_from(["new", "run", "run/arch.json", ""]),
    "--space": st.sampled_from(["tiny", "tiny", "Tiny", "huge"]),
    "--method": st.sampled_from(["fpnas", "fpnas-posterior", "darts"]),
    "--target-flops": st.sampled_from(["1M", "30k", "1k", "-1", "zero"]),
    "--target-params": st.sampled_from(["5k", "1", "nan"]),
    "--lam": st.sampled_from(["0", "0.25", "-1", "nan"]),
    "--join-at": st.sampled_from(["0", "1", "0.5", "2"]),
    "--beta": st.sampled_from(["0", "0.3", "-0.1"]),
    "--lr": st.sampled_from(["0.1", "0", "nan"]),
    "--seed": st.sampled_from(["0", "1", "-1", "99999999999"]),
    "--checkpoint-every": st.sampled_from(["1", "0"]),
    "--device": st.sampled_from(["auto", "cpu", "abacus"]),
    "--rank-timeout": st.sampled_from(["60", "0", "nan", "inf"]),
    "--precision": st.sampled_from(["fp32", "bf16", "fp1"]),
    "--image-size": st.sampled_from(["16", "8", "x"]),
    **{flag: st.sampled_from(["0", "0.1", "1", "-1", "nan"]) for flag in SHARES},
    "--opt": st.sampled_from(["sgd", "adamw", "adam"]),
    "--crop": st.sampled_from(["none", "pad", "resized", "cut"]),
    "--randaugment": st.sampled_from(["0", "9", "30", "x"]),
    "--teacher": st.sampled_from(["run", "new", "."]),
}
COMMON = {"--data", "--image-size", "--device"}
KNOWN = {
    "search": COMMON | set(right) - RECIPE,
    "train": COMMON | RECIPE | {"--out", "--seed", "--checkpoint-every", "--precision", "--rank-timeout"},
    "evaluate": COMMON,
    "cost": {"--image-size"},
    "spaces": set(right),
}
# What makes each command whole; each is given in full, in part, or not at all.
WHOLE = {
    "search": [("--data", "digits"), ("--out", "new")],
    "train": [("run",), ("--data", "digits")],
    "evaluate": [("run",), ("--data", "digits")],
    "cost": [("run",)],
    "spaces": [],
}
lone = st.one_of(st.sampled_from(["--json", "--inherit", "--help", "--", "-", "-h", "--jso", "--version"]), value)


def pairs_of(flags: set[str]) -> st.SearchStrategy[tuple[str, str]]:
    return st.sampled_from(sorted(flags)).flatmap(lambda flag: st.tuples(st.just(flag), st.one_of(right[flag], value)))


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from([*KNOWN, *KNOWN, "search", "train"]))
    pair, alone = pairs_of(KNOWN[name]), lone.map(lambda word: (word,))
    parts = draw(st.lists(st.one_of(pair, pair, pair, pair, alone), max_size=3))
    needed = WHOLE[name][draw(st.sampled_from([0, 0, 0, 1])) :]
    line = [name, *itertools.chain(*parts, *needed), *(SMALL if name in ("search", "train") else ())]
    if name == "search" and draw(st.integers(0, 4)) == 0:
        line.append("--dry-run")
    if draw(st.integers(0, 19)) == 0:
        line[0] = draw(st.one_of(st.sampled_from(["Search", "serch", "run", "--json"]), silly))
    return line


def try_out(line: list[str], place: Path) -> None:
    files = h.contents(place)
    with working_in(place), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of flags without effect: here they'd be errors, and stand before a refusal
        called = call(*line)
    assert called.code in (0, 2), (line, called)
    assert "Traceback" not in called.out + called.err
    if called.code == 2:
        assert is_refusal(called), (line, called)
    if called.code == 2 or line[-1] == "--dry-run":
        assert h.contents(place) == files, line
    for path in place.iterdir():
        if path.name != "run":
            shutil.rmtree(path)


@pytest.fixture(scope="module")
def place(small_found: Found, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a whole run in it, while the stand-in for `tiny` is the only space."""
    folder = tmp_path_factory.mktemp("random")
    shutil.copytree(small_found.folder, folder / "run")
    # Not monkeypatch: what that takes out comes back as the last, and the order of the spaces is what pages go by.
    with patch.dict(SPACES, {"tiny": small_tiny}, clear=True):
        yield folder


@settings(max_examples=50, derandomize=True, suppress_health_check=list(HealthCheck))
@given(line=command_lines())
def test_random_command_lines_are_done_or_refused(line: list[str], place: Path) -> None:
    try_out(line, place)


@pytest.mark.soak
@settings(max_examples=2000, suppress_health_check=list(HealthCheck))
@given(line=command_lines())
def test_two_thousand_command_lines_are_done_or_refused(line: list[str], place: Path) -> None:
    try_out(line, place)

"""How the tests call the command line: in this process, with what it prints, what it returns and what it writes."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Generator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import helpers_run as h
import jsonschema
import numpy as np
import torch
from helpers_run import small_tiny as small_tiny

import fpnas
from fpnas.cli import main
from fpnas.runner import read_arch
from fpnas.runner.checkpoint import load_checkpoint

# Small and quick: digits at 16 px. What comes later on a command line wins, so tests append to these.
SMALL = ("--data", "digits", "--image-size", "16", "--batch-size", "32", "--threads", "1")
SEARCH = ("search", *SMALL, "--method", "fpnas-posterior", "--max-steps", "2")
TRAIN = ("train", *SMALL, "--max-steps", "3")


@dataclass(frozen=True)
class Called:
    """What came of a call."""

    code: int
    out: str
    err: str


def call(*arguments: str | Path) -> Called:
    """`fpnas ARGUMENTS`; whatever `main` lets through fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Called(code, out.getvalue(), err.getvalue())


def schema(command: str) -> Any:
    return json.loads(files("fpnas.cli").joinpath(f"schemas/{command}.json").read_text())


def document(called: Called, command: str) -> Any:
    """What a call with --json printed, as its schema wants it."""
    found = json.loads(called.out)
    jsonschema.validate(found, schema(command), cls=jsonschema.Draft202012Validator)
    return found


@dataclass(frozen=True)
class Found:
    """The folder of a search with its train/, and how the two commands went. Not to be written to."""

    folder: Path
    search: Called
    train: Called


def begin(folder: Path, target: str) -> Found:
    search = call(*SEARCH, "--max-steps", "3", "--target-flops", target, "--out", folder)
    return Found(folder, search, call(*TRAIN, folder))


@dataclass(frozen=True)
class Shipped:
    """A training's folder, and its exports: how each call went, by the name of the file that it left in `out`."""

    run: Path
    out: Path
    calls: dict[str, Called]


def ship(arch: Path, place: Path) -> Shipped:
    """Trains the architecture for a few epochs and exports the network in every way."""
    run, out = place / "run", place / "out"
    trained = call("train", *SMALL, "--epochs", "8", arch, "--out", run)
    assert trained.code == 0, trained
    exports = {
        "net.onnx": ("onnx",),
        "int8.onnx": ("onnx", "--int8", "--json"),
        "net.pt2": ("pt2", "--json"),
        "net.safetensors": ("safetensors", "--data", "digits"),
    }
    calls = {name: call("export", run, "--out", out / name, "--to", *rest) for name, rest in exports.items()}
    return Shipped(run, out, calls)


@contextlib.contextmanager
def working_in(folder: Path) -> Generator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def is_refusal(called: Called) -> bool:
    """Exit code 2, one line on stderr, nothing on stdout."""
    lines = called.err.splitlines()
    one_line = len(lines) == 1 and called.err.endswith("\n") and lines[0].startswith("error: ")
    return called.code == 2 and called.out == "" and one_line and "Traceback" not in called.err


def refused(folder: Path, *arguments: str | Path) -> str:
    """Calls it in `folder`, where nothing may change; the line on stderr."""
    files, times = h.contents(folder), h.stamps(folder)
    names = sorted(str(path) for path in folder.rglob("*"))
    with working_in(folder):
        called = call(*arguments)
    assert is_refusal(called), called
    assert (h.contents(folder), h.stamps(folder)) == (files, times)
    assert sorted(str(path) for path in folder.rglob("*")) == names
    return called.err


def write_npz(path: Path, classes: int, seed: int, size: int = 16) -> None:
    """An .npz of random grey images: 40 for training, 12 to test."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{part}_{what}": values
        for part, count in (("train", 40), ("test", 12))
        for what, values in (
            ("images", rng.integers(0, 256, (count, size, size), dtype=np.uint8)),
            ("labels", np.arange(count) % classes),
        )
    }
    np.savez(path, **arrays)


def assert_inherited(trained: Path, folder: Path, arch: str = "arch.json") -> None:
    """At a rate of nearly 0, a training's weights are those of the search's checkpoint, cut to the architecture."""
    record, state = read_arch(folder / arch), load_checkpoint(folder)
    assert state is not None
    supernet = record.supernet(device="cpu")
    supernet.load_state_dict(state["job"]["evaluator"]["supernet"])
    found = dict(fpnas.load(trained).named_parameters())
    for name, value in supernet.extract(record.arch).named_parameters():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6)

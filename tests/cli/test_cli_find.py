"""`fpnas find`: what it prints, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import helpers_run as h
import pytest
from calling import Found, call, document, refused, small_tiny

from fpnas.spaces import SPACES

FIND = ("find", "--data", "digits", "--image-size", "16", "--threads", "1", "--space", "tiny", "--target-flops", "30k")
QUICK = ("--method", "random", "--search-epochs", "1", "--search-batch-size", "256", "--train-epochs", "1")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", small_tiny)


def test_one_command_goes_from_images_to_a_file(tmp_path: Path) -> None:
    out = tmp_path / "job"
    done = call(*FIND, *QUICK, "--out", out)
    assert done.code == 0, done.err
    row = next(line for line in done.out.splitlines() if "network found" in line)
    facts = h.read(out / "network" / "network.onnx.json")
    assert f"{facts['params']:,}" in row
    assert f"{out / 'network' / 'network.onnx'}" in done.out
    assert "report.html" in done.out
    judged = h.read(out / "train" / "evaluation.json")["num_images"]
    assert f"judged on {judged:,} held-out images" in done.out
    told = document(call(*FIND, *QUICK, "--out", out, "--json"), "find")
    assert told["rows"][0]["flops"] == facts["flops"] <= 30e3
    assert told["rows"][0]["bytes"] == (out / "network" / "network.onnx").stat().st_size
    assert call("predict", told["file"], "--help").code == 0


def test_flags_of_the_stages_reach_them(tmp_path: Path) -> None:
    out = tmp_path / "job"
    flags = ("--num-samples", "2", "--lr", "0.05", "--flip", "--train-batch-size", "64", "--seed", "3")
    assert call(*FIND, *QUICK, *flags, "--to", "safetensors", "--out", out).code == 0
    search, training = (h.read(folder / "run.json")["settings"] for folder in (out, out / "train"))
    assert (search["method"], search["epochs"], search["batch_size"], search["seed"]) == ("random", 1, 256, 3)
    assert (training["lr"], training["flip"], training["batch_size"], training["seed"]) == (0.05, True, 64, 3)
    assert h.read(out / "find.json")["rows"][0]["file"].endswith("network.safetensors")
    assert h.read(out / "train" / "run.json")["data"]["data"] == "digits"


@pytest.mark.parametrize("job", ["find", "search", "train"])
def test_stopped_it_says_how_it_goes_on(
    job: str, small: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    words: dict[str, tuple[str | Path, ...]] = {
        "find": (*FIND, *QUICK),
        "search": ("search", *FIND[1:]),
        "train": ("train", small.folder, "--threads", "1"),
    }
    monkeypatch.setattr("fpnas.finder.find" if job == "find" else "fpnas.runner.run", stopped)
    done = call(*words[job], "--out", tmp_path / "job")
    assert (done.code, done.out) == (130, "")
    assert done.err == "stopped; the same command goes on from here\n"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--max-steps", "2"), "No such option"),
        (("--target-params", "100"), "a target of at least"),
        (("--minutes", "3"), "minutes, or lengths of search and training"),
        (("--space", "timy"), "a known space"),
        (("--join-at", "0.3"), "--join-at"),
        (("--to", "tflite"), "a known format"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(flags: tuple[str, ...], says: str, tmp_path: Path) -> None:
    assert says in refused(tmp_path, *FIND, *QUICK, *flags, "--out", tmp_path / "job")

"""`--image-sizes`: the size is found with the network, and what comes after the search takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from calling import call, document, refused, small_tiny

import fpnas
from fpnas.data import load
from fpnas.runner import read_arch
from fpnas.spaces import SPACES

SIZES = ("--data", "digits", "--image-sizes", "20,16,24", "--threads", "1")
LONG = ("--batch-size", "256")
TARGETS = ("--target-flops", "40k", "--target-ram", "6k")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fpnas.evaluators.proxy.STEPS", 4)
    monkeypatch.setitem(SPACES, "tiny", small_tiny)


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_search_a_training_and_a_file_of_the_size_that_was_chosen(tmp_path: Path) -> None:
    run = tmp_path / "run"
    called = call("search", *SIZES, *TARGETS, *LONG, "--epochs", "2", "--out", run)
    assert called.code == 0, called.err
    arch, result = read(run / "arch.json"), read(run / "result.json")
    size = arch["image_size"]
    assert f"input    {size} px, of 16, 20, 24" in called.out
    net, shape = small_tiny(num_classes=10, in_channels=1), (1, size, size)
    assert result["flops"] == fpnas.Flops(net, shape).of(arch["choices"]) <= 40e3
    assert result["ram"] == fpnas.Ram(net, shape).of(arch["choices"]) <= 6 * 1024
    lines = (run / "distribution.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["choices"]["input.size"] == [16, 20, 24]
    assert read(run / "run.json")["settings"]["image_sizes"] == [16, 20, 24]
    assert call("train", run, "--epochs", "1").code == 0
    assert read_arch(run / "train").image_size == size
    assert read(run / "train" / "run.json")["data"]["image_size"] == size
    assert call("evaluate", run).code == 0
    file = tmp_path / "network.onnx"
    assert call("export", run, "--to", "onnx", "--out", file).code == 0
    assert read(tmp_path / "network.onnx.json")["image_size"] == size
    assert call("report", run).code == 0
    assert f"{size} px" in (run / "report.html").read_text()
    again = call("search", *SIZES, *TARGETS, *LONG, "--epochs", "2", "--out", run)
    assert (again.code, read(run / "arch.json")) == (0, arch)
    other = refused(tmp_path, "search", *SIZES[:3], "16,24", *TARGETS, *LONG, "--epochs", "2", "--out", run)
    assert "the settings of the run that the folder holds" in other


def test_find_trains_and_writes_at_the_size_that_was_chosen(tmp_path: Path) -> None:
    out = tmp_path / "job"
    given = ("--search-batch-size", "256", "--search-epochs", "2", "--train-epochs", "1", "--to", "safetensors")
    called = call("find", *SIZES, *TARGETS, *given, "--json", "--out", out)
    assert called.code == 0, called.err
    rows = document(called, "find")["rows"]
    size = read(out / "arch.json")["image_size"]
    assert read(out / "train" / "arch.json")["image_size"] == read(out / "network" / "arch.json")["image_size"] == size
    assert read(out / "train" / "run.json")["settings"]["data_digest"] == load("digits", image_size=size).digest
    assert all(row["flops"] <= 40e3 for row in rows)
    assert call("evaluate", out).code == 0


def test_in_python_too(tmp_path: Path) -> None:
    options: dict[str, Any] = {"target_flops": 40e3, "search_epochs": 1, "search_batch_size": 256}
    options |= {"epochs": 1, "to": "safetensors"}
    images = load("digits", image_size=24)
    found = fpnas.find(images, out=tmp_path, image_sizes=(16, 24), **options)
    assert read_arch(tmp_path / "train").image_size == read_arch(tmp_path).image_size
    assert found.rows[0].flops <= 40e3
    with pytest.raises(fpnas.InputError, match="image_size, or image_sizes with method"):
        fpnas.find("digits", out=tmp_path / "new", image_size=16, image_sizes=(16, 24), **options)
    with pytest.raises(fpnas.InputError, match="images of 32 px, the largest size"):
        fpnas.find(images, out=tmp_path / "new", image_sizes=(16, 32), **options)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--image-sizes", "16"), "two different image sizes or more"),
        (("--image-sizes", "16,big"), "sizes in pixels such as 48,64,96"),
        (("--image-sizes", "16,24", "--image-size", "16"), "--image-size or --image-sizes"),
        (("--image-sizes", "16,24", "--method", "parsec"), "--method fpnas-thompson, for --image-sizes"),
        (("--image-sizes", "4,24"), "an image size of 16 to 128 for the space 'tiny', got 4"),
        (("--image-sizes", "16,24", "--target-flops", "100"), "a target of at least"),
    ],
)
def test_what_does_not_go_together_is_refused(flags: tuple[str, ...], said: str, tmp_path: Path) -> None:
    assert said in refused(tmp_path, "search", "--data", "digits", *flags, "--out", tmp_path / "run")

"""`fpnas --import FILE`: a space of one's own through every command, and nothing of it without."""

from __future__ import annotations

import shutil
from pathlib import Path
from unittest.mock import patch

import helpers_run as h
import pytest
import torch
from calling import Called, assert_inherited, call, document, is_refusal
from PIL import Image

import fpnas
from fpnas.spaces import OWN

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = ("--data", "digits", "--image-size", "8", "--threads", "1")
BRIEF = ("--method", "fpnas-posterior", "--epochs", "1")


def own(name: str, *arguments: str | Path) -> Called:
    """`fpnas --import examples/NAME.py ARGUMENTS`, after which the space is forgotten."""
    with patch.dict(OWN, clear=True):
        return call("--import", EXAMPLES / f"{name}.py", *arguments)


@pytest.fixture(scope="module", params=["resnet", "vit"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A space's name, and the folder of a search with its train/. Not to be written to."""
    name, folder = request.param, tmp_path_factory.mktemp("own") / "run"
    searched = own(name, "search", "--space", name, *SMALL, *BRIEF, "--out", folder)
    assert searched.code == 0, searched.err
    assert f"next: fpnas --import ... train {folder}" in searched.out
    trained = own(name, "train", folder, "--data", "digits", "--epochs", "1", "--threads", "1")
    assert trained.code == 0, trained.err
    return name, folder


@pytest.mark.parametrize("to", ["onnx", "pt2", "safetensors"])
def test_it_leaves_as_any_format_and_predicts(run: tuple[str, Path], to: str, tmp_path: Path) -> None:
    name, folder = run
    file = tmp_path / f"model.{to}"
    done = own(name, "export", folder, "--to", to, "--out", file, "--json")
    assert document(done, "export")["space"] == name
    card = file.with_name(file.name + ".md").read_text()
    assert ("fpnas --import my_space.py predict" in card) == (to == "safetensors")
    assert ("fpnas.spaces.import_file('my_space.py')" in card) == (to == "safetensors")
    if to == "pt2":
        return
    Image.new("L", (8, 8), 99).save(tmp_path / "image.png")
    words = ("predict", file, tmp_path / "image.png", "--json")
    called = call(*words) if to == "onnx" else own(name, *words)
    (got,), (want,) = (document(each, "predict") for each in (called, own(name, "predict", folder, *words[2:])))
    for guess, wanted in zip(got["classes"], want["classes"], strict=True):
        assert guess == {**wanted, "probability": pytest.approx(wanted["probability"], abs=1e-5)}


def test_int8_says_nothing_of_norms(run: tuple[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    name, folder = run
    words = ("export", folder, "--to", "onnx", "--int8", "--data", "digits", "--out", tmp_path / "int8.onnx")
    done = own(name, *words)
    assert done.code == 0, done.err
    assert not [record for record in caplog.records if record.name == "root"]


def test_it_is_evaluated_counted_and_listed(run: tuple[str, Path]) -> None:
    name, folder = run
    found = h.read(folder / "train" / "result.json")
    evaluated = document(own(name, "evaluate", folder, "--data", "digits", "--json"), "evaluate")
    assert evaluated["accuracy"] == found["accuracy"]
    counted = document(own(name, "cost", folder, "--json"), "cost")
    assert counted["flops"] == h.read(folder / "arch.json")["flops"]
    last = document(own(name, "spaces", "--json"), "spaces")[-1]
    assert (last["name"], last["image_size"], last["published"]) == (name, None, None)


def test_python_loads_it_after_an_import(run: tuple[str, Path]) -> None:
    name, folder = run
    with patch.dict(OWN, clear=True):
        fpnas.spaces.import_file(EXAMPLES / f"{name}.py")
        network = fpnas.load(folder)
    data = fpnas.data.load("digits", image_size=8)
    with torch.no_grad():
        right = network(data.normalize(data.heldout.inputs)).argmax(dim=1) == data.heldout.labels
    found = h.read(folder / "train" / "result.json")
    assert 100 * float(right.double().mean()) == pytest.approx(found["accuracy"], abs=1e-6)


def test_inherited_weights_are_those_of_the_search(run: tuple[str, Path], tmp_path: Path) -> None:
    name, folder = run
    words = ("train", folder, "--data", "digits", "--inherit", "--lr", "1e-12", "--max-steps", "1", "--threads", "1")
    done = own(name, *words, "--out", tmp_path / "train")
    assert done.code == 0, done.err
    with patch.dict(OWN, clear=True):
        fpnas.spaces.import_file(EXAMPLES / f"{name}.py")
        assert_inherited(tmp_path / "train", folder)


def test_a_folder_can_not_choose_code(run: tuple[str, Path], tmp_path: Path) -> None:
    name, folder = run
    shutil.copytree(folder, tmp_path / "run")
    shutil.copy(EXAMPLES / f"{name}.py", tmp_path / "run" / f"{name}.py")
    with patch.dict(OWN, clear=True):
        for words in (("evaluate", "--data", "digits"), ("export", "--to", "pt2", "--out", tmp_path / "x.pt2")):
            refused = call(words[0], tmp_path / "run", *words[1:])
            assert is_refusal(refused)
            assert "your own: fpnas --import FILE" in refused.err
        assert not OWN


CODE = """
import fpnas
from torch import nn

@fpnas.spaces.register("mine")
def mine(num_classes):
    width = fpnas.Choice("body.width", WIDTHS)
    body = [fpnas.elastic.Conv2d(1, width, kernel_size=3, stride=STRIDE, bias=False), nn.ACT(), nn.AdaptiveAvgPool2d(1)]
    return fpnas.Supernet(nn.Sequential(*body, nn.Flatten(), fpnas.elastic.Linear(width, num_classes)), name="mine")
"""


def test_code_that_has_changed_since_is_refused(tmp_path: Path) -> None:
    def imported(widths: str = "(4, 8)", stride: str = "1", act: str = "ReLU") -> tuple[str, Path]:
        file = tmp_path / "mine.py"
        file.write_text(CODE.replace("WIDTHS", widths).replace("STRIDE", stride).replace("ACT", act))
        return "--import", file

    search = ("search", "--space", "mine", *SMALL, *BRIEF, "--out", tmp_path / "run")
    train = ("train", tmp_path / "run", "--data", "digits", "--epochs", "1", "--threads", "1")
    with patch.dict(OWN, clear=True):
        for words in ((*search, "--max-steps", "3"), search, train):
            assert call(*imported(), *words).code == 0
        before = h.contents(tmp_path / "run")
        for change in ({"widths": "(4, 9)"}, {"stride": "2"}, {"act": "SiLU"}):
            refused = call(*imported(**change), *search)
            assert is_refusal(refused)
            assert "space_digest" in refused.err
        for change in ({"widths": "(2, 3)"}, {"stride": "2"}, {"widths": "(4, 8, 12)", "stride": "2"}):
            for words in (train, ("evaluate", tmp_path / "run", "--data", "digits"), ("cost", tmp_path / "run")):
                refused = call(*imported(**change), *words)
                assert is_refusal(refused), refused
                assert "as it was in this run" in refused.err
        refused = call(*imported("(4, 8, 12)"), *train, "--inherit", "--out", tmp_path / "other")
        assert is_refusal(refused)
        assert "weights of the space 'mine' as it is" in refused.err
        assert h.contents(tmp_path / "run") == before
        assert not (tmp_path / "other").exists()


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused = call("--import", tmp_path / "none.py", "spaces")
    assert is_refusal(refused)
    assert refused.code == 2

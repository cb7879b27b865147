"""What search and train choose by the data: augmentation and length; what is given stays, all is recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from calling import Found, call, document, refused

import fpnas

sys.path.append(str(Path(__file__).parents[1] / "data"))
from pictures import encoded, picture

SIZE = ("--image-size", "32", "--threads", "1", "--log", "none")
SEARCH = ("search", *SIZE, "--data", "pets", "--max-steps", "1")
TRAIN = ("train", "run", *SIZE, "--max-steps", "1")


@pytest.fixture
def pets(small: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with 10 pictures in colour of each of two classes in `pets`."""
    monkeypatch.chdir(tmp_path)
    for number in range(20):
        path = tmp_path / "pets" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(number, 32, 32)))
    return tmp_path


def run_of(folder: str) -> dict[str, Any]:
    return json.loads(Path(folder, "run.json").read_text())


def test_photographs_are_augmented_and_trained_for_long(pets: Path) -> None:
    searched = call(*SEARCH, "--out", "run")
    assert searched.code == 0, searched
    line = "photographs in colour at 32 px: crop pad, flip; 4 looks, which make 2,400 steps"
    assert line in searched.err.splitlines()
    assert run_of("run")["chosen"] == line
    assert (run_of("run")["settings"]["crop"], run_of("run")["settings"]["flip"]) == ("pad", True)
    trained = call(*TRAIN)
    assert trained.code == 0, trained
    told = run_of("run/train")
    assert told["chosen"] in trained.err.splitlines()
    assert told["chosen"].startswith("photographs in colour at 32 px: crop pad, flip, learning rate 0.8; ")
    assert [told["settings"][name] for name in ("crop", "flip", "lr", "epochs")] == ["pad", True, 0.8, 300]
    job = fpnas.training_of("run")
    assert job.recipe.settings().items() <= told["settings"].items(), "from Python it is the same"
    assert fpnas.training_of("run", recipe=fpnas.Recipe()).recipe == fpnas.Recipe()


def test_find_trains_photographs_at_the_same_rate(pets: Path) -> None:
    flags = (
        "--data",
        "pets",
        "--method",
        "random",
        "--search-epochs",
        "1",
        "--train-epochs",
        "30",
        "--to",
        "safetensors",
    )
    done = call("find", *SIZE, *flags, "--space", "tiny", "--out", "run")
    assert done.code == 0, done
    assert "training: photographs in colour at 32 px: crop pad, flip, learning rate 0.8; " in done.err
    assert run_of("run/train")["settings"]["lr"] == 0.8


def test_what_is_given_stays(pets: Path) -> None:
    assert call(*SEARCH, "--crop", "none", "--no-flip", "--epochs", "2", "--out", "run").code == 0
    settings = run_of("run")["settings"]
    assert "crop" not in settings
    assert settings["epochs"] == 2
    flags = ("--crop", "none", "--no-flip", "--randaugment", "0", "--epochs", "30", "--lr", "0.1")
    assert call(*TRAIN, *flags).code == 0
    assert fpnas.Recipe(lr=0.1).settings().items() <= run_of("run/train")["settings"].items()
    assert call(*SEARCH, "--metric", "balanced_accuracy", "--out", "balanced").code == 0
    assert run_of("balanced")["settings"]["metric"] == "balanced_accuracy"
    assert run_of("balanced")["settings"]["crop"] == "pad", "what isn't given is still chosen"
    assert "a known metric" in refused(pets, *SEARCH, "--metric", "f1", "--out", "other")
    assert "a known crop" in refused(pets, *SEARCH, "--crop", "resized", "--out", "other")
    for method in ("fpnas-posterior", "darts"):
        line = refused(pets, *SEARCH, "--method", method, "--no-flip", "--out", "other")
        assert "expected --method fpnas-thompson, for --flip, got " in line
    assert "lr above 0" in refused(pets, *TRAIN, "--lr", "0")


def test_short_trainings_that_see_each_image_once_do_not_augment(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fpnas.evaluators.proxy.STEPS", 0)
    chosen = document(call(*SEARCH, "--dry-run", "--json", "--out", "run"), "search")["chosen"]
    assert "no augmentation, as short trainings see each less than 4 times; " in chosen
    assert (
        "32 px: flip; " in document(call(*SEARCH, "--flip", "--dry-run", "--json", "--out", "run"), "search")["chosen"]
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "grey images: no augmentation; 4 looks, which make 2,400 steps"),
        (("--method", "fpnas"), "100 epochs, which make 1,200 steps"),
        (("--method", "random", "--batch-size", "8"), "14 epochs, which make 1,260 steps"),
        (("--method", "random", "--batch-size", "8", "--epochs", "3"), "3 epochs, which make 270 steps"),
    ],
)
def test_the_forecast_says_it(more: tuple[str, ...], said: str, small: Found, tmp_path: Path) -> None:
    words = ("search", "--data", "digits", "--image-size", "16", *more, "--max-steps", "1", "--dry-run")
    called = call(*words, "--out", tmp_path / "run")
    assert called.out.splitlines()[0] == said
    assert document(call(*words, "--json", "--out", tmp_path / "run"), "search")["chosen"] == said

"""Flags of the data: they reach every command that loads some, runs record them, and other data are another run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from calling import SEARCH, TRAIN, Found, call, is_refusal, refused

sys.path.append(str(Path(__file__).parents[1] / "data"))
from pictures import encoded, picture

NAMES = ("ant", "bee", "cat", "dog")
SUBSET = ("--data", "pets", "--classes", "3", "--classes-seed", "1")


@pytest.fixture
def pets(small: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with 20 pictures, 18 x 24 pixels, of each of four classes in `pets`."""
    monkeypatch.chdir(tmp_path)
    for number in range(80):
        path = tmp_path / "pets" / NAMES[number % 4] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(number, 18, 24)))
    return tmp_path


def settings(folder: str) -> dict[str, object]:
    return json.loads(Path(folder, "run.json").read_text())["settings"]


@pytest.mark.filterwarnings("default")
def test_the_flags_reach_search_train_and_evaluate(pets: Path) -> None:
    flags = (*SUBSET, "--fit", "stretch", "--workers", "2", "--skip-corrupt")
    Path("pets", "ant", "broken.jpg").write_bytes(b"")
    searched = call(*SEARCH, *flags, "--out", "run")
    trained = call(*TRAIN, "run", *flags)
    evaluated = call("evaluate", "run", *flags, "--json")
    for called in (searched, trained, evaluated):
        assert called.code == 0, called
        assert "no effect" not in called.err
    assert json.loads(evaluated.out)["num_images"] == 12
    for folder in ("run", "run/train"):
        found = settings(folder)
        assert found["class_subset"] == "3 classes by seed 1"
        assert len(found["data_classes"]) == len(found["data_mean"]) == len(found["data_std"]) == 3
        assert found["fit"] == "stretch"
    # The broken image is left out, and said so, where its class has been chosen.
    chosen = "ant" in settings("run")["data_classes"]
    assert settings("run")["data_skipped"] == int(chosen)
    assert ("left out 1 images that can't be read: pets/ant/broken.jpg" in searched.err) == chosen


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (("--classes", "2"), "class_subset '2 classes by seed 1'"),
        (("--classes-seed", "2"), "class_subset '3 classes by seed 2'"),
        (("--fit", "stretch"), "fit 'stretch'"),
    ],
)
def test_flags_that_alter_the_data_make_another_run(pets: Path, other: tuple[str, ...], words: str) -> None:
    assert call(*SEARCH, *SUBSET, "--out", "run").code == 0
    assert words in refused(pets, *SEARCH, *SUBSET, *other, "--out", "run", "--max-steps", "9")
    assert call(*SEARCH, *SUBSET, "--workers", "1", "--skip-corrupt", "--out", "run", "--max-steps", "3").code == 0


def test_other_classes_of_the_same_number_are_not_evaluated(pets: Path) -> None:
    assert call(*SEARCH, *SUBSET, "--out", "run").code == 0
    assert call(*TRAIN, "run", *SUBSET).code == 0
    seeds = iter(range(2, 99))
    known = settings("run")["data_classes"]
    while call(*SEARCH, *SUBSET, "--classes-seed", seed := str(next(seeds)), "--out", f"run{seed}").code == 0:
        if settings(f"run{seed}")["data_classes"] != known:
            break
    for command in (("evaluate", "run"), (*TRAIN, "run", "--inherit", "--out", "new")):
        line = refused(pets, *command, *SUBSET, "--classes-seed", seed)
        assert "the classes that the weights know" in line


def test_a_corrupt_image_ends_every_command_with_its_name(pets: Path) -> None:
    assert call(*SEARCH, "--data", "pets", "--out", "run").code == 0
    assert call(*TRAIN, "run", "--data", "pets").code == 0
    Path("pets", "bee", "half.png").write_bytes(encoded(picture(0, 18, 24))[:90])
    for command in ((*SEARCH, "--out", "new"), (*TRAIN, "run", "--out", "new"), ("evaluate", "run")):
        line = refused(pets, *command, "--data", "pets")
        assert "pets/bee/half.png" in line
        assert "--skip-corrupt" in line


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--classes", "1"), "--classes"),
        (("--classes", "5"), "2 to 4 classes"),
        (("--fit", "squeeze"), "a known fit"),
        (("--workers", "300"), "--workers"),
        (("--image-size", "0"), "an image size of 1 to 1024"),
        (("--data", "pets/ant"), "a folder for each class"),
        (("--data", "hf:no/such"), "datasets"),
    ],
)
def test_flags_out_of_range(pets: Path, flags: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    called = call(*SEARCH, "--data", "pets", *flags, "--out", "run")
    assert is_refusal(called), called
    assert words in called.err


def test_groups_are_recorded_and_another_file_is_another_run(pets: Path) -> None:
    files = sorted(Path("pets").glob("*/*.png"))
    for name, size in (("objects", 4), ("others", 5)):
        rows = [f"{file.relative_to('pets')},{at // size}" for at, file in enumerate(files)]
        Path(f"{name}.csv").write_text("\n".join(rows))
    searched = call(*SEARCH, "--data", "pets", "--split-by", "objects.csv", "--out", "run")
    assert searched.code == 0, searched
    record = json.loads(Path("run", "run.json").read_text())
    assert record["data"]["split_by"] == str(Path("objects.csv").resolve())
    assert record["settings"]["split_by"].startswith("20 groups, ")
    for flags in (("--split-by", "others.csv"), ()):
        again = call(*SEARCH, "--data", "pets", *flags, "--out", "run")
        assert is_refusal(again)
        assert "got split_by " in again.err
        assert "where the run in run has '20 groups, " in again.err
    # What comes later splits as the run did, without the flag.
    trained = call("train", "run", "--threads", "1", "--max-steps", "1", "--log", "none")
    assert trained.code == 0, trained
    assert settings("run/train")["data_digest"] == settings("run")["data_digest"]
    assert settings("run/train")["split_by"] == settings("run")["split_by"]
    assert call("evaluate", "run").code == 0
    Path("objects.csv").unlink()
    assert "expected a CSV file of image, group, in UTF-8, got" in call("evaluate", "run").err

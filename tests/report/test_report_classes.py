"""The page class by class: what it says of evaluation.json, of several runs, of many classes, and of hostile files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from run_folders import FOUND, put, write_run
from test_report_page import EVIL, outline, places, with_evil

from fpnas.report import write_report

PICTURE = "data:image/png;base64,iVBORw0KGgo="


def evaluation(images: list[int], right: list[int], names: list[str] | None = None) -> dict[str, Any]:
    """An evaluation.json in which all that isn't recognised is taken for the class after it."""
    count = len(images)
    named = names or [f"class {number}" for number in range(count)]
    matrix = [[0] * count for _ in range(count)]
    for number, (of_it, hits) in enumerate(zip(images, right, strict=True)):
        matrix[number][number] = hits
        matrix[number][(number + 1) % count] += of_it - hits
    recalls = [100 * hits / of_it if of_it else None for hits, of_it in zip(right, images, strict=True)]
    known = [recall for recall in recalls if recall is not None]
    return {
        "accuracy": 100 * sum(right) / sum(images),
        "accuracy_interval": [61.5, 72.25],
        "balanced_accuracy": sum(known) / len(known),
        "balanced_accuracy_interval": [50.5, 66.5],
        "loss": 0.5,
        "num_images": sum(images),
        "per_class": [
            {
                "name": name,
                "num_images": of_it,
                "num_predicted": 1,
                "recall": recall,
                "recall_interval": None if recall is None else [recall / 2, recall],
                "precision": None,
                "precision_interval": None,
                "f1": 12.5,
            }
            for name, of_it, recall in zip(named, images, recalls, strict=True)
        ],
        "confusion": matrix,
        "mistakes": [
            {"index": 3, "label": named[0], "predicted": named[1], "probability": 0.987, "image": PICTURE},
            {"index": 4, "label": named[1], "predicted": named[0], "probability": 0.9, "image": None},
        ],
    }


def run_with(folder: Path, document: Any) -> Path:
    """A search and the training of what it found, with this evaluation.json."""
    run = write_run(folder)
    train = run / "train"
    train.mkdir()
    put(train / "run.json", {"format": 1, "kind": "train", "settings": {}})
    (train / "metrics.jsonl").write_text('{"step": 0, "train_loss": 1.0}\n')
    put(train / "arch.json", {"choices": FOUND})
    put(train / "result.json", {"accuracy": 70.0, "num_images": 100, "seconds": 3.0})
    put(train / "evaluation.json", document)
    return run


def words(path: Path) -> str:
    return " ".join(outline(path).text.split())


def matrices(path: Path) -> list[Any]:
    return [plot for plot in json.loads(outline(path).json).values() if plot["kind"] == "matrix"]


def test_it_says_what_the_evaluation_says(tmp_path: Path) -> None:
    document = evaluation([80, 15, 5, 0], [64, 6, 0, 0], ["paper", "glass", "trash", "none"])
    page = write_report([run_with(tmp_path / "run", document)])
    told = words(page)
    for phrase in (
        "Accuracy 70.0 % (95 % interval 61.5 to 72.2 %)", "40.0 % (50.5 to 66.5 %)", "balanced accuracy 40.00 %",
        "trash 5 0.0 % 0.0 to 0.0 % – – 12.5 % none (5)", "glass 15 40.0 % 20.0 to 40.0 % – – 12.5 % trash (9)",
        "none 0 – – – – 12.5 % –", "paper glass, 99 %",
    ):  # fmt: skip
        assert phrase in told, phrase
    assert [told.index(f"{name} {n} ") for name, n in (("trash", 5), ("glass", 15), ("paper", 80), ("none", 0))] == (
        sorted(told.index(f"{name} {n} ") for name, n in (("trash", 5), ("glass", 15), ("paper", 80), ("none", 0)))
    )
    (matrix,) = matrices(page)
    assert matrix["classes"] == ["paper", "glass", "trash", "none"]
    assert (matrix["counts"], matrix["images"]) == (document["confusion"], [80, 15, 5, 0])
    assert "16 of paper taken for glass; 9 of glass taken for trash" in matrix["alt"]
    pictures = [value for name, value in outline(page).attributes if name == "src"]
    assert pictures == [PICTURE]


def test_of_many_classes_it_shows_the_worst_and_those_mixed_up_most(tmp_path: Path) -> None:
    images = [50] * 1000
    right = [50 - number % 7 for number in range(1000)]
    right[500] = 3
    page = write_report([run_with(tmp_path / "run", evaluation(images, right))])
    assert "Below are the 12 classes of 1000 with the lowest recall." in words(page)
    assert "class 500 50 6.0 %" in words(page)
    assert words(page).count("class 500 ") >= 2
    (matrix,) = matrices(page)
    assert len(matrix["classes"]) == len(matrix["counts"]) == len(matrix["counts"][0]) == 20
    assert {"class 500", "class 501"} <= set(matrix["classes"])
    assert "The 20 classes that are mixed up most, of 1000" in words(page)
    assert page.stat().st_size < 1_500_000


def test_without_a_matrix_or_images_the_rest_is_shown(tmp_path: Path) -> None:
    document = {**evaluation([10, 20], [5, 15]), "confusion": None, "mistakes": []}
    page = write_report([run_with(tmp_path / "run", document)])
    assert "class 0 10 50.0 %" in words(page)
    assert "mostly taken for" not in words(page)
    assert "most confident mistakes" not in words(page)
    assert matrices(page) == []


def test_balanced_accuracy_is_a_key_figure_where_it_differs(tmp_path: Path) -> None:
    assert "balanced accuracy 62.50 %" in words(write_report([run_with(tmp_path / "a", evaluation([10, 20], [5, 15]))]))
    equal = write_report([run_with(tmp_path / "b", evaluation([10, 10], [5, 8]))])
    assert "each class counts the same" not in words(equal)


def test_several_runs_are_compared_by_recall(tmp_path: Path) -> None:
    runs = [
        run_with(tmp_path / "a", evaluation([10, 20], [9, 10])),
        run_with(tmp_path / "b", evaluation([10, 20], [8, 4])),
    ]
    runs.append(write_run(tmp_path / "c"))
    told = words(write_report(runs, tmp_path / "all.html"))
    assert "class 1 50.0 % 20.0 % – class 0 90.0 % 80.0 % –" in told
    assert "Class by class" not in words(write_report(runs[1:], tmp_path / "two.html"))


def test_a_run_that_goes_on_shows_no_evaluation_of_an_earlier_end(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", evaluation([10, 20], [5, 15]))
    (run / "train" / "result.json").unlink()
    assert "Class by class" not in words(write_report([run]))


def test_a_training_alone_has_it_too(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", evaluation([10, 20], [5, 15]))
    assert "class 0 10 50.0 %" in words(write_report([run / "train"]))


ODD: list[Any] = [
    None,
    3,
    "x",
    [],
    {},
    [None],
    [[1]],
    {"a": 1},
    1e400,
    -5,
    10**30,
    [[10**30, 0], [0, 0]],
    [[-1, 0], [0, 0]],
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_a_page_whatever_the_evaluation_holds(odd: Any, tmp_path: Path) -> None:
    sound = evaluation([10, 20], [5, 15])
    run = run_with(tmp_path / "run", sound)
    file = run / "train" / "evaluation.json"
    documents = [{**sound, name: odd} for name in sound]
    for part in ("per_class", "mistakes"):
        documents += [{**sound, part: [{**sound[part][0], name: odd}, sound[part][1]]} for name in sound[part][0]]
    for document in [odd, *documents]:
        put(file, document)
        assert outline(write_report([run])).tags.count("script") == 4


def test_no_text_of_an_evaluation_can_act(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", evaluation([10, 20], [5, 15]))
    file = run / "train" / "evaluation.json"
    sound = json.loads(file.read_text())
    evils = [EVIL, "javascript:hacked()", "https://example.com/x.png", f"{PICTURE}' onerror='hacked()"]
    tried = 0
    for at, is_name in places(sound):
        for evil in evils if at[-1] == "image" and not is_name else evils[:1]:
            changed = with_evil(sound, at, is_name)
            put(
                file,
                changed
                if evil == EVIL
                else json.loads(json.dumps(changed).replace(json.dumps(EVIL), json.dumps(evil))),
            )
            told = outline(write_report([run]))
            assert told.tags.count("script") == 4, at
            assert not [name for name, _ in told.attributes if name.startswith("on")], at
            sources = [value for name, value in told.attributes if name == "src"]
            assert all(re.fullmatch(r"data:image/png;base64,[A-Za-z0-9+/=]+", source) for source in sources), at
            tried += 1
    assert tried > 20

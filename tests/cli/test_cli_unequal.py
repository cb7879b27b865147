"""A folder of unequal classes through train, evaluate, export and report: class weights, and every class's figures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from calling import SEARCH, TRAIN, Found, call, document, refused

import fpnas
from fpnas.report import write_report

sys.path.append(str(Path(__file__).parents[1] / "data"))
from pictures import encoded, picture

COUNTS = {"ant [red]": 40, "bee": 20, "cat": 6, "dog": 1}


@pytest.fixture
def unequal(small: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: `pets`, of unequal classes, and `run`, a search on them."""
    monkeypatch.chdir(tmp_path)
    for name, count in COUNTS.items():
        for number in range(count):
            path = tmp_path / "pets" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(picture(number, 18, 18)))
    assert call(*SEARCH, "--data", "pets", "--out", "run").code == 0
    return tmp_path


def test_from_weights_to_the_report_and_the_card(unequal: Path) -> None:
    trained = call(*TRAIN, "run", "--data", "pets", "--class-weights", "balanced", "--max-steps", "60")
    assert trained.code == 0, trained
    assert ", balanced " in trained.out
    assert json.loads(Path("run/train/run.json").read_text())["settings"]["class_weights"] == "balanced"
    kept = json.loads(Path("run/train/evaluation.json").read_text())
    Path("run/train/evaluation.json").unlink()
    told = document(call("evaluate", "run", "--json"), "evaluate")
    assert json.loads(Path("run/train/evaluation.json").read_text()) == kept, "evaluate writes what the training wrote"
    assert {**kept, "mistakes": [{k: v for k, v in m.items() if k != "image"} for m in kept["mistakes"]]} == told
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn")
    matrix = np.array(told["confusion"])
    true, taken = (np.repeat(index.ravel(), matrix.ravel()) for index in np.indices(matrix.shape))
    assert told["accuracy"] == pytest.approx(100 * metrics.accuracy_score(true, taken))
    recalls = metrics.recall_score(true, taken, average=None, labels=np.unique(true), zero_division=0)
    assert told["balanced_accuracy"] == pytest.approx(100 * recalls.mean())
    assert told["per_class"][3]["recall"] is None, "the one image of its class is learnt from"
    found = fpnas.evaluate("run")
    assert json.loads(json.dumps(found.to_json())) == {
        k: v for k, v in told.items() if k not in ("data", "heldout_from")
    }
    text = call("evaluate", "run").out
    assert all(name in text for name in COUNTS)
    assert f"{found.balanced_accuracy:.2f} %" in text
    assert "all of them" not in text
    page = write_report([unequal / "run"]).read_text()
    assert "Class by class" in page
    assert page.count('src="data:image/png;base64,') == len(told["mistakes"]) > 0
    assert call("export", "run", "--to", "safetensors", "--out", "out/net.safetensors").code == 0
    card = Path("out/net.safetensors.md").read_text()
    assert f"| {found.balanced_accuracy:.2f} % |" in card
    assert f"bee {found.per_class[1].recall:.1f} % of 4" in card


def test_a_file_of_weights_and_what_is_wrong_with_one(unequal: Path) -> None:
    weights = {"ant [red]": 1, "bee": 2, "cat": 6.5, "dog": 40}
    Path("weights.json").write_text(json.dumps(weights))
    line = (*TRAIN, "run", "--data", "pets", "--out", "new")
    assert call(*line, "--class-weights", "weights.json").code == 0
    assert json.loads(Path("new/run.json").read_text())["settings"]["class_weights"] == weights
    assert "class_weights 'balanced' where" in refused(unequal, *line, "--class-weights", "balanced")
    assert "class_weights None where" in refused(unequal, *line)
    assert "'nothing.json', which doesn't exist" in refused(unequal, *line, "--class-weights", "nothing.json")
    Path("weights.json").write_text(json.dumps({**weights, "bee": 0}))
    assert "0 for 'bee'" in refused(unequal, *line, "--class-weights", "weights.json")
    Path("weights.json").write_text(json.dumps({"ant [red]": 1}))
    assert "none for 'bee', 'cat', 'dog'" in refused(unequal, *line, "--class-weights", "weights.json")
    Path("weights.json").write_text("[1, 2]")
    assert "a JSON object" in refused(unequal, *line, "--class-weights", "weights.json")


def test_other_data_leave_the_trainings_evaluation_alone(unequal: Path) -> None:
    assert call(*TRAIN, "run", "--data", "pets").code == 0
    before = Path("run/train/evaluation.json").read_bytes()
    (unequal / "pets" / "bee" / "more.png").write_bytes(encoded(picture(99, 18, 18)))
    assert call("evaluate", "run", "--json").code == 0
    assert Path("run/train/evaluation.json").read_bytes() == before


def test_of_many_classes_the_terminal_shows_the_worst(
    small: Found, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (75, 16, 16), dtype=np.uint8), np.arange(75) % 25
    np.savez("many.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    assert call(*SEARCH, "--data", "many.npz", "--out", "run").code == 0
    assert call(*TRAIN, "run", "--data", "many.npz").code == 0
    text = call("evaluate", "run").out
    assert text.count(" 3 │") == 10
    assert "the 10 of 25 classes with the lowest recall; all of them: fpnas evaluate run --json" in text

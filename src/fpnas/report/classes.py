"""evaluation.json: what the network does with each class, which it takes for another, and its most confident mistakes.

The file is what `fpnas evaluate --json` prints, with a small picture of each mistake. Like the rest it isn't trusted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fpnas.report.plots import Plot, Table
from fpnas.report.reading import Json, mapping, number, sequence
from fpnas.text import NONE, percent

MAX_CLASSES = 10_000
MAX_IMAGES = 2**40
ALL = 20
"""Up to so many classes are all shown; of more, the `WORST` in the table and the `ALL` mixed up most in the matrix."""
WORST = 12
FOLDED = 200
"""Rows of the table of all classes at most."""
MISTAKES = 12

_PICTURE = re.compile(r"data:image/(?:png|jpeg);base64,[A-Za-z0-9+/]{1,60000}={0,2}")


@dataclass(frozen=True)
class ClassRow:
    """A class: figures in percent, NaN where there are none; limits of the 95 % intervals."""

    name: str
    images: float
    recall: float
    recall_span: tuple[float, float]
    precision: float
    precision_span: tuple[float, float]
    f1: float


@dataclass(frozen=True)
class MistakePicture:
    """An image that is taken for another class, as a data URL."""

    image: str
    label: str
    predicted: str
    probability: float

    @property
    def exact(self) -> bool:
        """Whether it is small, and each pixel shall be seen."""
        return self.image.startswith("data:image/png")


@dataclass(frozen=True)
class Evaluation:
    """evaluation.json, as far as it makes sense; figures in percent. `confusion` is empty where it isn't known."""

    accuracy: float
    accuracy_span: tuple[float, float]
    balanced: float
    balanced_span: tuple[float, float]
    rows: tuple[ClassRow, ...]
    confusion: NDArray[np.int64]
    mistakes: tuple[MistakePicture, ...]

    @property
    def differs_when_balanced(self) -> bool:
        """Whether accuracy and balanced accuracy differ in a tenth of a percent."""
        return math.isfinite(self.balanced) and percent(self.balanced, 1) != percent(self.accuracy, 1)

    @property
    def worst_first(self) -> list[int]:
        """The classes by rising recall, those without images last."""
        return sorted(range(len(self.rows)), key=lambda index: (math.isnan(self.rows[index].recall), self._key(index)))

    def _key(self, index: int) -> float:
        recall = self.rows[index].recall
        return 0.0 if math.isnan(recall) else recall


def read_evaluation(document: Json) -> Evaluation | None:
    """None where it says nothing of classes."""
    rows = tuple(
        ClassRow(
            str(line.get("name")),
            number(line.get("num_images")),
            number(line.get("recall")),
            read_span(line.get("recall_interval")),
            number(line.get("precision")),
            read_span(line.get("precision_interval")),
            number(line.get("f1")),
        )
        for line in map(mapping, sequence(document.get("per_class"))[:MAX_CLASSES])
    )
    if not rows:
        return None
    return Evaluation(
        number(document.get("accuracy")),
        read_span(document.get("accuracy_interval")),
        number(document.get("balanced_accuracy")),
        read_span(document.get("balanced_accuracy_interval")),
        rows,
        _matrix(document.get("confusion"), len(rows)),
        tuple(_pictures(document.get("mistakes"))),
    )


@dataclass(frozen=True)
class ClassesView:
    """What the page says of a trained network class by class; `folded` has more classes than `table`, or is None."""

    found: Evaluation
    lead: str
    table: Table
    folded: Table | None
    matrix: Plot | None


def classes_view(found: Evaluation) -> ClassesView:
    """Tables, matrix and the words before them."""
    order = found.worst_first
    many = len(order) > ALL
    lead = (
        f"Accuracy {percent(found.accuracy, 1)} (95 % interval {span_words(found.accuracy_span)}); "
        f"balanced accuracy, the mean of the classes' recalls, {percent(found.balanced, 1)} "
        f"({span_words(found.balanced_span)}). Recall: how many of a class's images are recognised. "
        "Precision: how many of the images taken for a class are of it. "
    )
    lead += f"Below are the {WORST} classes of {len(order)} with the lowest recall." if many else "Lowest recall first."
    table = class_table(found, order[:WORST] if many else order)
    folded = class_table(found, order[:FOLDED]) if many else None
    return ClassesView(found, lead, table, folded, confusion_plot(found))


def span_words(span: tuple[float, float]) -> str:
    """72.0 to 81.1 %."""
    return f"{span[0]:.1f} to {percent(span[1], 1)}" if all(map(math.isfinite, span)) else NONE


def class_table(found: Evaluation, classes: Sequence[int]) -> Table:
    """A row for each of these classes."""
    known = found.confusion.size > 0
    rows: list[list[str]] = []
    for index in classes:
        each = found.rows[index]
        cells = [each.name, f"{each.images:,.0f}" if math.isfinite(each.images) else NONE]
        cells += [percent(each.recall, 1), span_words(each.recall_span)]
        cells += [percent(each.precision, 1), span_words(each.precision_span), percent(each.f1, 1)]
        rows.append([*cells, _taken_for(found, index)] if known else cells)
    head = ["class", "images", "recall", "95 % interval", "precision", "95 % interval", "F1"]
    return Table([*head, "mostly taken for"] if known else head, rows)


def recall_table(names: Sequence[str], found: Sequence[Evaluation | None]) -> Table | None:
    """The classes' recalls in several runs, a column each; None where fewer than two runs know any."""
    known = [{row.name: row.recall for row in each.rows} if each else {} for each in found]
    if sum(map(bool, known)) < 2:
        return None
    classes = list(dict.fromkeys(name for recalls in known for name in recalls))

    def mean(name: str) -> float:
        values = [recalls[name] for recalls in known if math.isfinite(recalls.get(name, math.nan))]
        return sum(values) / len(values) if values else math.inf

    chosen = sorted(classes, key=mean)[:FOLDED]
    rows = [[name, *(percent(recalls.get(name, math.nan), 1) for recalls in known)] for name in chosen]
    return Table(["class", *names], rows)


def confusion_plot(found: Evaluation) -> Plot | None:
    """The confusion matrix of all classes, or of those that are mixed up most; None where it isn't known."""
    if not found.confusion.size:
        return None
    classes = len(found.rows)
    images = found.confusion.sum(axis=1)
    names = [row.name[:200] for row in found.rows]
    wrong = found.confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[: ALL * ALL]
    pairs = [divmod(int(at), classes) for at in order if wrong.flat[at]]
    shown = sorted(list(dict.fromkeys([*sum(pairs, ()), *found.worst_first]))[:ALL])
    part = found.confusion[np.ix_(shown, shown)]
    spec = {
        "kind": "matrix",
        "classes": [names[index] for index in shown],
        "counts": part.tolist(),
        "images": images[shown].tolist(),
    }
    cells = [[names[i], names[j], str(wrong[i, j]), percent(100 * wrong[i, j] / images[i], 1)] for i, j in pairs[:ALL]]
    said = "; ".join(f"{count} of {name} taken for {other}" for name, other, count, _ in cells[:3])
    most = f"Most often: {said}" if said else "No image is taken for another"
    alt = f"Confusion matrix of {len(shown)} classes. {most}."
    some = f"The {len(shown)} classes that are mixed up most, of {classes}. " if classes > ALL else ""
    note = "Rows are what the images show, columns what the network takes them for. "
    note += "The stronger the colour, the larger the share of a row."
    table = Table(["class", "taken for", "images", "of the class"], cells)
    return Plot("Confusion matrix", alt, spec, note=some + note, table=table if cells else None)


def _taken_for(found: Evaluation, index: int) -> str:
    """The class that most of a class's unrecognised images are taken for, and how many."""
    wrong = found.confusion[index].copy()
    wrong[index] = 0
    other = int(wrong.argmax())
    return f"{found.rows[other].name} ({wrong[other]})" if wrong[other] else NONE


def read_span(value: Any) -> tuple[float, float]:
    """The two ends of an interval; NaN where they aren't known."""
    ends = [number(end) for end in sequence(value)]
    return (ends[0], ends[1]) if len(ends) == 2 else (math.nan, math.nan)


def _matrix(value: Any, classes: int) -> NDArray[np.int64]:
    """Counts, (classes, classes); empty where they aren't that."""
    try:
        matrix: NDArray[Any] = np.array(sequence(value))
    except ValueError:  # rows of different lengths
        return np.zeros((0, 0), dtype=np.int64)
    sound = matrix.shape == (classes, classes) and matrix.dtype == np.int64
    sound = sound and bool(((matrix >= 0) & (matrix < MAX_IMAGES)).all())
    return matrix if sound else np.zeros((0, 0), dtype=np.int64)


def _pictures(value: Any) -> list[MistakePicture]:
    return [
        MistakePicture(
            line["image"], str(line.get("label")), str(line.get("predicted")), number(line.get("probability"))
        )
        for line in map(mapping, sequence(value)[:MISTAKES])
        if isinstance(line.get("image"), str) and _PICTURE.fullmatch(line["image"])
    ]

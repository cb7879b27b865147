"""`fpnas evaluate`: a trained network on held-out images, altogether and class by class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fpnas.cli.options import DataOfRun, Images, Json, Machine, set_up
from fpnas.cli.output import print_json, print_table, printable
from fpnas.text import NONE, held_out, percent

if TYPE_CHECKING:
    from fpnas.train import Accuracy, ClassAccuracy

_ALL = 20
"""Up to so many classes the table has all of them; of more it has the `_WORST`."""
_WORST = 10


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A training's folder, or a search's with train/ in it.")],
    data: DataOfRun = None,
    as_json: Json = False,
    *,
    images: Images,
    machine: Machine,
) -> None:
    """Judge a trained network on the held-out images: accuracy, also balanced and by class."""
    from fpnas.runner import evaluate as evaluate_run
    from fpnas.runner import read_arch, trained_folder

    device, _ = set_up(machine.threads, machine.device)
    folder = trained_folder(run)
    loaded = images.of_run(folder, data, read_arch(folder).image_size).load(images.workers)
    images.warn(loaded)
    found = evaluate_run(run, loaded, device=device)
    if as_json:
        print_json({**found.to_json(), "data": loaded.name, "heldout_from": loaded.heldout_from})
        return
    judged = held_out(found.num_images, loaded.heldout_from)
    print(
        f"{percent(found.accuracy)} of {judged}, 95 % interval {_span(found.accuracy_interval)}, loss {found.loss:.4f}"
    )
    balanced, interval = percent(found.balanced_accuracy), _span(found.balanced_accuracy_interval)
    print(f"balanced accuracy, the mean of the classes' recalls: {balanced}, 95 % interval {interval}")
    print(f"macro F1, the mean of the classes' F1: {percent(found.macro_f1)}")
    print_table("", ["class", "images", "recall", "95 %", "precision", "95 %", "F1", "mostly taken for"], _rows(found))
    if len(found.classes) > _ALL:
        all_of_them = f"fpnas evaluate {run} --json"
        print(f"the {_WORST} of {len(found.classes)} classes with the lowest recall; all of them: {all_of_them}")


def _rows(found: Accuracy) -> list[list[str]]:
    """The classes, the lowest recall first, those without images last; the worst few where there are many."""
    from rich.markup import escape

    order = sorted(range(len(found.classes)), key=lambda number: _worst_first(found.per_class[number]))
    return [
        [
            escape(printable(each.name)),
            str(each.num_images),
            *(_percent(each.recall), _span(each.recall_interval)),
            *(_percent(each.precision), _span(each.precision_interval)),
            _percent(each.f1),
            _taken_for(found, number),
        ]
        for number in (order if len(order) <= _ALL else order[:_WORST])
        for each in [found.per_class[number]]
    ]


def _worst_first(each: ClassAccuracy) -> float:
    return float("inf") if each.recall is None else each.recall


def _taken_for(found: Accuracy, label: int) -> str:
    """The class that most of a class's unrecognised images are taken for, and how many."""
    from rich.markup import escape

    taken = found.predicted[(found.labels == label) & (found.predicted != label)]
    if not len(taken):
        return NONE
    other = int(taken.mode().values)
    return f"{escape(printable(found.classes[other]))} ({int((taken == other).sum())})"


def _percent(value: float | None) -> str:
    return NONE if value is None else percent(value, 1)


def _span(interval: tuple[float, float] | None) -> str:
    """72.0 to 81.1 %."""
    return NONE if interval is None else f"{interval[0]:.1f} to {percent(interval[1], 1)}"

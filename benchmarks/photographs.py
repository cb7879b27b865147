"""What `fpnas find` gives on a folder of photographs, beside random networks of the same cost: five folds.

Each photograph of trashnet (2,527 of waste, six classes) is held out in one fold. In each, `fpnas find` gets so many
minutes; then random networks of the found one's multiply-adds are trained as long, by the same recipe: their
mean is what the found one has to beat. All goes on where it was left, fold by fold, in --out; a line for each
finished network is kept in benchmarks/photographs.jsonl with the digest of the package's code.

    python benchmarks/photographs.py [--minutes 30] [--folds 0 1 2 3 4] [--rivals 3] [--results FILE.md]

Nothing else should run meanwhile: lengths follow from the pace of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import results_file
import torch
from sklearn.model_selection import StratifiedKFold
from verdicts import verdict

import fpnas
from fpnas.data import ImageData, ImageSet
from fpnas.finder.rivals import random_one
from fpnas.runner import read_arch
from fpnas.runner.folder import read_json
from fpnas.runner.of_run import network_of
from fpnas.train import Accuracy

ROOT = Path(__file__).resolve().parents[1]
PHOTOGRAPHS = Path(os.environ.get("FPNAS_SHARED", ROOT.parent / "shared")) / "data" / "trashnet"
KEPT_AT = Path(__file__).with_suffix(".jsonl")
FOLDS, SIZE, TARGET = 5, 64, 8e6
FOUND = "found"
WANTED = 2.0
"""Points of balanced accuracy that the found network is to be ahead by."""


@dataclass(frozen=True)
class Row:
    """A trained network: `name` is "found" or "random N"; accuracies in per cent, of the fold that was held out."""

    code: str
    minutes: float
    fold: int
    name: str
    accuracy: float
    balanced: float
    flops: int
    epochs: int
    seconds: float


def whole(size: int) -> tuple[ImageData, torch.Tensor, torch.Tensor]:
    """The data, all its photographs and their labels."""
    images = fpnas.data.load(PHOTOGRAPHS, size)
    parts = images.train, images.heldout
    return images, torch.cat([part.inputs for part in parts]), torch.cat([part.labels for part in parts])


def fold_of(number: int, size: int = SIZE) -> ImageData:
    """The photographs with one fold held out, class by class."""
    images, inputs, labels = whole(size)
    cut = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    kept, held = (ImageSet(inputs[rows], labels[rows]) for rows in list(cut.split(labels, labels))[number])
    name = f"trashnet, fold {number}"
    return ImageData.of(name, kept, held, classes=images.classes, heldout_from="split", skipped=images.skipped)


def code() -> str:
    """What made a row: the package, and this script's settings."""
    return results_file.source(beside=[f"{SIZE} {TARGET}"])


def kept() -> list[Row]:
    """All rows so far, of any code."""
    return [Row(**json.loads(line)) for line in KEPT_AT.read_text().splitlines()] if KEPT_AT.exists() else []


def keep(row: Row) -> None:
    """Adds a line."""
    with KEPT_AT.open("a") as file:
        file.write(json.dumps(asdict(row)) + "\n")
    said = f"fold {row.fold}, {row.name}: balanced {row.balanced:.2f} %, {row.accuracy:.2f} %"
    print(said, file=sys.stderr, flush=True)


def one_fold(number: int, minutes: float, rivals: int, out: Path) -> None:
    """Trains what is missing of a fold."""
    done = {row.name for row in kept() if (row.code, row.minutes, row.fold) == (code(), minutes, number)}
    wanted = [FOUND, *(f"random {rival}" for rival in range(rivals))]
    if done >= set(wanted):
        return
    images, place = fold_of(number), out / f"fold{number}"
    started = time.perf_counter()
    found = fpnas.find(images, out=place, target_flops=TARGET, minutes=minutes, seed=number)
    seconds = time.perf_counter() - started
    recipe = fpnas.Recipe(**settings_of(place / "train"))

    def row(name: str, got: Accuracy, flops: int, seconds: float) -> Row:
        scores = got.accuracy, got.balanced_accuracy
        return Row(code(), minutes, number, name, *scores, flops, recipe.epochs, seconds)

    if FOUND not in done:
        keep(row(FOUND, found.accuracy, found.rows[0].flops, seconds))
    for rival, name in enumerate(wanted[1:]):
        if name in done:
            continue
        record = random_one(read_arch(place), images, rival)
        network = network_of(record, place, images, inherit=False, seed=number)
        job = fpnas.Training(network, images, recipe=recipe, seed=number)
        accuracy = fpnas.run(job, place / "rivals" / str(rival))
        seconds = read_json(place / "rivals" / str(rival) / "result.json")["seconds"]
        flops = fpnas.Flops(record.as_recorded, images.input_shape).of(record.arch)
        keep(row(name, accuracy, flops, seconds))


def settings_of(training: Path) -> dict[str, Any]:
    """The recipe's fields, as a training's run.json has them."""
    settings = read_json(training / "run.json")["settings"]
    return {field.name: settings[field.name] for field in fields(fpnas.Recipe) if field.name in settings}


def results(minutes: float) -> list[str]:
    """The results file, of the folds whose networks are all there."""
    rows = [row for row in kept() if (row.code, row.minutes) == (code(), minutes)]
    folds = {fold: [row for row in rows if row.fold == fold] for fold in sorted({row.fold for row in rows})}
    cells: list[list[str]] = []
    gains: list[float] = []
    for fold, own in folds.items():
        found, rivals = [row for row in own if row.name == FOUND], [row for row in own if row.name != FOUND]
        if not found or not rivals:
            continue
        mean = statistics.fmean(row.balanced for row in rivals)
        gains.append(found[0].balanced - mean)
        others = ", ".join(f"{row.balanced:.2f}" for row in rivals)
        used = f"{found[0].seconds / 60:.1f}", str(found[0].epochs), f"{found[0].flops / 1e6:.2f}"
        scores = f"{found[0].accuracy:.2f}", f"{found[0].balanced:.2f}", others, f"{gains[-1]:+.2f}"
        cells.append([str(fold), *used, *scores])
    columns = ["fold", "minutes", "epochs", "MFLOPs", "accuracy, %", "balanced, %", "random ones, balanced", "gain"]
    told = [f"* Found less the mean of the random ones: {verdict(gains)}; wanted: {WANTED:g} points."] if gains else []
    return [
        *results_file.head(
            "Photographs of waste: a found network beside random ones of its cost",
            f"trashnet at {SIZE} px under {TARGET / 1e6:g} M multiply-adds; `fpnas find` within {minutes:g} minutes",
            "Random networks: of the found one's multiply-adds, trained as long by the same recipe and seed",
        ),
        *results_file.table(columns, cells),
        "",
        *told,
    ]


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(FOLDS)), choices=range(FOLDS), metavar="N")
    parser.add_argument("--rivals", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "photographs")
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args(given)
    for fold in asked.folds:
        one_fold(fold, asked.minutes, asked.rivals, asked.out)
    results_file.write(asked.results, results(asked.minutes))


if __name__ == "__main__":
    main()

"""Reading run folders for a report: whatever is there, in the order it was written, and a list of what is missing.

Nothing in a folder is trusted and nothing in it is needed: a file may be absent, empty, cut off in the midst of a line
or hold something else. What can be read is kept; the rest is said in `problems`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from fpnas.errors import InputError
from fpnas.files import parsed

MAX_FILE = 64 * 2**20
"""Bytes of the largest JSON file, and of the longest line of a log."""

FIELDS = (
    *("step", "epoch", "entropy", "num_samples", "drawn", "train_loss", "val_loss"),
    *("cost_mean", "lr", "accuracy", "seconds"),
)
FILES = ("run.json", "metrics.jsonl", "distribution.jsonl", "arch.json", "result.json")
MAX_ANSWERS = 24
"""Targets of one search that are shown at most."""
MAX_TRAININGS = 24
"""Trained networks in a search's folder that are read at most."""
MAX_BESIDE = 24
"""Rows of find.json that are read at most."""

Json = dict[str, Any]
Column = NDArray[np.float64]


@dataclass(frozen=True)
class Steps:
    """metrics.jsonl as columns: a number a step, NaN where there is none.

    Args:
        columns: a column for each of `FIELDS`.
        joined_at: the step at which the distribution was joined (theta), or None.
    """

    columns: dict[str, Column]
    joined_at: int | None

    def __len__(self) -> int:
        return len(self.columns["step"])

    def __getitem__(self, name: str) -> Column:
        return self.columns[name]

    def has(self, name: str) -> bool:
        """Whether any step has a number there."""
        return bool(np.isfinite(self.columns[name]).any())


@dataclass(frozen=True)
class TargetResult:
    """A line of pareto.json: what a search for several targets found for one of them; NaN where that isn't known."""

    target: float
    cost: float
    flops: float
    params: float
    file: str
    choices: Json


@dataclass(frozen=True)
class RunRecord:
    """What a run folder holds; what it doesn't is empty, and said in `problems`.

    `evaluation` is a training's evaluation.json, once it has ended. `answers` are those of a search for several
    targets, and empty for one. `trainings` are those in the folder of a search, a sub-folder each: train/ first, the
    others by name. `beside` are the rows of find.json: the network found, then what it was compared with.
    """

    path: Path
    name: str
    run: Json
    arch: Json
    layers: Json
    result: Json
    evaluation: Json
    steps: Steps
    answers: tuple[TargetResult, ...]
    trainings: tuple[RunRecord, ...]
    beside: tuple[Json, ...]
    problems: tuple[str, ...]

    @property
    def settings(self) -> Json:
        """Those of run.json."""
        return mapping(self.run.get("settings"))

    @property
    def is_search(self) -> bool:
        """Whether it is a search; a folder that doesn't say so counts as one."""
        return self.run.get("kind") != "train"

    @property
    def targets(self) -> list[float]:
        """Of the cost; empty where the search had none."""
        asked = [number(value) for value in sequence(self.settings.get("targets"))]
        return [value for value in asked or [number(self.settings.get("target"))] if math.isfinite(value)]

    @property
    def costs_found(self) -> list[float]:
        """Of the found networks, one for each target."""
        found = [answer.cost for answer in self.answers] or [number(self.result.get("cost"))]
        return [cost for cost in found if math.isfinite(cost)]

    @property
    def training(self) -> RunRecord | None:
        """Of the found network: train/, else the first training of the same choices."""
        found = [each for each in self.trainings if each.name == "train" or self.has_found(each)]
        return found[0] if found else None

    def has_found(self, training: RunRecord) -> bool:
        """Whether `training` is of the network that this search found."""
        choices = mapping(self.arch.get("choices"))
        return bool(choices) and mapping(training.arch.get("choices")) == choices


def read_run(folder: Path) -> RunRecord:
    """What `folder` holds, with the trainings in a search's sub-folders.

    Raises:
        InputError: it is no folder, or holds no file of a run.
    """
    if not folder.is_dir():
        got = f"{folder}, which is {'a file' if folder.exists() else 'not there'}"
        raise InputError("the folder of a run", got, "name the --out of a search or a training")
    if not any((folder / name).exists() for name in FILES):
        got = f"{folder}, which holds none of {', '.join(FILES)}"
        raise InputError("the folder of a run", got, "name the --out of a search or a training")
    problems: list[str] = []
    run = _read_object(folder / "run.json", problems, "settings, versions and hardware aren't shown")
    steps = _read_steps(folder / "metrics.jsonl", problems)
    result = _read_object(folder / "result.json", problems, "the run hasn't ended, or was stopped")
    arch = _read_object(folder / "arch.json", problems, "no architecture is shown")
    layers: Json = {}
    if arch:
        fix = "figures by layer aren't shown; fpnas cost RUN --json > RUN/layers.json makes it"
        layers = _read_object(folder / "layers.json", problems, fix)
    evaluation: Json = {}
    if result and (folder / "evaluation.json").exists():  # without a result it may be that of an earlier end
        evaluation = _read_object(folder / "evaluation.json", problems, "the classes aren't shown")
    trainings = () if run.get("kind") == "train" else _read_trainings(folder, problems)
    name = folder.resolve().name
    answers = _read_answers(folder, problems) if "targets" in mapping(run.get("settings")) and result else ()
    beside = _read_beside(folder, problems)
    return RunRecord(
        folder, name, run, arch, layers, result, evaluation, steps, answers, trainings, beside, tuple(problems)
    )


def read_lines(path: Path, problems: list[str]) -> Iterator[Json]:
    """The objects of a log, line by line; what is no object is left out and counted in `problems`."""
    if not path.exists():
        problems.append(f"{path.name} is missing")
        return
    broken, count, cut = 0, 0, False
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_FILE):
                cut = not line.endswith(b"\n")
                value = parsed(line)
                if isinstance(value, dict):
                    count += 1
                    yield cast("Json", value)
                elif line.strip():
                    broken += 1
    except OSError as error:
        problems.append(f"{path.name} can't be read ({error.strerror})")
    if broken and cut:
        problems.append(f"the last line of {path.name} is half-written and was left out")
        broken -= 1
    if broken:
        problems.append(f"{broken} lines of {path.name} aren't JSON objects and were left out")
    if not count:
        problems.append(f"{path.name} is empty" if not broken else f"{path.name} holds no step")


def mapping(value: Any) -> Json:
    """`value` where it is an object, else an empty one."""
    return cast("Json", value) if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """`value` where it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def number(value: Any) -> float:
    """`value` where it is a finite number, else NaN."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value) if math.isfinite(value) else math.nan
        except OverflowError:
            return math.nan
    return math.nan


def _read_object(path: Path, problems: list[str], otherwise: str) -> Json:
    if not path.exists():
        problems.append(f"{path.name} is missing: {otherwise}")
        return {}
    try:
        value = parsed(path.read_bytes()) if path.stat().st_size <= MAX_FILE else None
    except OSError:
        value = None
    if not isinstance(value, dict):
        problems.append(f"{path.name} holds no JSON object: {otherwise}")
    return mapping(value)


def _read_answers(folder: Path, problems: list[str]) -> tuple[TargetResult, ...]:
    document = _read_object(folder / "pareto.json", problems, "the networks of the single targets aren't shown")
    answers: list[TargetResult] = []
    for row in map(mapping, sequence(document.get("front"))[:MAX_ANSWERS]):
        target, cost, flops, params = (number(row.get(name)) for name in ("target", "cost", "flops", "params"))
        file = str(row.get("arch"))
        # A name from a file is followed no further than to its neighbours.
        arch = _read_object(folder / Path(file).name, [], "") if file.startswith("arch-") else {}
        answers.append(TargetResult(target, cost, flops, params, file, mapping(arch.get("choices"))))
    return tuple(answers)


def _read_beside(folder: Path, problems: list[str]) -> tuple[Json, ...]:
    if not (folder / "find.json").exists():
        return ()
    document = _read_object(folder / "find.json", problems, "what the network was compared with isn't shown")
    return tuple(row for row in map(mapping, sequence(document.get("rows"))[:MAX_BESIDE]) if row)


def _read_trainings(folder: Path, problems: list[str]) -> tuple[RunRecord, ...]:
    try:
        places = sorted((place for place in folder.iterdir() if _is_training(place)), key=lambda place: place.name)
    except OSError as error:
        problems.append(f"sub-folders can't be read ({error.strerror}): trained networks aren't shown")
        return ()
    if len(places) > MAX_TRAININGS:
        problems.append(f"{len(places)} trainings lie in the folder; {MAX_TRAININGS} of them are shown")
    places.sort(key=lambda place: place.name != "train")
    return tuple(read_run(place) for place in places[:MAX_TRAININGS])


def _is_training(place: Path) -> bool:
    """Whether a sub-folder says that it is a training; train/ is one whatever is left of it."""
    if place.name == "train" and any((place / name).exists() for name in FILES):
        return True
    return (place / "run.json").is_file() and _read_object(place / "run.json", [], "").get("kind") == "train"


def _read_steps(path: Path, problems: list[str]) -> Steps:
    rows: list[tuple[float, ...]] = []
    joined_at: int | None = None
    before: Any = None
    for line in read_lines(path, problems):
        row = tuple(number(line.get(name)) for name in FIELDS)
        if math.isnan(row[0]):
            continue  # a line without its step is none of ours
        if line.get("joined") is True and before is False and joined_at is None:
            joined_at = int(row[0])
        before = line.get("joined")
        rows.append(row)
    table = np.array(rows, dtype=np.float64).reshape(len(rows), len(FIELDS))
    return Steps({name: table[:, index] for index, name in enumerate(FIELDS)}, joined_at)

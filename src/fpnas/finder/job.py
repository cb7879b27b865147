"""`find`: search, training, file, card and report, one after the other, each where it was left.

The folder is that of the search, so that every other command takes it as one: the training is in train/, the file with
its card in network/, what it is compared with in compare/. What was decided before the search, such as its length
within so many minutes, is in its run.json as "find"; how long the training is, in that of the training.
"""

from __future__ import annotations

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from fpnas import parallel
from fpnas.cost import Budget, CostModel, Flops, Latency, LatencyTable, Params
from fpnas.data import ImageData
from fpnas.distribution import ArchDistribution
from fpnas.elastic import Supernet
from fpnas.errors import InputError, RunFolderError
from fpnas.evaluators import ProxyEvaluator, SupernetEvaluator
from fpnas.finder.choice import hint, space_for
from fpnas.finder.pace import SEARCH_SHARE, Pace, pace_of, search_within, training_within
from fpnas.finder.progress import Stages
from fpnas.finder.rivals import random_one, ready_made
from fpnas.finder.rows import Row, format_here, written
from fpnas.runner import ArchRecord, Callback, forecast, latency_table, read_arch, read_latency_table, run
from fpnas.runner.data_record import DataRecord
from fpnas.runner.folder import finite, read_json, write_whole
from fpnas.runner.latency_cache import RUN_TABLE
from fpnas.runner.of_run import begins_with_weights, network_of
from fpnas.search import Search, methods
from fpnas.search.within import Within
from fpnas.space import Arch
from fpnas.spaces import by_name
from fpnas.streams import generator
from fpnas.train import Accuracy, Recipe, Training, from_scratch

Make = Callable[..., Supernet]
FOUND, RANDOM, READY_MADE = "network found", "random network", "ready-made network"
FOLDERS = {FOUND: "train", RANDOM: "compare/random", READY_MADE: "compare/ready-made"}
"""Of the trainings, in that of the job."""
TABLE = "find.json"
"""What is left of the table, in the job's folder."""


@dataclass(frozen=True)
class Found:
    """What a job found.

    Args:
        arch: the architecture.
        accuracy: of its trained network on the held-out images.
        rows: the table: the network found, then what it was compared with.
        file: the exported network.
        card: its model card.
        report: the page.
    """

    arch: Arch
    accuracy: Accuracy
    rows: tuple[Row, ...]
    file: Path
    card: Path
    report: Path


def find(
    data: str | Path | ImageData,
    *,
    out: str | Path,
    target_flops: float | None = None,
    target_params: float | None = None,
    target_ms: float | None = None,
    space: str | Make = "auto",
    method: str = methods.SHORT,
    method_options: Mapping[str, Any] | None = None,
    search_epochs: int | None = None,
    recipe: Recipe | None = None,
    minutes: float | None = None,
    compare: bool = False,
    to: str | None = None,
    batch_size: int = 64,
    latency: LatencyTable | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "fp32",
    checkpoint_every: int = 100,
    origin: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
) -> Found:
    """Finds a network for images and a budget, trains it, and writes it as a file, with a model card and a report.

    Called again it goes on where it was left, and ends in the same files; what has ended stays as it is.

    Args:
        data: what `fpnas.data.load` takes, or images that were loaded.
        out: the folder of it all.
        target_flops: the most multiply-adds; at most one target can be given.
        target_params: the most parameters.
        target_ms: the most milliseconds of a forward pass of one image on `device`.
        space: "auto", a space's name, or a function that makes a supernet from num_classes, in_channels, image_size and
            seed, such as `spaces.model("timm/lcnet_050").supernet`.
        method: of the search, by its name in `methods.METHODS`.
        method_options: arguments of that method.
        search_epochs: length of the search: looks at K networks each, or epochs of shared weights.
        recipe: of the training; with `minutes` its number of epochs is replaced.
        minutes: for all of it but what `compare` adds. The lengths of search and training follow from the pace of this
            machine, measured at the start of each.
        compare: also trains a random network of the same cost and a ready-made one, as long as the one found.
        to: "onnx", "pt2" or "safetensors"; by default the first where its packages are installed, else the last.
        batch_size: of the search.
        latency: another device's table, for `target_ms`.
        seed: of everything random.
        device: "cpu" or "cuda".
        precision: "fp32" or "bf16".
        checkpoint_every: steps between checkpoints.
        origin: what run.json says of images that were loaded, see `DataRecord.of_run`.
        callbacks: hear of each step of the search and of the training.

    Raises:
        InputError: a target that can't be met, too few minutes, or arguments that don't go together.
        RunFolderError: the folder holds something else.

    Example:
        >>> found = fpnas.find("photos", target_flops=8e6, out="runs/photos", minutes=30)
        >>> found.accuracy.accuracy, found.file
        (79.2, PosixPath('runs/photos/network/network.onnx'))
    """
    begun = time.perf_counter()
    if minutes is not None and not 0 < minutes < math.inf:
        raise InputError("minutes above 0", f"{minutes:g}", "correct them")
    if minutes is not None and search_epochs is not None:
        raise InputError("minutes, or a length of the search", "both", "leave one of them out")
    place, recipe, to = Path(out), recipe or Recipe(), format_here(to)
    known = _known(place, minutes)
    images, origin = (data, dict(origin or {})) if isinstance(data, ImageData) else _read(data)
    make, why = _space(known.get("space", space) if space == "auto" else space, images, target_flops)
    job = _Job(
        place=place,
        images=images,
        origin=origin,
        make=make,
        target=_one({"flops": target_flops, "params": target_params, "ms": target_ms}),
        latency=latency,
        method=method,
        options=dict(method_options or {}),
        batch_size=batch_size,
        where={"seed": seed, "device": device, "precision": precision},
        running={"checkpoint_every": checkpoint_every, "callbacks": callbacks},
        stages=Stages(["search", FOUND, *((RANDOM, READY_MADE) if compare else ())]),
    )
    job.say(why)
    length = job.length_of_search(known, search_epochs, minutes)
    job.expect(recipe, minutes)
    job.search(length, minutes)
    record = read_arch(place)
    if minutes is not None:
        recipe = replace(recipe, epochs=job.epochs(record, recipe, minutes, time.perf_counter() - begun))
    accuracy = job.train(FOUND, record, recipe)
    if compare:
        job.train_rivals(record, recipe)
    return job.files(accuracy, to)


@dataclass
class _Job:
    """The stages of a job; `find` puts them in order."""

    place: Path
    images: ImageData
    origin: dict[str, Any]
    make: Make
    target: tuple[str, float] | None
    latency: LatencyTable | None
    method: str
    options: dict[str, Any]
    batch_size: int
    where: dict[str, Any]
    running: dict[str, Any]
    stages: Stages

    @property
    def short(self) -> bool:
        """Whether networks are judged by short trainings."""
        return self.method == methods.SHORT

    @cached_property
    def supernet(self) -> Supernet:
        """The space, for these images."""
        images = self.images
        size = images.image_size
        seed = self.where["seed"]
        return self.make(num_classes=images.num_classes, in_channels=images.in_channels, image_size=size, seed=seed)

    @cached_property
    def budget(self) -> Budget | None:
        """What a network may cost."""
        if self.target is None:
            return None
        kind, most = self.target
        shape = self.images.input_shape
        cost: CostModel
        if kind == "ms":
            table = self._table() if parallel.rank() == 0 else None  # one rank's clock for all
            cost = Latency(self.supernet, shape, cast("LatencyTable", parallel.broadcast(table)))
        else:
            cost = (Flops if kind == "flops" else Params)(self.supernet, shape)
        return Budget(cost, most)

    def _table(self) -> LatencyTable:
        kept = self.place / RUN_TABLE
        if self.latency is None and kept.is_file():
            return read_latency_table(kept)
        return self.latency or latency_table(self.supernet, self.images.input_shape, device=self.where["device"])

    def searching(self, epochs: int, steps: int | None, *, thrown_away: bool = False) -> Search:
        """A search of that length, `steps` of each short training."""
        supernet = deepcopy(self.supernet) if thrown_away else self.supernet
        given: dict[str, Any] = {"batch_size": self.batch_size, **self.where}
        if self.short:
            judge = ProxyEvaluator(supernet, self.images, steps=steps, **given)
        else:
            judge = SupernetEvaluator(supernet, self.images, **given)
        make = methods.METHODS[self.method]
        return make(judge, self.budget, epochs=epochs, seed=self.where["seed"], **self.options)

    def say(self, why: str | None) -> None:
        """Which space it is, and what would help more."""
        if why is not None:
            self.stages.say(f"space {self.supernet.name}: {why}")
        advice = hint(self.images, self.supernet.pretrained)
        if advice is not None:
            self.stages.say(advice)

    def length_of_search(
        self, known: Mapping[str, Any], epochs: int | None, minutes: float | None
    ) -> tuple[int, int | None]:
        """Epochs and steps: those of the run that goes on, those that fit into the minutes, or what was asked for."""
        if known:
            return known["search_epochs"], known["steps"]
        if minutes is None:
            return epochs or methods.default_epochs(self.method), None
        told = forecast(self.searching(1, None, thrown_away=True))
        length = search_within(minutes, told.seconds, short=self.short)
        return parallel.broadcast(length)

    def expect(self, recipe: Recipe, minutes: float | None) -> None:
        """What the trainings will take, for the display."""
        if minutes is not None:
            seconds = 60 * minutes * (1 - SEARCH_SHARE)
        else:
            space, draws = self.supernet.space, generator(self.where["seed"], "likely")
            code = Within().near(ArchDistribution(space), self.budget, 1, draws)[0]
            network = from_scratch(self.supernet, space.decode(code.tolist()), self.where["seed"])
            seconds = recipe.epochs * self._pace(network, recipe).epoch
        self.stages.expect(seconds)

    def _pace(self, network: Any, recipe: Recipe) -> Pace:
        return pace_of(Training(network, self.images, recipe=recipe, **self.where), self.images)

    def search(self, length: tuple[int, int | None], minutes: float | None) -> None:
        """Runs the search, which leaves arch.json."""
        epochs, steps = length
        decided = {"minutes": minutes, "space": self.supernet.name, "search_epochs": epochs, "steps": steps}
        cost = None if self.budget is None else self.budget.cost
        run(
            self.searching(epochs, steps),
            self.place,
            facts={**self.origin, "find": decided},
            keep={RUN_TABLE: cost.used.to_json()} if isinstance(cost, Latency) else None,
            progress=self.stages.begin("search"),
            **self.running,
        )

    def epochs(self, record: ArchRecord, recipe: Recipe, minutes: float, spent: float) -> int:
        """Of the training, in what so many seconds leave of the minutes; of one that goes on, those it began with."""
        begun = self.place / FOLDERS[FOUND] / "run.json"
        if begun.exists():
            return cast("int", read_json(begun)["settings"]["epochs"])
        spent = max(spent, read_json(self.place / "result.json")["seconds"])  # an earlier call may have searched
        return training_within(60 * minutes - spent, self._pace(self._network(record), recipe))

    def train(self, name: str, record: ArchRecord, recipe: Recipe) -> Accuracy:
        """Trains a network in its folder."""
        inherit = begins_with_weights(record, self.place)
        training = Training(self._network(record), self.images, recipe=recipe, inherit=inherit, **self.where)
        training.origin = self.origin
        return run(training, self.place / FOLDERS[name], progress=self.stages.begin(name), **self.running)

    def _network(self, record: ArchRecord) -> Any:
        inherit = begins_with_weights(record, self.place)
        return network_of(record, self.place, self.images, inherit=inherit, seed=self.where["seed"])

    def train_rivals(self, record: ArchRecord, recipe: Recipe) -> None:
        """Trains what the network is compared with; a ready-made one only where there is one."""
        self.train(RANDOM, random_one(record, self.images, self.where["seed"]), recipe)
        try:
            rival = ready_made(record, self.images)
        except InputError as error:
            warnings.warn(f"no ready-made network to compare with: {error}", stacklevel=3)
        else:
            self.train(READY_MADE, rival, recipe)

    def files(self, accuracy: Accuracy, to: str) -> Found:
        """The files, the table, the report."""
        from fpnas.report import write_report  # its template engine isn't loaded for other jobs

        record = read_arch(self.place)
        if parallel.rank() > 0:
            return Found(record.arch, accuracy, (), Path(), Path(), Path())
        rows: list[Row] = []
        for name, folder in FOLDERS.items():
            training = self.place / folder
            if (training / "model.safetensors").exists():
                written_in = (self.place if name == FOUND else training) / "network"
                rows.append(written(name, training, written_in, self.images, to))
        table = {"rows": [row.to_json() for row in rows]}
        write_whole(self.place / TABLE, (json.dumps(finite(table), indent=2) + "\n").encode())
        page = write_report([self.place])
        file = rows[0].file
        return Found(record.arch, accuracy, tuple(rows), file, file.with_name(file.name + ".md"), page)


def _known(place: Path, minutes: float | None) -> dict[str, Any]:
    """What a run in that folder decided before its search; {} where there is none."""
    file = place / "run.json"
    known = read_json(file).get("find") if file.exists() else None
    if known is None:
        return {}
    if known.get("minutes") != minutes:
        got = f"{minutes} where the run in {place} has {known.get('minutes')}"
        raise RunFolderError("the minutes of the run that the folder holds", got, "give the same, or another --out")
    return cast("dict[str, Any]", known)


def _read(data: str | Path) -> tuple[ImageData, dict[str, Any]]:
    """Images, and what run.json says of them."""
    record = DataRecord(str(data))
    return record.load(), record.of_run()


def _space(space: str | Make, images: ImageData, target_flops: float | None) -> tuple[Make, str | None]:
    """What makes the supernet, and the reason where it was chosen here."""
    if not isinstance(space, str):
        return space, None
    name, why = space_for(images, target_flops) if space == "auto" else (space, None)
    return by_name(name), why


def _one(targets: Mapping[str, float | None]) -> tuple[str, float] | None:
    given = [(name, value) for name, value in targets.items() if value is not None]
    if len(given) > 1:
        raise InputError("one target", " and ".join(name for name, _ in given), "leave out all but one")
    return given[0] if given else None

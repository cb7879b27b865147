"""The stages of `find`: each goes on where it was left, and leaves what the next one needs in the job's folder."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

from fpnas import parallel
from fpnas.cost import SIZE, Budget, LatencyTable, Precision, budget_for, measured_in
from fpnas.data import ImageData
from fpnas.distribution import ArchDistribution
from fpnas.elastic import Importance, Supernet
from fpnas.errors import InputError
from fpnas.evaluators import ProxyEvaluator, SupernetEvaluator
from fpnas.evaluators.proxy import Metric
from fpnas.finder.choice import hint
from fpnas.finder.pace import (
    SEARCH_SHARE,
    Pace,
    pace_of,
    search_within,
    seconds_left,
    training_within,
    tuning_within,
    unused,
)
from fpnas.finder.progress import Display
from fpnas.finder.rivals import random_one, ready_made
from fpnas.finder.rows import Found, Row, written
from fpnas.runner import ArchRecord, forecast, latency_table, read_arch, read_latency_table, run, tuning
from fpnas.runner.data_record import at_size
from fpnas.runner.folder import finite, read_json, write_whole
from fpnas.runner.latency_cache import RUN_TABLE
from fpnas.runner.latency_runtimes import default_runtime
from fpnas.runner.of_run import begins_with_weights, network_of
from fpnas.runner.suited import length_in_words, length_of_search, seen_as
from fpnas.search import Search, methods
from fpnas.search.within import Within
from fpnas.spaces import Model, Smaller
from fpnas.streams import generator
from fpnas.text import counted
from fpnas.train import Accuracy, ClassWeights, Recipe, Suited, Training, from_scratch

Make = Callable[..., Supernet]
FOUND, RANDOM, READY_MADE = "network found", "random network", "ready-made network"
WHOLE = "whole network"
COMPARED = (RANDOM, READY_MADE)
FOLDERS = {FOUND: "train", RANDOM: "compare/random", READY_MADE: "compare/ready-made"}
"""Of the trainings, in that of the job."""
TABLE = "find.json"
"""What is left of the table, in the job's folder."""


@dataclass
class Stages:
    """The stages of a job; `find` puts them in order, and says what its fields are."""

    place: Path
    images: ImageData
    image_sizes: tuple[int, ...] | None
    origin: dict[str, Any]
    make: Make
    targets: Mapping[str, float]
    memory: Precision
    latency: LatencyTable | None
    runtime: str | None
    method: str
    options: dict[str, Any]
    batch_size: int
    where: dict[str, Any]
    metric: Metric
    class_weights: ClassWeights | None
    suited: Suited
    as_given: dict[str, Any]
    running: dict[str, Any]
    display: Display

    @property
    def short(self) -> bool:
        """Whether networks are judged by short trainings."""
        return self.method == methods.SHORT

    @cached_property
    def supernet(self) -> Supernet:
        """The space, for these images."""
        images, seed = self.images, self.where["seed"]
        shape: dict[str, int] = {"in_channels": images.in_channels, "image_size": images.image_size}
        return self.make(num_classes=images.num_classes, **shape, seed=seed)

    @cached_property
    def budget(self) -> Budget | None:
        """What a network may cost."""
        shape = self.images.input_shape
        return budget_for(self.targets, self.supernet, shape, self.memory, self._table, self.image_sizes)

    def _table(self, shape: tuple[int, ...]) -> LatencyTable:
        own = self._own_table(shape) if parallel.rank() == 0 else None  # one rank's clock for all
        return cast("LatencyTable", parallel.broadcast(own))

    def _own_table(self, shape: tuple[int, ...]) -> LatencyTable:
        kept, device = self.place / RUN_TABLE, self.where["device"]
        if self.latency is None and kept.is_file():
            table = read_latency_table(kept)
            if self.runtime not in (None, table.runtime):
                got = f"{kept}, of {table.runtime}"
                raise InputError(f"latencies in {self.runtime}", got, "leave the runtime out")
            return table
        runtime = self.runtime or default_runtime(device)
        return self.latency or latency_table(self.supernet, shape, device=device, runtime=runtime)

    def search_inside(
        self,
        model: Model,
        smaller: Smaller | None,
        sort: Importance | None,
        tune_epochs: int | None,
        minutes: float | None,
    ) -> None:
        """The space of the networks inside `model`, which is tuned before unless in 0 epochs."""
        if tune_epochs != 0:
            self.make = partial(model.supernet, smaller=smaller, sort="l2")
            _ = self.budget  # what can't be met is said before the training
            del self.supernet, self.budget
            how: dict[str, Any] = {**self.where, "recipe": self.as_given, "epochs": tune_epochs}
            if minutes is not None and tune_epochs is None:
                how["epochs"] = self._epochs_of_whole(model, how, minutes)
            display = self.display.begin(WHOLE)
            model = tuning.tuned(model, self.images, self.place, how=how, progress=display, **self.running)
        self.make = partial(model.supernet, smaller=smaller, sort=sort, data=self.images)

    def _epochs_of_whole(self, model: Model, how: dict[str, Any], minutes: float) -> int:
        """Of the whole network's training: the usual number where the minutes allow it; those it began with."""
        begun = self.place / tuning.FOLDER / "run.json"
        if begun.exists():
            return read_json(begun)["settings"]["epochs"]
        training = tuning.tuning_of(model, self.images, **how)
        return tuning_within(minutes, pace_of(training, self.images), training.recipe.epochs)

    def planned(self, known: Mapping[str, Any], epochs: int | None, minutes: float | None, spent: float) -> Search:
        """The search, as long as that of the run that goes on, as the minutes allow, as asked for, or by default.

        `spent` are the seconds that the job has taken so far.
        """
        steps = None
        if known:
            epochs, steps = epochs or known["search_epochs"], known["steps"]  # others than it had are refused
        elif minutes is not None:
            told = forecast(self._search(1, self._judge(deepcopy(self.supernet), None)))
            full = told.steps if self.short else None
            epochs, steps = parallel.broadcast(search_within(minutes, told.seconds, full=full, spent=spent))
        judge = self._judge(self.supernet, steps)
        return self._search(
            epochs or length_of_search(self.method, judge.steps_per_epoch, inherit=self.supernet.pretrained), judge
        )

    def _judge(self, supernet: Supernet, steps: int | None) -> ProxyEvaluator | SupernetEvaluator:
        """What judges networks; `steps` of each short training."""
        given: dict[str, Any] = {"batch_size": self.batch_size, **self.where}
        if not self.short:
            return SupernetEvaluator(supernet, self.images, **given)
        given |= {"steps": steps, "metric": self.metric, "image_sizes": self.image_sizes}
        return ProxyEvaluator(supernet, self.images, **self._seen[0], **given)

    @cached_property
    def _seen(self) -> tuple[dict[str, Any], str]:
        """How short trainings see the images, and why."""
        return seen_as(self.images, self.batch_size, inherit=self.supernet.pretrained, **self.as_given)

    def _search(self, epochs: int, judge: ProxyEvaluator | SupernetEvaluator) -> Search:
        make = methods.METHODS[self.method]
        return make(judge, self.budget, epochs=epochs, seed=self.where["seed"], **self.options)

    @property
    def recipe(self) -> Recipe:
        """Of the training."""
        return self.suited.recipe.for_pretrained() if self.supernet.pretrained else self.suited.recipe

    def say(self, why: str | None, search: Search) -> None:
        """What was chosen, and why."""
        if why is not None:
            self.display.say(f"space: {self.supernet.name}, {why}")
        self.display.say(f"search: {self._chosen(search)}")
        if self.suited.reason:
            self.display.say(f"training: {self.suited.reason}")
        advice = hint(self.images, self.supernet.pretrained)
        if advice is not None:
            self.display.say(advice)

    def _chosen(self, search: Search) -> str:
        """How the search is done, in words."""
        seen = f"{self._seen[1]}; " if self.short else ""
        return seen + length_in_words(self.method, search.epochs, search.evaluator.steps_per_epoch)

    def expect(self, search: Search, minutes: float | None) -> None:
        """What the trainings will take, for the display of what comes before them; nothing where that has ended."""
        before = [self.place / FOLDERS.get(name, "") for name in self.display.names[:-1]]
        if all((folder / "result.json").exists() for folder in before):
            return
        space, draws = search.evaluator.space, generator(self.where["seed"], "likely")
        code = Within().near(ArchDistribution(space), self.budget, 1, draws)[0]
        arch, images = dict(space.decode(code.tolist())), self.images
        if self.image_sizes is not None:
            images = images.resized(int(arch.pop(SIZE)))
        pace = self._pace(from_scratch(self.supernet, arch, self.where["seed"]), images)
        epochs = self.recipe.epochs
        if minutes is not None:
            epochs = training_within(60 * minutes * (1 - SEARCH_SHARE), pace)
        self.display.expect(epochs * pace.epoch)

    def _pace(self, network: Any, images: ImageData) -> Pace:
        return pace_of(Training(network, images, recipe=self.recipe, **self.where), images)

    def search(self, search: Search, minutes: float | None) -> None:
        """Runs the search, which leaves arch.json."""
        steps = search.evaluator.steps_per_epoch if self.short else None
        decided = {"minutes": minutes, "space": self.supernet.name, "search_epochs": search.epochs, "steps": steps}
        measured = measured_in(self.budget)
        run(
            search,
            self.place,
            facts={**self.origin, "chosen": self._chosen(search), "find": decided},
            keep=None if measured is None else {RUN_TABLE: measured.to_json()},
            progress=self.display.begin("search"),
            **self.running,
        )

    def take_size(self, record: ArchRecord) -> None:
        """From here on the images are of the size that the search chose, where it had a choice."""
        if self.image_sizes is not None and record.image_size is not None:
            self.images, self.origin = at_size(self.images, self.origin, record.image_size)

    def fit_training(self, record: ArchRecord, minutes: float, spent: float) -> None:
        """Its epochs are those that so many seconds leave of the minutes; of one that goes on, those it began with."""
        begun = self.place / FOLDERS[FOUND] / "run.json"
        if begun.exists():
            epochs = cast("int", read_json(begun)["settings"]["epochs"])
        else:
            # An earlier call may have searched.
            spent = max(spent, read_json(self.place / "result.json")["seconds"])
            left, pace = seconds_left(minutes, spent), self._pace(self._network(record), self.images)
            epochs = training_within(left, pace)
            self.display.expect(epochs * pace.epoch)
            self.display.say(f"training: {counted(epochs, 'epoch')}{unused(left - epochs * pace.epoch, epochs)}")
        reason = f"{self.suited.reason}; {counted(epochs, 'epoch')}"
        self.suited = Suited(replace(self.suited.recipe, epochs=epochs), reason)

    def train(self, name: str, record: ArchRecord) -> Accuracy:
        """Trains a network in its folder."""
        inherit = begins_with_weights(record, self.place)
        training = Training(
            self._network(record),
            self.images,
            recipe=self.recipe,
            class_weights=self.class_weights,
            inherit=inherit,
            **self.where,
        )
        training.origin = {**self.origin, "chosen": self.suited.reason}
        return run(training, self.place / FOLDERS[name], progress=self.display.begin(name), **self.running)

    def _network(self, record: ArchRecord) -> Any:
        inherit = begins_with_weights(record, self.place)
        return network_of(record, self.place, self.images, inherit=inherit, seed=self.where["seed"])

    def train_rivals(self, record: ArchRecord) -> None:
        """Trains what the network is compared with; a ready-made one only where there is one."""
        self.train(RANDOM, random_one(record, self.images, self.where["seed"]))
        try:
            rival = ready_made(record, self.images)
        except InputError as error:
            warnings.warn(f"the ready-made network is left out: {error}", stacklevel=3)
        else:
            self.train(READY_MADE, rival)

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

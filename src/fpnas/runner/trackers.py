"""Callbacks that hand a run to TensorBoard, Weights & Biases, MLflow or trackio; each imports its package late."""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fpnas.errors import InputError, missing_extra, unknown_name
from fpnas.runner.callbacks import Callback, RunInfo

PROJECT = "fpnas"
"""Project or experiment that runs appear under."""


def scalars(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line but its step; true and false are 1 and 0."""
    return {name: float(value) for name, value in line.items() if isinstance(value, int | float) and name != "step"}


class TensorBoard(Callback):
    """Event files in RUN/tensorboard, by tensorboard's own writer; results as result/NAME."""

    def on_start(self, run: RunInfo) -> None:
        self._event = import_module("tensorboard.compat.proto.event_pb2").Event
        self._summary = import_module("tensorboard.compat.proto.summary_pb2").Summary
        writer = import_module("tensorboard.summary.writer.event_file_writer").EventFileWriter
        self._writer: Any = writer(str(run.folder / "tensorboard"), flush_secs=2)
        self._step = run.first_step

    def on_step(self, line: Mapping[str, Any]) -> None:
        self._step = line["step"]
        self._write(scalars(line))

    def on_end(self, result: Mapping[str, Any] | None) -> None:
        self._write({f"result/{name}": value for name, value in scalars(result or {}).items()})
        self._writer.close()

    def _write(self, values: Mapping[str, float]) -> None:
        values_ = [self._summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._writer.add_event(
            self._event(wall_time=time.time(), step=self._step, summary=self._summary(value=values_))
        )


class WeightsAndBiases(Callback):
    """A run of the project `fpnas`; its id is that of the folder, so that a resumed run goes on in it."""

    def on_start(self, run: RunInfo) -> None:
        self._run: Any = import_module("wandb").init(
            project=PROJECT,
            name=run.folder.name,
            id=identity(run.folder),
            resume="allow",
            dir=str(run.folder),
            config=dict(run.settings),
        )

    def on_step(self, line: Mapping[str, Any]) -> None:
        self._run.log(scalars(line), step=line["step"])

    def on_end(self, result: Mapping[str, Any] | None) -> None:
        self._run.summary.update(scalars(result or {}))
        self._run.finish(exit_code=0 if result is not None else 1)


class MLflow(Callback):
    """A run of the experiment `fpnas` in the store that MLFLOW_TRACKING_URI names; written in batches."""

    BATCH = 800
    """Metrics a request; MLflow takes 1,000."""

    def on_start(self, run: RunInfo) -> None:
        entities = import_module("mlflow.entities")
        self._client: Any = import_module("mlflow.tracking").MlflowClient()
        self._metric, self._waiting = entities.Metric, list[Any]()
        experiment = self._client.get_experiment_by_name(PROJECT)
        number = self._client.create_experiment(PROJECT) if experiment is None else experiment.experiment_id
        key = identity(run.folder)
        known = self._client.search_runs([number], f"tags.`fpnas.folder` = '{key}'")
        if known:
            self._id = known[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
        else:
            self._id = self._client.create_run(number, tags={"fpnas.folder": key}, run_name=run.folder.name).info.run_id
            params = [entities.Param(name, str(value)[:500]) for name, value in run.settings.items()]
            self._client.log_batch(self._id, params=params)

    def on_step(self, line: Mapping[str, Any]) -> None:
        now = int(1000 * time.time())
        self._waiting += [self._metric(name, value, now, line["step"]) for name, value in scalars(line).items()]
        if len(self._waiting) >= self.BATCH:
            self._flush()

    def on_end(self, result: Mapping[str, Any] | None) -> None:
        now = int(1000 * time.time())
        self._flush()
        self._waiting = [self._metric(f"result.{name}", v, now, 0) for name, v in scalars(result or {}).items()]
        self._flush()
        self._client.set_terminated(self._id, "KILLED" if result is None else "FINISHED")

    def _flush(self) -> None:
        while self._waiting:
            self._client.log_batch(self._id, metrics=self._waiting[: self.BATCH])
            self._waiting = self._waiting[self.BATCH :]


class Trackio(Callback):
    """A run of the project `fpnas` in trackio's local store."""

    def on_start(self, run: RunInfo) -> None:
        self._trackio: Any = import_module("trackio")
        name = f"{run.folder.name}-{identity(run.folder)[:6]}"
        with redirect_stdout(sys.stderr):  # it talks; stdout is the commands' own
            self._trackio.init(project=PROJECT, name=name, config=dict(run.settings), resume="allow", embed=False)

    def on_step(self, line: Mapping[str, Any]) -> None:
        self._trackio.log(scalars(line), step=line["step"])

    def on_end(self, result: Mapping[str, Any] | None) -> None:
        del result  # trackio keeps what is logged at steps; result.json has the rest
        with redirect_stdout(sys.stderr):
            self._trackio.finish()


TRACKERS: dict[str, tuple[str, type[Callback]]] = {
    "tensorboard": ("tensorboard", TensorBoard),
    "wandb": ("wandb", WeightsAndBiases),
    "mlflow": ("mlflow", MLflow),
    "trackio": ("trackio", Trackio),
}
"""Name -> the package it needs, and the callback."""


def trackers_by_name(names: Sequence[str] | None) -> list[Callback]:
    """The trackers of these names; "none" is none, and None is TensorBoard where that is installed.

    Raises:
        InputError: an unknown name, one whose package isn't installed, or "none" beside others.
    """
    if names is None:
        return [TensorBoard()] if find_spec("tensorboard") is not None else []
    if list(names) == ["none"]:
        return []
    for name in names:
        if name not in TRACKERS:
            if name == "none":
                raise InputError("none by itself, or trackers", ", ".join(names), "drop one of them")
            raise unknown_name("tracker", name, [*TRACKERS, "none"])
        if find_spec(TRACKERS[name][0]) is None:
            raise missing_extra(f"the package {TRACKERS[name][0]}", name)
    return [TRACKERS[name][1]() for name in dict.fromkeys(names)]


def identity(folder: Path) -> str:
    """A name for the run in `folder` that resumes keep: of the folder's path and of when run.json was written."""
    written = (folder / "run.json").stat().st_mtime_ns
    return hashlib.sha256(f"{folder.resolve()}\n{written}".encode()).hexdigest()[:16]

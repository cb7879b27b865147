"""Callbacks hear each step once, whatever was interrupted, and can't harm a run; real trackers keep what they heard."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helpers_run as h
import pytest
from helpers_run import run, table_search

import fpnas
from fpnas.errors import InputError
from fpnas.runner import Progress, RunInfo, trackers_by_name
from fpnas.runner.callbacks import steps_logged
from fpnas.runner.trackers import TRACKERS, MLflow, TensorBoard, WeightsAndBiases, scalars


class Heard(fpnas.Callback):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.starts: list[RunInfo] = []
        self.lines: list[Mapping[str, Any]] = []
        self.ends: list[Mapping[str, Any] | None] = []

    def on_start(self, run: RunInfo) -> None:
        self.starts.append(run)

    def on_step(self, line: Mapping[str, Any]) -> None:
        self.lines.append(line)

    def on_end(self, result: Mapping[str, Any] | None) -> None:
        self.ends.append(result)


class Crash(Progress):
    """Power fails after a step's line was logged."""

    def __init__(self, step: int) -> None:
        self._step = step

    def stepped(self, line: dict[str, Any]) -> None:
        if line["step"] == self._step:
            raise MemoryError


def interrupted(folder: Path, *callbacks: fpnas.Callback, step: int = 6) -> None:
    """A run that fails at `step`, with a checkpoint at step 4."""
    with pytest.raises(MemoryError):
        fpnas.run(table_search(), folder, checkpoint_every=4, progress=Crash(step), callbacks=callbacks)


def test_what_a_callback_hears(tmp_path: Path) -> None:
    heard = Heard()
    run(table_search(), tmp_path / "run", callbacks=[heard])
    (start,) = heard.starts
    assert (start.folder, start.kind, start.first_step, start.steps) == (tmp_path / "run", "search", 0, 10)
    assert start.settings == h.read(tmp_path / "run" / "run.json")["settings"]
    assert heard.lines == h.json_lines(tmp_path / "run" / "metrics.jsonl")
    assert heard.ends == [h.read(tmp_path / "run" / "result.json")]
    run(table_search(), tmp_path / "run", callbacks=[heard])
    assert len(heard.starts) == len(heard.ends) == 1


@pytest.mark.parametrize("step", [2, 4, 6, 9])
def test_no_step_is_told_twice_after_a_crash(step: int, tmp_path: Path) -> None:
    before, after = Heard(), Heard()
    interrupted(tmp_path / "run", before, step=step)
    assert before.ends == [None]
    run(table_search(), tmp_path / "run", checkpoint_every=4, callbacks=[after])
    told = [line["step"] for line in (*before.lines, *after.lines)]
    assert told == [number for number in range(10) if number != step]  # its line was logged, then the power failed
    assert after.starts[0].first_step == step + 1
    assert [line["step"] for line in h.json_lines(tmp_path / "run" / "metrics.jsonl")] == list(range(10))


def test_a_longer_run_goes_on_telling(tmp_path: Path) -> None:
    heard = Heard()
    for steps in (4, 10):
        run(table_search(), tmp_path / "run", max_steps=steps, callbacks=[heard])
    assert [line["step"] for line in heard.lines] == list(range(10))
    assert [start.steps for start in heard.starts] == [4, 10]


@pytest.mark.parametrize("method", ["on_start", "on_step", "on_end"])
def test_a_callback_that_fails_is_warned_about_once(method: str, tmp_path: Path) -> None:
    class Broken(Heard):
        def _fail(self, *_: Any) -> None:
            raise OSError("the tracker is down\nsecond line")

    setattr(Broken, method, Broken._fail)
    broken, heard = Broken(), Heard()
    with pytest.warns(UserWarning, match=f"Broken.{method} raised OSError: the tracker is down; the run") as caught:
        run(table_search(), tmp_path / "run", callbacks=[broken, heard])
    assert len(caught) == 1
    assert len(heard.lines) == 10
    assert len(heard.ends) == 1
    run(table_search(), tmp_path / "without")
    assert h.outcome(tmp_path / "run") == h.outcome(tmp_path / "without")


@pytest.mark.parametrize(
    ("content", "steps"),
    [
        (b"", 0),
        (b'{"step": 3}\n', 4),
        (b'{"step": 3}\n{"step": 4}', 4),
        (b'{"step": 3}\nnoise\n[]\n{}\n', 4),
        (b'{"step": "x"}\n', 0),
        (b'{"step": 7}\n' + b"x" * 70000 + b"\n", 0),
    ],
)
def test_steps_of_a_log(content: bytes, steps: int, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(content)
    assert steps_logged(tmp_path / "log") == steps
    assert steps_logged(tmp_path / "none") == 0


def test_tensorboard_reads_each_step_once(tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")
    interrupted(tmp_path / "run", TensorBoard())
    run(table_search(), tmp_path / "run", callbacks=[TensorBoard()])
    events = reader.EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    lines = h.json_lines(tmp_path / "run" / "metrics.jsonl")
    tags = events.Tags()["scalars"]
    assert {"entropy", "num_samples", "train_loss", "val_loss", "joined", "epoch"} <= set(tags)
    for tag in ("entropy", "num_samples", "val_loss", "joined"):
        # The reader takes files by name, and those of one second in any order.
        told = sorted((event.step, event.value) for event in events.Scalars(tag))
        expected = [(line["step"], line[tag]) for line in lines if line[tag] is not None and line["step"] != 6]
        assert [step for step, _ in told] == [step for step, _ in expected]
        assert [value for _, value in told] == pytest.approx([float(value) for _, value in expected], rel=1e-6)
    assert [event.value for event in events.Scalars("result/num_samples_total")] == [
        h.read(tmp_path / "run" / "result.json")["num_samples_total"]
    ]


TRACKIO = """
import sys, warnings
warnings.simplefilter("error")
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from test_run_callbacks import interrupted, run, table_search
from fpnas.runner.trackers import Trackio

interrupted(Path(sys.argv[1]), Trackio())
run(table_search(), Path(sys.argv[1]), callbacks=[Trackio()])
"""


def test_trackio_stores_each_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process of its own: where the store lies is read when trackio is imported."""
    pytest.importorskip("trackio", reason="needs trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "store"))
    tests = [str(Path(file).parent) for file in (h.__file__, __file__)]
    command = [sys.executable, "-c", TRACKIO, str(tmp_path / "run"), *tests]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    (store,) = (tmp_path / "store").glob("fpnas*.db")
    with sqlite3.connect(store) as base:
        rows = base.execute("select run_name, step, metrics from metrics order by step").fetchall()
    lines = [line for line in h.json_lines(tmp_path / "run" / "metrics.jsonl") if line["step"] != 6]
    assert len({name for name, *_ in rows}) == 1
    assert [step for _, step, _ in rows] == [line["step"] for line in lines]
    for (*_, stored), line in zip(rows, lines, strict=True):
        assert json.loads(stored)["entropy"] == pytest.approx(line["entropy"])


class FakeClient:
    """Weights & Biases' module and run in one, as far as the hook uses them."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.summary: dict[str, float] = {}
        self.codes: list[int] = []

    def init(self, **options: Any) -> FakeClient:
        self.options = options
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def finish(self, exit_code: int) -> None:
        self.codes.append(exit_code)


def test_wandb_hears_each_step_once_under_one_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeClient()
    monkeypatch.setitem(sys.modules, "wandb", fake)  # type: ignore[arg-type]
    interrupted(tmp_path / "run", WeightsAndBiases())
    first = fake.options["id"]
    run(table_search(), tmp_path / "run", callbacks=[WeightsAndBiases()])
    assert fake.options["id"] == first
    assert fake.options["resume"] == "allow"
    assert [step for step, _ in fake.logged] == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    assert fake.codes == [1, 0]
    assert fake.summary["steps"] == 10
    run(table_search(), tmp_path / "other", callbacks=[WeightsAndBiases()])
    assert fake.options["id"] != first


def test_scalars_are_numbers_alone() -> None:
    assert scalars({"step": 3, "loss": 0.5, "joined": True, "none": None, "kind": "x"}) == {"loss": 0.5, "joined": 1.0}


def test_names_of_trackers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trackers_by_name(["none"]) == []
    for words, names in (("did you mean 'tensorboard'", ["tensorbord"]), ("none by itself", ["none", "mlflow"])):
        with pytest.raises(InputError, match=words):
            trackers_by_name(names)
    monkeypatch.setattr("fpnas.runner.trackers.find_spec", lambda _: None)
    assert trackers_by_name(None) == []
    for name in TRACKERS:
        with pytest.raises(InputError, match=rf"pip install 'fpnas\[{name}\]'"):
            trackers_by_name([name])
    monkeypatch.setattr("fpnas.runner.trackers.find_spec", lambda _: True)
    assert [type(one) for one in trackers_by_name(None)] == [TensorBoard]
    assert [type(one) for one in trackers_by_name(["mlflow", "tensorboard", "mlflow"])] == [MLflow, TensorBoard]


def test_warnings_of_callbacks_as_errors_do_not_hide_the_run(tmp_path: Path) -> None:
    """Where Python turns warnings into errors, the failure is seen, and the run can be gone on with."""

    class Broken(fpnas.Callback):
        def on_step(self, line: Mapping[str, Any]) -> None:
            raise OSError("down")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="down"):
            run(table_search(), tmp_path / "run", callbacks=[Broken()])
    run(table_search(), tmp_path / "run")
    assert len(h.json_lines(tmp_path / "run" / "metrics.jsonl")) == 10

"""A run that was stopped, killed or damaged and goes on ends exactly as one that nothing happened to.

Two searches, of 12 steps each, 4 an epoch, theta at step 5: one on a small supernet, and one on a table, where what is
at stake is the folder alone.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helpers_run as h
import pytest
import torch
from helpers_run import run

import fpnas
from fpnas.errors import InputError, RunFolderError
from fpnas.job import Step

TOTAL = 12


class Killed(BaseException):
    """The process is gone: nothing after it runs."""


class Dying:
    """A job whose process dies in the midst of step `at`, or that does something else there."""

    def __init__(self, job: fpnas.Search, at: int, how: Callable[[], Any] | None = None) -> None:
        self._job, self._at, self._how = job, at, how

    def __getattr__(self, name: str) -> Any:
        return getattr(self._job, name)

    def step(self) -> Step:
        if self._job.steps_done == self._at:
            if self._how is None:
                raise Killed
            self._how()
        return self._job.step()


def on_table() -> fpnas.Search:
    return fpnas.methods.fpnas(h.TableEvaluator(4), fpnas.Budget(h.TableCost(), 60.0), **h.PINNED, lam=1.0, epochs=3)


def on_supernet() -> fpnas.Search:
    return h.small_search()


Make = Callable[[], fpnas.Search]


@pytest.fixture(scope="module")
def unbroken_of(tmp_path_factory: pytest.TempPathFactory) -> dict[Make, Path]:
    folders = {make: tmp_path_factory.mktemp("unbroken") / "run" for make in (on_table, on_supernet)}
    for make, folder in folders.items():
        run(make(), folder)
    return folders


@pytest.fixture
def unbroken(unbroken_of: dict[Make, Path]) -> Path:
    """Of the table."""
    return unbroken_of[on_table]


def die(make: Make, folder: Path, at: int, every: int) -> None:
    with pytest.raises(Killed):
        run(Dying(make(), at), folder, checkpoint_every=every)


# --------------------------------------------------------------------------------------------------------- a whole run


def test_a_whole_run_leaves_the_files_of_the_design(unbroken_of: dict[Make, Path]) -> None:
    unbroken = unbroken_of[on_supernet]
    names = {path.name for path in unbroken.iterdir()} - {".lock", "checkpoint-before.pt"}
    assert names == {
        "run.json",
        "metrics.jsonl",
        "distribution.jsonl",
        "checkpoint.pt",
        "arch.json",
        "layers.json",
        "result.json",
    }
    metrics = h.json_lines(unbroken / "metrics.jsonl")
    keys = ["step", "epoch", "entropy", "num_samples", "train_loss", "val_loss", "cost_mean", "joined", "seconds"]
    assert [list(line) for line in metrics] == [keys] * TOTAL
    assert [line["step"] for line in metrics] == list(range(TOTAL))
    assert [line["joined"] for line in metrics] == [number >= 5 for number in range(TOTAL)]
    assert all(line["seconds"] > 0 for line in metrics)
    assert [line["epoch"] for line in h.json_lines(unbroken / "distribution.jsonl")] == [0, 1, 2]
    record = h.read(unbroken / "run.json")
    assert record["kind"] == "search"
    assert record["steps_total"] == TOTAL
    assert record["settings"] == json.loads(json.dumps(h.small_search().settings()))
    assert record["versions"]["torch"] == torch.__version__
    arch = h.read(unbroken / "arch.json")
    assert set(arch) >= {"space", "image_size", "in_channels", "num_classes", "choices", "flops", "params", "log_prob"}
    result = h.read(unbroken / "result.json")
    assert result["num_samples_total"] == sum(line["num_samples"] for line in metrics)
    assert result["steps"] == TOTAL
    assert result["seconds"] == pytest.approx(sum(line["seconds"] for line in metrics), abs=0.01)
    assert result["peak_memory_mb"] > 50


def test_the_runner_adds_nothing_to_the_course(unbroken_of: dict[Make, Path]) -> None:
    """Against the bare loop, step by step."""
    unbroken = unbroken_of[on_supernet]
    job = h.small_search()
    steps = [job.step() for _ in range(TOTAL)]
    assert h.without_seconds(h.json_lines(unbroken / "metrics.jsonl")) == [step.metrics for step in steps]
    lines = [step.logs["distribution.jsonl"] for step in steps if step.logs]
    assert h.json_lines(unbroken / "distribution.jsonl") == json.loads(json.dumps(lines))
    assert h.read(unbroken / "arch.json") == job.files()["arch.json"]


def test_the_checkpoint_before_is_another_one(tmp_path: Path) -> None:
    """Checkpoints at 3, 6 and 7: the one before the last is that of 6, not the last written twice."""
    run(on_table(), tmp_path / "run", max_steps=7, checkpoint_every=3)
    done = [torch.load(tmp_path / "run" / f"checkpoint{x}.pt")["job"]["steps_done"] for x in ("-before", "")]
    assert done == [6, 7]


# ------------------------------------------------------------------------------------------------------------- stopped


@pytest.mark.parametrize(
    ("make", "stops"),
    [
        *((on_table, stops) for stops in ([1], [4], [5], [6], [11], [2, 5, 7], [1, 2, 3, 5, 6, 8])),
        *((on_supernet, stops) for stops in ([5], [6], [2, 5, 7])),
    ],
)
def test_a_stopped_run_goes_on_as_if_it_had_not(
    make: Make, stops: list[int], unbroken_of: dict[Make, Path], tmp_path: Path
) -> None:
    """Before, at and after theta; in the midst and at the end of an epoch; once and after every step."""
    for stop in stops:
        found = run(make(), tmp_path / "run", max_steps=stop, checkpoint_every=3)
        assert len(h.json_lines(tmp_path / "run" / "metrics.jsonl")) == stop
        ended = h.outcome(tmp_path / "run")
        assert ended["result.json"]["steps"] == stop
        assert json.loads(ended["arch.json"])["log_prob"] == found.best_within().log_prob
    run(make(), tmp_path / "run", checkpoint_every=5)
    assert h.outcome(tmp_path / "run") == h.outcome(unbroken_of[make])


def test_a_run_stopped_at_n_is_the_run_of_n(tmp_path: Path) -> None:
    for stop in (3, 7):
        run(on_table(), tmp_path / "on", max_steps=stop)
    run(on_table(), tmp_path / "at once", max_steps=7)
    assert h.outcome(tmp_path / "on") == h.outcome(tmp_path / "at once")


def test_a_run_that_has_ended_is_left_alone(unbroken: Path) -> None:
    files, times = h.contents(unbroken), h.stamps(unbroken)
    for options in ({}, {"max_steps": 100}, {"max_steps": 5}, {"checkpoint_every": 1}):
        found = run(on_table(), unbroken, **options)
        assert found.best_within().log_prob == h.read(unbroken / "arch.json")["log_prob"]
        assert h.contents(unbroken) == files
        assert h.stamps(unbroken) == times


# -------------------------------------------------------------------------------------------------------------- killed


@pytest.mark.parametrize(
    ("make", "at", "every"),
    [
        *((on_table, at, every) for at, every in ((2, 3), (3, 3), (8, 3), (5, 4), (11, 5), (0, 1))),
        (on_supernet, 8, 3),
    ],
)
def test_a_killed_run_goes_on_from_its_checkpoint(
    make: Make, at: int, every: int, unbroken_of: dict[Make, Path], tmp_path: Path
) -> None:
    """The logs are ahead of the checkpoint, by whole steps and by half a line; (2, 3) and (0, 1) have no checkpoint."""
    folder = tmp_path / "run"
    die(make, folder, at, every)
    assert (folder / "checkpoint.pt").exists() == (at >= every)
    assert not (folder / "result.json").exists()
    for name in ("metrics.jsonl", "distribution.jsonl"):
        with (folder / name).open("ab") as file:
            file.write(b'{"step": 99, "epoch"')
    (folder / ".checkpoint.pt.tmp").write_bytes(b"half a checkpoint")
    (folder / ".arch.json.tmp").write_bytes(b"{")
    run(make(), folder, checkpoint_every=every)
    assert h.outcome(folder) == h.outcome(unbroken_of[make])


def test_a_run_that_goes_on_counts_as_begun_until_it_ends_again(unbroken: Path, tmp_path: Path) -> None:
    """Stopped at 5, so ended; gone on and killed at 8: result.json of step 5 must not say that all is done."""
    folder = tmp_path / "run"
    run(on_table(), folder, max_steps=5)
    assert (folder / "result.json").exists()
    die(on_table, folder, 8, 3)
    assert not (folder / "result.json").exists()
    run(on_table(), folder)
    assert h.outcome(folder) == h.outcome(unbroken)


@pytest.mark.parametrize("damage", ["gone", "empty", "half", "last byte", "other file"])
def test_the_checkpoint_before_serves_where_the_last_is_damaged(damage: str, unbroken: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    die(on_table, folder, 7, 3)
    last = folder / "checkpoint.pt"
    content = last.read_bytes()
    if damage == "gone":  # killed between the two renames
        last.unlink()
    else:
        half = content[: len(content) // 2]
        last.write_bytes({"empty": b"", "half": half, "last byte": content[:-1]}.get(damage, b"no checkpoint\n" * 99))
    assert torch.load(folder / "checkpoint-before.pt", weights_only=True)["job"]["steps_done"] == 3
    run(on_table(), folder)
    assert h.outcome(folder) == h.outcome(unbroken)


@pytest.mark.parametrize("name", ["result.json", "arch.json"])
def test_a_run_killed_while_it_left_its_files_leaves_them_anew(name: str, unbroken: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(on_table(), folder)
    (folder / "result.json").unlink()
    (folder / name).unlink(missing_ok=True)
    run(on_table(), folder)
    assert h.outcome(folder) == h.outcome(unbroken)


def test_a_damaged_checkpoint_never_takes_the_place_of_the_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ "At every moment one of the two is whole": also when the last is damaged and the disk is full at the next."""
    folder = tmp_path / "run"
    die(on_table, folder, 7, 3)
    (folder / "checkpoint.pt").write_bytes(b"damaged")
    with monkeypatch.context() as patch:

        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(os, "fsync", full)
        with pytest.raises(RunFolderError, match="No space left"):
            run(on_table(), folder, checkpoint_every=3)
    run(on_table(), folder)
    assert (folder / "result.json").exists()


def test_no_whole_checkpoint_is_one_clear_error(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    die(on_table, folder, 7, 3)
    for name in ("checkpoint.pt", "checkpoint-before.pt"):
        (folder / name).write_bytes(b"garbage")
    before = h.contents(folder)
    with pytest.raises(RunFolderError, match="checkpoint"):
        run(on_table(), folder)
    assert h.contents(folder) == before


def test_logs_that_were_lost_are_one_clear_error(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(on_table(), folder, max_steps=5)
    metrics = folder / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-10])
    before = h.contents(folder)
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl"):
        run(on_table(), folder)
    assert h.contents(folder) == before


# ------------------------------------------------------------------------------------------------------------- signals


@pytest.mark.parametrize(("number", "kind", "code"), [(signal.SIGINT, KeyboardInterrupt, None), (15, SystemExit, 143)])
def test_a_signal_lets_the_step_end_and_a_checkpoint_be_written(
    number: int, kind: type[BaseException], code: int | None, unbroken: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    job = Dying(on_table(), 6, lambda: os.kill(os.getpid(), number))
    with pytest.raises(kind) as leaving:
        run(job, folder)
    assert getattr(leaving.value, "code", None) == code
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["job"]["steps_done"] == 7
    assert len(h.json_lines(folder / "metrics.jsonl")) == 7
    assert not (folder / "result.json").exists()
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    run(on_table(), folder)
    assert h.outcome(folder) == h.outcome(unbroken)


def test_a_second_signal_acts_at_once(unbroken: Path, tmp_path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)

    folder = tmp_path / "run"
    with pytest.raises(SystemExit) as leaving:
        run(Dying(on_table(), 6, twice), folder, checkpoint_every=4)
    assert leaving.value.code == 143
    assert len(h.json_lines(folder / "metrics.jsonl")) == 6
    run(on_table(), folder)
    assert h.outcome(folder) == h.outcome(unbroken)


def test_it_runs_outside_the_main_thread(unbroken: Path, tmp_path: Path) -> None:
    """Where Python lets nobody handle signals."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            run(on_table(), tmp_path / "run")
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors
    assert h.outcome(tmp_path / "run") == h.outcome(unbroken)


@pytest.mark.parametrize("wrong", [{"max_steps": 0}, {"checkpoint_every": 0}, {"max_steps": -3}])
def test_it_refuses_numbers_out_of_range_before_it_makes_a_folder(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 step or more"):
        run(on_table(), tmp_path / "run", **wrong)
    assert not (tmp_path / "run").exists()

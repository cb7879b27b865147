"""SIGKILL at any moment: never a corrupt folder, few steps repeated, and the end is that of an unbroken run."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import helpers_run as h
import pytest
import torch
from dying import (
    EVERY,
    check_folder,
    ended,
    forked,
    kill_itself,
    killed_at_random,
    on_supernet,
    on_table,
    on_training,
    run,
)

import fpnas
from fpnas.errors import RunFolderError

Make = Callable[[], fpnas.Search | fpnas.Training]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Make], tuple[Path, float]]:
    """A folder with `unbroken` in it, and how many seconds that run took in a process like those that are killed."""
    known: dict[Make, tuple[Path, float]] = {}

    def of(make: Make) -> tuple[Path, float]:
        if make not in known:
            folder = tmp_path_factory.mktemp("killed")
            run(make(), folder / "warm", max_steps=1)  # what torch imports late is then there in all that are forked
            started = time.monotonic()
            assert ended(forked(lambda: run(make(), folder / "unbroken"))) == 0
            known[make] = folder, time.monotonic() - started
        return known[make]

    return of


@pytest.mark.parametrize("make", [on_table, on_training])
def test_killed_at_two_random_moments(make: Make, unbroken: Any) -> None:
    folder, seconds = unbroken(make)
    killed_at_random(make, folder, kills=2, seconds=seconds, seed=os.getpid())


@pytest.mark.soak
@pytest.mark.parametrize(("make", "kills"), [(on_table, 100), (on_supernet, 100), (on_training, 20)])
def test_killed_at_many_random_moments(make: Make, kills: int, unbroken: Any) -> None:
    folder, seconds = unbroken(make)
    hits = killed_at_random(make, folder, kills=kills, seconds=seconds, seed=0)
    assert hits > kills // 5, "most moments must lie between the first checkpoint and the end"


# What the run does when the process is gone: the call, whose file's path contains what, and the how many-th of these.
MOMENTS = {
    "the first file is half-written": ("fsync", "run.json", 1),
    "before run.json has its name": ("replace", "run.json", 1),
    "the logs aren't all on disk": ("fsync", "/distribution.jsonl", 1),
    "before the first checkpoint has its name": ("replace", "/.checkpoint-next.pt", 1),
    "the second checkpoint is half-written": ("fsync", ".checkpoint-next.pt", 2),
    "the second checkpoint is still called next": ("replace", "/checkpoint.pt", 1),
    "between the two renames": ("replace", "/.checkpoint-next.pt", 2),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_within_a_write(moment: str, unbroken: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, part, at = MOMENTS[moment]
    folder, calls, real = tmp_path / "run", [0], getattr(os, name)

    def dying(*given: Any) -> None:
        path = os.readlink(f"/proc/self/fd/{given[0]}") if name == "fsync" else str(given[0])
        calls[0] += part in path
        if part in path and calls[0] == at:
            if name == "fsync" and path.endswith(".tmp"):
                os.truncate(path, os.stat(path).st_size // 2)
            kill_itself()
        real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(os, name, dying)
        assert ended(forked(lambda: run(on_table(), folder))) == -signal.SIGKILL
    check_folder(folder)
    run(on_table(), folder)
    assert h.outcome(folder) == h.outcome(unbroken(on_table)[0] / "unbroken")
    assert not (folder / ".checkpoint-next.pt").exists()


def test_a_name_and_what_a_checkpoint_counts_on_are_on_disk_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where power fails: after each rename its folder is synced, before each checkpoint the logs."""
    told: list[str] = []
    replace, fsync = os.replace, os.fsync

    def note_replace(source: Path, target: Path) -> None:
        told.append(f"name {Path(target).name}")
        replace(source, target)

    def note_fsync(descriptor: int) -> None:
        told.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")
        fsync(descriptor)

    monkeypatch.setattr(os, "replace", note_replace)
    monkeypatch.setattr(os, "fsync", note_fsync)
    run(on_table(), tmp_path / "run", max_steps=6)
    named = [number for number, what in enumerate(told) if what.startswith("name ")]
    assert {told[number + 1] for number in named} == {"sync run"}
    assert {told[number][5:] for number in named} >= {"run.json", "checkpoint.pt", "arch.json", "result.json"}
    first = told.index("sync ..checkpoint-next.pt.tmp")
    second = told.index("sync ..checkpoint-next.pt.tmp", first + 1)
    assert told[first - 1] == "sync metrics.jsonl"
    assert told[second - 2 : second] == ["sync metrics.jsonl", "sync distribution.jsonl"]


def test_between_the_renames_the_newest_checkpoint_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No step is repeated, though checkpoint.pt isn't there."""
    run(on_table(), tmp_path / "run", max_steps=9)
    (tmp_path / "run" / "checkpoint.pt").rename(tmp_path / "run" / ".checkpoint-next.pt")
    job = on_table()
    monkeypatch.setattr(job, "step", lambda: pytest.fail("an older checkpoint was loaded"))
    run(job, tmp_path / "run", max_steps=9)
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["job"]["steps_done"] == 9
    assert not (tmp_path / "run" / ".checkpoint-next.pt").exists()


@pytest.mark.parametrize("at", [8, 9, 10])
def test_killed_at_theta(at: int, unbroken: Any, tmp_path: Path) -> None:
    """In the steps before, at and after the one in which the distribution is joined."""
    folder = tmp_path / "run"

    def work() -> None:
        job = on_table()
        step = job.strategy.step

        def dying(*given: Any) -> Any:
            told = step(*given)
            if job.steps_done == at:
                kill_itself()
            return told

        job.strategy.step = dying  # pyright: ignore[reportAttributeAccessIssue]
        run(job, folder)

    assert ended(forked(work)) == -signal.SIGKILL
    assert check_folder(folder) == at // EVERY * EVERY
    run(on_table(), folder)
    assert h.outcome(folder) == h.outcome(unbroken(on_table)[0] / "unbroken")


def test_the_lock_of_a_killed_process_is_no_lock(tmp_path: Path) -> None:
    """While it lives the folder is in use; once it is killed the file .lock lies there and stops nobody."""
    folder = tmp_path / "run"
    reading, writing = os.pipe()

    def work() -> None:
        class Waiting:
            def __getattr__(self, name: str) -> Any:
                return getattr(job, name)

            def step(self) -> Any:
                if job.steps_done == 4:
                    os.write(writing, b"x")
                    time.sleep(600)
                return job.step()

        job = on_table()
        run(Waiting(), folder)

    child = forked(work)
    try:
        assert os.read(reading, 1) == b"x"
        with pytest.raises(RunFolderError, match="in use"):
            run(on_table(), folder)
    finally:
        os.kill(child, signal.SIGKILL)
        ended(child)
    assert (folder / ".lock").exists()
    run(on_table(), folder, max_steps=8)
    assert len(h.json_lines(folder / "metrics.jsonl")) == 8


def test_a_folder_that_is_removed_while_it_runs_is_one_clear_error(tmp_path: Path) -> None:
    job = on_table()
    step = job.strategy.step

    def removing(*given: Any) -> Any:
        if job.steps_done == 4:
            shutil.rmtree(tmp_path / "run")
        return step(*given)

    job.strategy.step = removing  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(RunFolderError, match=r"a folder that can be written, got .*No such file or directory"):
        run(job, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run(on_table(), tmp_path / "run", max_steps=4)


@pytest.mark.parametrize("limit", ["checkpoint", "log"])
def test_a_disk_that_is_full_is_one_clear_error_and_the_last_checkpoint_loads(
    limit: str, unbroken: Any, tmp_path: Path
) -> None:
    """The system itself refuses to write: files may have only so many bytes, fewer than the checkpoint or a log."""
    folder = tmp_path / "run"
    run(on_table(), folder, max_steps=3)
    sizes = {name: (folder / name).stat().st_size for name in ("checkpoint.pt", "metrics.jsonl")}
    most = sizes["checkpoint.pt"] // 2 if limit == "checkpoint" else sizes["metrics.jsonl"] + 50
    assert limit == "log" or most > 2 * sizes["metrics.jsonl"]

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        with pytest.raises(RunFolderError, match="make room"):
            run(on_table(), folder, checkpoint_every=EVERY if limit == "checkpoint" else 100)

    assert ended(forked(work)) == 0
    assert check_folder(folder) == 3
    run(on_table(), folder)
    assert h.outcome(folder) == h.outcome(unbroken(on_table)[0] / "unbroken")


@pytest.mark.soak
def test_a_full_file_system(unbroken: Any, tmp_path: Path) -> None:
    """A tmpfs of 192 KiB with the run in it; needs the right to mount."""
    place = tmp_path / "small"
    place.mkdir()
    if os.system(f"mount -t tmpfs -o size=192k tmpfs {place} 2>/dev/null") != 0:
        pytest.skip("this machine lets nobody mount a file system")
    try:
        folder = place / "run"
        run(on_table(), folder, max_steps=6)
        (place / "filler").write_bytes(b"x" * (int(os.statvfs(place).f_bavail) * os.statvfs(place).f_bsize - 4096))
        with pytest.raises(RunFolderError, match="No space left on device"):
            run(on_table(), folder)
        assert check_folder(folder) >= 6
        (place / "filler").unlink()
        shutil.copytree(folder, tmp_path / "run", ignore=lambda *_: [".lock"])
        run(on_table(), tmp_path / "run")
        assert h.outcome(tmp_path / "run") == h.outcome(unbroken(on_table)[0] / "unbroken")
    finally:
        os.system(f"umount {place}")


# -------------------------------------------------------------------------------------- checkpoints that others made


class Evil:
    """What a pickle would run."""

    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/fpnas-was-here",)


@pytest.mark.parametrize(
    "state",
    [
        {"job": Evil(), "log_sizes": {}, "seconds": 0.0},
        {"job": {}, "log_sizes": {"../precious": 0}, "seconds": 0.0},
        {"job": {}, "log_sizes": {"metrics.jsonl": -1}, "seconds": 0.0},
        {"job": {}, "log_sizes": {"metrics.jsonl": "many"}, "seconds": 0.0},
        {"job": {}, "log_sizes": {}, "seconds": 0.0},
        {"job": {"steps_done": 3}, "log_sizes": {}, "seconds": 0.0},
        {"job": [], "log_sizes": {}, "seconds": 0.0},
        {"job": {}},
        [1, 2],
        torch.zeros(3),
    ],
    ids=["code", "a way out", "negative", "text", "empty job", "half a job", "list", "parts", "a list", "a tensor"],
)
def test_a_checkpoint_that_is_none_of_ours_is_refused(state: Any, tmp_path: Path) -> None:
    """Nothing of it is run, no file outside the folder is touched, and the folder stays as it was."""
    folder = tmp_path / "run"
    run(on_table(), folder, max_steps=3)
    (folder / "checkpoint-before.pt").unlink(missing_ok=True)
    (tmp_path / "precious").write_text("precious")
    torch.save(state, folder / "checkpoint.pt")
    (folder / "result.json").unlink()
    before = h.contents(tmp_path)
    with pytest.raises(RunFolderError, match="checkpoint"):
        run(on_table(), folder)
    assert h.contents(tmp_path) == before
    assert not Path("/tmp/fpnas-was-here").exists()

"""A run's folder is refused, and nothing in it changed, where it isn't this run's, is in use, or can't be written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import helpers_run as h
import pytest
from helpers_run import run, table_search
from rich.console import Console

import fpnas
from fpnas.errors import RunFolderError
from fpnas.runner.board import Board
from fpnas.runner.folder import finite
from fpnas.runner.progress import LineProgress


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A run that was stopped half-way."""
    run(table_search(), tmp_path / "run", max_steps=4)
    return tmp_path / "run"


def refused(job: Any, folder: Path, words: str, **options: Any) -> None:
    """It is refused with these words, and every file is as it was."""
    root = folder if folder.is_dir() else folder.parent
    files, times = h.contents(root), h.stamps(root)
    names = {path.name for path in root.iterdir()} - {".lock"}
    with pytest.raises(RunFolderError, match=words) as refusal:
        run(job, folder, **options)
    assert "\n" not in str(refusal.value)
    assert (h.contents(root), h.stamps(root)) == (files, times)
    assert {path.name for path in root.iterdir()} - {".lock"} == names


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"epochs": 3}, {"lam": 0.5}, {"join_at": 0.9}, {"lr": 0.3}, {"warmup": 0.0}, {"temperature": "mean"}],
)
def test_other_settings_are_another_run(other: dict[str, Any], begun: Path) -> None:
    (name,) = other
    shown = {"lr": "alpha_lr"}.get(name, name)
    refused(table_search(**other), begun, f"{shown} .*choose another --out", max_steps=9)
    run(table_search(), begun)
    assert len(h.json_lines(begun / "metrics.jsonl")) == 10


def test_settings_of_the_caller_count_as_well(tmp_path: Path) -> None:
    run(table_search(), tmp_path / "run", max_steps=4, settings={"data_folder": "a"})
    refused(table_search(), tmp_path / "run", "data_folder", settings={"data_folder": "b"})
    refused(table_search(), tmp_path / "run", "data_folder")


def test_a_training_is_no_search(begun: Path) -> None:
    data = h.made_up()
    supernet = h.small_supernet()
    network = fpnas.from_scratch(supernet, supernet.arch)
    refused(fpnas.Training(network, data, epochs=1), begun, "a search in")


@pytest.mark.parametrize("name", ["notes.txt", "metrics.jsonl", "checkpoint.pt", ".hidden"])
def test_a_folder_with_other_files_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("precious")
    refused(table_search(), tmp_path / "mine", name.replace(".", r"\."))
    assert not (tmp_path / "mine" / ".lock").exists()


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    run(table_search(), tmp_path / "run")
    assert (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"format": 99, "kind": "search", "settings": {}}', '{"format": 1}', "\x00\xff"]
)
def test_a_run_json_that_it_cannot_read_is_refused(content: str, begun: Path) -> None:
    (begun / "run.json").write_text(content, encoding="latin-1")
    refused(table_search(), begun, r"expected .*, got .*; ")


def test_one_process_at_a_time(begun: Path) -> None:
    """Another process holds the lock; when it lets go, the run goes on."""
    code = (
        "import sys, filelock\n"
        "with filelock.FileLock(sys.argv[1], timeout=0):\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(begun / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        refused(table_search(), begun, "in use")
    finally:
        holder.communicate(timeout=60)
    run(table_search(), begun)
    assert len(h.json_lines(begun / "metrics.jsonl")) == 10


@pytest.mark.parametrize("place", ["file/run", "file/a/b", "n" * 300])
def test_a_place_where_no_folder_can_be_is_one_clear_error(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    with pytest.raises(RunFolderError, match=r"can be written|for the run"):
        run(table_search(), tmp_path / place)
    assert h.contents(tmp_path).keys() == {"file"}


@pytest.mark.skipif(os.geteuid() == 0, reason="rights don't bind root")
def test_a_folder_without_rights_is_one_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RunFolderError, match="can be written"):
            run(table_search(), tmp_path / "run")
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("good_writes", [0, 1, 2, 3, 4])
def test_a_full_disk_is_one_clear_error_and_the_run_goes_on_later(
    good_writes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails at run.json, at the first or the second checkpoint, or at the files at the end."""
    run(table_search(), tmp_path / "unbroken", checkpoint_every=5)
    left = [good_writes]
    sync = os.fsync

    def full(file: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        sync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunFolderError, match="No space left on device"):
            run(table_search(), tmp_path / "run", checkpoint_every=5)
    assert not list((tmp_path / "run").glob("*.tmp"))
    assert not (tmp_path / "run" / "result.json").exists()
    run(table_search(), tmp_path / "run", checkpoint_every=5)
    assert h.outcome(tmp_path / "run") == h.outcome(tmp_path / "unbroken")


def test_json_has_no_infinities() -> None:
    value = {"a": [1.5, float("inf"), (float("nan"), -float("inf"), True, None, 3)], "b": {"c": float("nan")}}
    assert json.loads(json.dumps(finite(value), allow_nan=False)) == {
        "a": [1.5, None, [None, None, True, None, 3]],
        "b": {"c": None},
    }


def test_progress_tells_epoch_step_entropy_k_losses_cost_and_time_left(tmp_path: Path) -> None:
    with (tmp_path / "shown").open("w") as file:
        progress = LineProgress(Console(file=file, width=200))
        job = fpnas.methods.fpnas(h.TableEvaluator(5), fpnas.Budget(h.TableCost(), 60.0), **h.PINNED, epochs=2)
        fpnas.run(job, tmp_path / "run", progress=progress)
    first, last = (tmp_path / "shown").read_text().splitlines()
    for word in ("epoch 1", "step 2/10", "entropy 4.97 nats", "K 2", "train ", "cost ", "factorised", "0 s left"):
        assert word in first
    for word in ("epoch 2", "step 10/10", "val ", "joint"):
        assert word in last


def test_the_first_step_does_not_count_for_the_time_left() -> None:
    board = Board("search", {}, 102)
    board.add({"step": 0, "seconds": 60.0})
    assert (board.paced, board.seconds_a_step) == (False, 60.0)
    for step in (1, 2):
        board.add({"step": step, "seconds": float(step)})
    assert (board.paced, board.seconds_a_step) == (True, 1.5)

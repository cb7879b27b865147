"""Watching a run: whole lines as they come, however they are written; the board that is drawn of them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import helpers_run as h
import pytest
from rich.console import Console

import fpnas
from fpnas.errors import RunFolderError
from fpnas.runner.board import Board, sparkline
from fpnas.runner.progress import LineProgress
from fpnas.runner.watch import Follower, follow


def test_whole_lines_as_they_come(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    follower = Follower(log)
    assert follower.lines() == []
    text = "".join(json.dumps({"step": step, "note": "ä" * step}, ensure_ascii=False) + "\n" for step in range(9))
    seen: list[int] = []
    for start in range(0, len(text.encode()), 7):
        with log.open("ab") as file:
            file.write(text.encode()[start : start + 7])
        seen += [line["step"] for line in follower.lines()]
    assert seen == list(range(9))
    assert follower.lines() == []


def test_a_log_that_was_cut_back_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step}) + "\n" for step in range(6)]
    log.write_text("".join(lines))
    follower = Follower(log)
    assert [line["step"] for line in follower.lines()] == list(range(6))
    log.write_text("".join(lines[:3]))
    assert follower.lines() == []
    log.write_text("".join(lines[:4]))
    assert [line["step"] for line in follower.lines()] == [3]


def test_what_is_no_step_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'\xff\n[]\n{"step": "x"}\n\n{"step": 1}\n{"st')
    assert Follower(tmp_path / "metrics.jsonl").lines() == [{"step": 1}]


def test_it_ends_with_the_run_and_not_before(tmp_path: Path) -> None:
    """The run is written step by step while it is followed: each pause brings the next of its files."""
    (tmp_path / "run.json").write_text("{}")
    log = tmp_path / "metrics.jsonl"
    acts = [lambda n=n: log.open("a").write(json.dumps({"step": n}) + "\n") for n in range(4)]
    acts.insert(2, lambda: 0)

    def at_the_end() -> None:
        log.open("a").write(json.dumps({"step": 4}) + "\n")
        (tmp_path / "result.json").write_text("{}")

    rest = iter([*acts, at_the_end])
    told = list(follow(tmp_path, sleep=lambda _: next(rest)() and None))
    assert [line["step"] for line in told if line is not None] == [0, 1, 2, 3, 4]
    assert told.count(None) == 6


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(RunFolderError, match="the folder of a run"):
            next(follow(folder))


def test_watch_from_another_process(tmp_path: Path) -> None:
    """It is started when the run has begun, sees it end, and says so in plain lines."""
    job = h.table_search(epochs=40)

    class Slowly(LineProgress):
        watcher: subprocess.Popen[str] | None = None

        def stepped(self, line: dict[str, Any]) -> None:
            if self.watcher is None:
                command = [sys.executable, "-m", "fpnas", "watch", str(tmp_path / "run"), "--every", "0.05"]
                self.watcher = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            time.sleep(0.005)

    slowly = Slowly(Console(file=io.StringIO()))
    fpnas.run(job, tmp_path / "run", progress=slowly)
    assert slowly.watcher is not None
    told, _ = slowly.watcher.communicate(timeout=60)
    assert slowly.watcher.returncode == 0, told
    *_, last, end = told.splitlines()
    assert "step 200/200" in last
    assert end == "the run has ended"


def drawn(board: Board, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=False)
    console.print(board.draw(**options))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_board_tells_where_a_search_stands() -> None:
    board = Board("search", {"epochs": 4, "target": 2.5e6, "cost": "FLOPs"}, 100)
    assert "first step is under way" in drawn(board)
    for step in range(50):
        line = {"step": step, "epoch": step // 25, "entropy": 20 - 0.1 * step, "num_samples": 5, "train_loss": 1.5}
        board.add({**line, "val_loss": None, "cost_mean": 3e6, "joined": False, "seconds": 2.0})
    board.leader = {"group1.kernel": 3, "group1.act": "relu", "c": 2}, 1.946e6
    text = drawn(board)
    for words in (
        "epoch 2 of 4", "step 50/100", "1 min 40 s left", "15.10 nats", "factorised", "1.500", "3 M",
        "target 2.5 M FLOPs", "the best network so far, 1.946 M", "kernel 3, act relu", "▁",
    ):  # fmt: skip
        assert words in text, words
    assert "validation" not in text
    assert not any(char in drawn(board, unicode=False) for char in "▁▂▃▄▅▆▇█")


def test_the_live_board_in_a_terminal(tmp_path: Path) -> None:
    file = io.StringIO()
    console = Console(file=file, width=100, height=40, force_terminal=True, color_system=None)
    job = fpnas.methods.fpnas(h.TableEvaluator(5), fpnas.Budget(h.TableCost(), 60.0), **h.PINNED, epochs=2)
    fpnas.run(job, tmp_path / "run", progress=LineProgress(console))
    assert "step 10/10" in file.getvalue()
    assert "the best network so far" in file.getvalue()


def test_sparklines() -> None:
    assert sparkline([1.0, 2.0, 3.0]) == "▁▅█"
    assert sparkline([5.0] * 4) == "▁▁▁▁"
    assert len(sparkline(list(map(float, range(1000))))) == 20

"""`fpnas watch`: follows a run from another terminal."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from fpnas.runner.board import Board
from fpnas.runner.folder import read_json
from fpnas.runner.progress import DRAWN_EVERY_SECONDS, PLAIN_EVERY_SECONDS, can_draw, describe
from fpnas.runner.watch import follow

QUIET_SECONDS = 60.0
"""Without a step, after which it is said for how long there was none."""


def watch(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a search or a training.")],
    every: Annotated[float, typer.Option("--every", min=0.05, help="Seconds between looks at the log.")] = 1.0,
) -> None:
    """Follow a run until it ends, from another terminal; Ctrl-C leaves the run alone."""
    steps = follow(run, every=every)
    first = next(steps, None)  # refuses a folder without a run before anything is shown
    facts = read_json(run / "run.json")
    settings: Any = facts.get("settings")
    total = facts.get("steps_total")
    known = total if isinstance(total, int) else None
    board = Board(str(facts.get("kind", "run")), settings if isinstance(settings, dict) else {}, known)
    console = Console()
    last, came, shown = first, time.monotonic(), -PLAIN_EVERY_SECONDS
    if first is not None:
        board.add(first)
    with Live(board.draw(), console=console, auto_refresh=False) if console.is_terminal else _Quiet() as live:
        for line in steps:
            now = time.monotonic()
            if line is not None:
                board.add(line)
                last, came = line, now
            quiet = now - came
            if isinstance(live, Live):
                if line is None or now - shown >= DRAWN_EVERY_SECONDS:
                    shown = now
                    live.update(board.draw(can_draw(console), _note(quiet)), refresh=True)
            elif line is not None and now - shown >= PLAIN_EVERY_SECONDS:
                shown = now
                _print(console, board, line)
        if isinstance(live, Live):
            live.update(board.draw(can_draw(console), "the run has ended"), refresh=True)
        elif last is not None:
            _print(console, board, last)
            console.print("the run has ended", highlight=False)


class _Quiet:
    """In place of a live view where there is no terminal."""

    def __enter__(self) -> _Quiet:
        return self

    def __exit__(self, *_: object) -> None: ...


def _print(console: Console, board: Board, line: dict[str, Any]) -> None:
    steps = board.steps or line["step"] + 1
    text = describe(line, steps, board.seconds_a_step)
    console.print(text, highlight=False, soft_wrap=True)


def _note(quiet: float) -> str:
    return f"no step for {quiet:.0f} s: was it stopped?" if quiet > QUIET_SECONDS else ""

"""Showing a run while it goes: a live board in a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.live import Live

from fpnas.job import Job
from fpnas.runner.board import Board
from fpnas.search import SearchResult
from fpnas.text import counted, duration, percent, short

PLAIN_EVERY_SECONDS = 10.0
DRAWN_EVERY_SECONDS = 0.25
LEADER_EVERY_SECONDS = 2.0


class Progress:
    """What the runner tells while it runs; this one shows nothing, and subclasses what they like."""

    def shown(self, job: Job[object], last: int) -> AbstractContextManager[None]:
        """A context in which steps are shown, up to step `last`."""
        del job, last
        return nullcontext()

    def stepped(self, line: dict[str, Any]) -> None:
        """A step's metrics and seconds."""

    def already_ended(self, job: Job[object], path: Path) -> None:
        """The folder's run had ended before."""


class Screen:
    """A run's steps on a console; a context manager.

    Args:
        console: with a terminal behind it or without.
        kind: "search" or "train".
        settings: of the run.
        steps: of the run; None where they aren't known.
    """

    def __init__(self, console: Console, kind: str, settings: Mapping[str, Any], steps: int | None) -> None:
        self.board = Board(kind, settings, steps)
        self._console, self._drawn_at = console, -PLAIN_EVERY_SECONDS
        self._line: dict[str, Any] | None = None
        self.live = Live(self.board.draw(), console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Screen:
        if self.live is not None:
            self.live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()

    def add(self, line: dict[str, Any]) -> None:
        """A line of metrics.jsonl."""
        self.board.add(line)
        self._line = line

    @property
    def due(self) -> bool:
        """Whether it is time to draw anew."""
        every = PLAIN_EVERY_SECONDS if self.live is None else DRAWN_EVERY_SECONDS
        return time.monotonic() - self._drawn_at >= every

    def draw(self, note: str = "") -> None:
        """Draws the board with a note below it, or prints the last step's line with the note before it."""
        self._drawn_at = time.monotonic()
        if self.live is not None:
            # A sparkline needs a terminal that knows its letters.
            unicode = self._console.encoding.lower().startswith("utf")
            self.live.update(self.board.draw(unicode, note), refresh=True)
        elif self._line is not None:
            told = describe(self._line, self.board.steps or self._line["step"] + 1, self.board.seconds_a_step)
            self.say(f"[{note}]  {told}" if note else told)

    def say(self, text: str) -> None:
        """Prints a line as it is."""
        self._console.print(text, highlight=False, soft_wrap=True)


class LineProgress(Progress):
    """Epoch, step, entropy, K, losses, cost and time left; in a terminal also how they moved and what leads.

    Args:
        console: where it is shown.
        stage: what the run is called where it is a part of something longer.
        after: seconds that the rest of that will take; None where nobody knows yet.
    """

    def __init__(self, console: Console, stage: str = "", after: float | None = 0.0) -> None:
        self._console, self._stage, self._after = console, stage, after
        self._screen: Screen | None = None
        self._job: Job[object] | None = None
        self._last, self._led = 0, -LEADER_EVERY_SECONDS

    @contextmanager
    def shown(self, job: Job[object], last: int) -> Generator[None]:
        """Opens the screen."""
        self._job, self._last = job, last
        with Screen(self._console, job.kind, job.settings(), last) as self._screen:
            yield

    def stepped(self, line: dict[str, Any]) -> None:
        """Adds the step to the screen, and draws where it is time."""
        screen = self._screen
        assert screen is not None
        screen.add(line)
        at_end = line["step"] + 1 >= self._last
        if not (at_end or (screen.due and screen.board.paced)):
            return
        if screen.live is not None and (at_end or time.monotonic() - self._led >= LEADER_EVERY_SECONDS):
            self._led = time.monotonic()
            screen.board.leader = _leader(self._job)
        screen.draw(self._note((self._last - line["step"] - 1) * screen.board.seconds_a_step))

    def _note(self, left: float) -> str:
        """Which stage it is, and what is left of all."""
        if self._after is None or not self._stage:
            return self._stage
        return f"{self._stage}, {duration(round(left + self._after))} left in all"

    def already_ended(self, job: Job[object], path: Path) -> None:
        """Says so."""
        text = f"the {job.kind} in {path} has ended after {counted(job.steps_done, 'step')}; nothing to do"
        self._console.print(text, highlight=False, soft_wrap=True)


def _leader(job: Job[object] | None) -> tuple[dict[str, Any], float | None] | None:
    """The best network of a search so far, and its cost; not the answer within a budget, which can take seconds."""
    if job is None or job.kind != "search":  # a training's result takes long as well
        return None
    found = job.result()
    if not isinstance(found, SearchResult):
        return None
    if found.budget is None:
        return dict(found.mode), None
    cost = found.budget.cost
    return dict(found.mode), float(cost(torch.tensor([cost.space.encode(found.mode)])))


def describe(line: Mapping[str, Any], last: int, seconds_a_step: float) -> str:
    """The progress line of a step's metrics."""
    shown = {
        "entropy": "entropy {:.2f} nats",
        "num_samples": "K {}",
        "train_loss": "train {:.3f}",
        "val_loss": "val {:.3f}",
    }
    parts = [f"epoch {line['epoch'] + 1}", f"step {line['step'] + 1}/{last}"]
    parts += [form.format(line[name]) for name, form in shown.items() if line.get(name) is not None]
    if line.get("accuracy") is not None:
        parts.append(f"accuracy {percent(line['accuracy'])}")
    if line.get("cost_mean") is not None:
        parts.append(f"cost {short(line['cost_mean'])}")
    parts.append("joint" if line.get("joined") else "factorised" if "joined" in line else f"lr {line.get('lr', 0):.3f}")
    left = round((last - line["step"] - 1) * seconds_a_step)
    parts.append(f"{duration(left)} left")
    return "  ".join(parts)

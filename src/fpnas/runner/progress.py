"""Showing a run while it goes, on stderr: a live board in a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.live import Live

from fpnas.job import Job
from fpnas.runner.board import Board, amount, clock
from fpnas.search import SearchResult

PLAIN_EVERY_SECONDS = 10.0
DRAWN_EVERY_SECONDS = 0.25
LEADER_EVERY_SECONDS = 2.0


class Progress(Protocol):
    """What the runner tells while it runs."""

    def shown(self, job: Job, last: int) -> Any:
        """A context in which steps are shown, up to step `last`."""
        ...

    def stepped(self, line: dict[str, Any]) -> None:
        """A step's metrics and seconds."""
        ...

    def already_ended(self, job: Job, path: Path) -> None:
        """The folder's run had ended before."""
        ...


class Silent:
    """Shows nothing."""

    @contextmanager
    def shown(self, job: Job, last: int) -> Generator[None]:
        del job, last
        yield

    def stepped(self, line: dict[str, Any]) -> None:
        del line

    def already_ended(self, job: Job, path: Path) -> None:
        del job, path


class LineProgress:
    """Epoch, step, entropy, K, losses, cost and time left; in a terminal also how they moved and what leads."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._board = Board("search", {}, None)
        self._last = 0
        self._job: Job | None = None
        self._live: Live | None = None
        self._shown = self._led = -PLAIN_EVERY_SECONDS

    @contextmanager
    def shown(self, job: Job, last: int) -> Generator[None]:
        self._job, self._last = job, last
        self._board = Board(job.kind, job.settings(), last)
        if self._console.is_terminal:
            with Live(self._board.draw(), console=self._console, auto_refresh=False) as live:
                self._live = live
                yield
            self._live = None
        else:
            yield

    def stepped(self, line: dict[str, Any]) -> None:
        self._board.add(line)
        now = time.monotonic()
        every = PLAIN_EVERY_SECONDS if self._live is None else DRAWN_EVERY_SECONDS
        if now - self._shown < every and line["step"] + 1 < self._last:
            return
        self._shown = now
        if self._live is None:
            text = describe(line, self._last, self._board.seconds_a_step)
            self._console.print(text, highlight=False, soft_wrap=True)
        else:
            if now - self._led >= LEADER_EVERY_SECONDS or line["step"] + 1 == self._last:
                self._led = now
                self._board.leader = _leader(self._job)
            self._live.update(self._board.draw(can_draw(self._console)), refresh=True)

    def already_ended(self, job: Job, path: Path) -> None:
        text = f"the {job.kind} in {path} has ended after {job.steps_done} steps; nothing to do"
        self._console.print(text, highlight=False, soft_wrap=True)


def _leader(job: Job | None) -> tuple[dict[str, Any], float | None] | None:
    """What a search holds for the best and its cost; the answer within a budget can take seconds, a training's result
    takes long as well."""
    if job is None or job.kind != "search":
        return None
    found = job.result()
    if not isinstance(found, SearchResult):
        return None
    if found.budget is None:
        return dict(found.mode), None
    cost = found.budget.cost
    return dict(found.mode), float(cost(torch.tensor([cost.space.encode(found.mode)])))


def can_draw(console: Console) -> bool:
    """Whether the terminal's encoding has sparklines."""
    return console.encoding.lower().startswith("utf")


def progress_for_terminal() -> Progress:
    """Progress on stderr, live where that is a terminal."""
    return LineProgress(Console(file=sys.stderr))


def describe(line: dict[str, Any], last: int, seconds_a_step: float) -> str:
    """The progress line of a step's metrics."""
    parts = [f"epoch {line['epoch'] + 1}", f"step {line['step'] + 1}/{last}"]
    shown = (
        ("entropy", "entropy {:.2f} nats"),
        ("num_samples", "K {}"),
        ("train_loss", "train {:.3f}"),
        ("val_loss", "val {:.3f}"),
        ("accuracy", "accuracy {:.2f} %"),
    )
    parts += [form.format(line[name]) for name, form in shown if line.get(name) is not None]
    if line.get("cost_mean") is not None:
        parts.append(f"cost {amount(line['cost_mean'])}")
    parts.append("joint" if line.get("joined") else "factorised" if "joined" in line else f"lr {line.get('lr', 0):.3f}")
    parts.append(f"{clock((last - line['step'] - 1) * seconds_a_step)} left")
    return "  ".join(parts)

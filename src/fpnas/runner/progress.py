"""Showing a run while it goes: one live line in a terminal, a plain line every few seconds elsewhere, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.text import Text

from fpnas.job import Job

PLAIN_EVERY_SECONDS = 10.0


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
    """One line: step, epoch, entropy, K, losses, cost, time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None
        self._last = 0
        self._seconds: list[float] = []
        self._printed = -PLAIN_EVERY_SECONDS

    @contextmanager
    def shown(self, job: Job, last: int) -> Generator[None]:
        self._last, self._seconds = last, []
        if self._console.is_terminal:
            with Live(
                Text(f"{job.kind}: the first step is under way"), console=self._console, auto_refresh=False
            ) as live:
                self._live = live
                yield
            self._live = None
        else:
            yield

    def stepped(self, line: dict[str, Any]) -> None:
        self._seconds = [*self._seconds[-49:], line["seconds"]]
        text = describe(line, self._last, sum(self._seconds) / len(self._seconds))
        now = time.monotonic()
        if self._live is not None:
            self._live.update(Text(text, overflow="ellipsis", no_wrap=True), refresh=True)
        elif now - self._printed >= PLAIN_EVERY_SECONDS or line["step"] + 1 == self._last:
            self._printed = now
            self._console.print(text, highlight=False, soft_wrap=True)

    def already_ended(self, job: Job, path: Path) -> None:
        text = f"the {job.kind} in {path} has ended after {job.steps_done} steps; nothing to do"
        self._console.print(text, highlight=False, soft_wrap=True)


def progress_for_terminal() -> Progress:
    """Progress on stderr, live where that is a terminal."""
    return LineProgress(Console(file=sys.stderr))


def describe(line: dict[str, Any], last: int, seconds_a_step: float) -> str:
    """The progress line of a step's metrics."""
    parts = [f"epoch {line['epoch'] + 1}", f"step {line['step'] + 1}/{last}"]
    shown = (
        ("entropy", "entropy {:.2f} nats", 1),
        ("num_samples", "K {}", 1),
        ("train_loss", "train {:.3f}", 1),
        ("val_loss", "val {:.3f}", 1),
        # Milliseconds are few; FLOPs and parameters are millions.
        ("cost_mean", "cost {:.2f} M", 1e-6)
        if (line.get("cost_mean") or 0) >= 1000
        else ("cost_mean", "cost {:.3g}", 1),
        ("accuracy", "accuracy {:.2f} %", 1),
    )
    for name, form, scale in shown:
        if line.get(name) is not None:
            parts.append(form.format(line[name] * scale))
    parts.append("joint" if line.get("joined") else "factorised" if "joined" in line else f"lr {line.get('lr', 0):.3g}")
    left = round((last - line["step"] - 1) * seconds_a_step)
    parts.append(f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02} left")
    return "  ".join(parts)

"""What a run looks like in a terminal: a few figures, how they moved, the architecture that leads. No I/O here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fpnas.text import by_group, duration, percent, short

LEVELS = "▁▂▃▄▅▆▇█"
WIDTH = 20
"""Places of a sparkline."""

ROWS: dict[str, tuple[str, Callable[[float], str]]] = {
    "entropy": ("entropy", "{:.2f} nats".format),
    "num_samples": ("K", "{:.0f}".format),
    "train_loss": ("training loss", "{:.3f}".format),
    "val_loss": ("validation loss", "{:.3f}".format),
    "cost_mean": ("mean cost", short),
    "accuracy": ("accuracy", percent),
    "lr": ("learning rate", "{:.4f}".format),
}


class Board:
    """The latest steps of a run, to be drawn.

    Args:
        kind: "search" or "train".
        settings: of the run; the target is one of them.
        steps: of the run; None where they aren't known.
    """

    def __init__(self, kind: str, settings: Mapping[str, Any], steps: int | None) -> None:
        self.kind, self.settings, self.steps = kind, settings, steps
        self.leader: tuple[Mapping[str, Any], float | None] | None = None
        """The best architecture so far and its cost."""
        self._line: dict[str, Any] = {}
        self._seen: dict[str, deque[float]] = {name: deque(maxlen=20_000) for name in ROWS}
        self._seconds: deque[float] = deque(maxlen=50)
        self.paced = False
        """Whether steps were timed after the first, which also warms up the machine."""

    def add(self, line: Mapping[str, Any]) -> None:
        """A line of metrics.jsonl."""
        self._line = {**self._line, **{name: value for name, value in line.items() if value is not None}}
        for name, seen in self._seen.items():
            value = line.get(name)
            if isinstance(value, int | float):
                seen.append(float(value))
        if isinstance(line.get("seconds"), int | float):
            if not self.paced and self._seconds:
                self._seconds.clear()
                self.paced = True
            self._seconds.append(float(line["seconds"]))

    @property
    def seconds_a_step(self) -> float:
        """The mean of the last 50, without the first as soon as there are others."""
        return sum(self._seconds) / len(self._seconds) if self._seconds else 0.0

    def draw(self, unicode: bool = True, note: str = "") -> RenderableType:
        """A panel; `unicode` draws sparklines."""
        if not self._line:
            return Text(f"{self.kind}: the first step is under way")
        parts: list[RenderableType] = [self._head(), self._figures(unicode)]
        if self.leader is not None:
            parts += [Text(), *self._architecture(*self.leader)]
        title = Text(f" fpnas {self.kind} ", style="bold")
        return Panel(Group(*parts), title=title, title_align="left", box=ROUNDED, width=88, subtitle=note or None)

    def _head(self) -> RenderableType:
        done = self._line["step"] + 1
        epochs = self.settings.get("epochs")
        words = [f"epoch {self._line.get('epoch', 0) + 1}{f' of {epochs}' if isinstance(epochs, int) else ''}"]
        if self.steps is None:
            words.append(f"step {done}")
            return Text("   ".join(words))
        words += [f"step {done}/{self.steps}", f"{duration(round((self.steps - done) * self.seconds_a_step))} left"]
        row = Table.grid(expand=True, padding=(0, 1))
        row.add_column(ratio=1)
        row.add_column(justify="right", no_wrap=True)
        row.add_row(ProgressBar(total=self.steps, completed=done), Text("   ".join(words)))
        return row

    def _figures(self, unicode: bool) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        table.add_column(style="cyan", no_wrap=True)
        table.add_column(style="dim", no_wrap=True)
        for name, (label, shown) in ROWS.items():
            seen = self._seen[name]
            if seen:
                drawn = sparkline(list(seen)) if unicode and len(seen) > 1 else ""
                table.add_row(label, shown(seen[-1]), drawn, self._beside(name))
        return table

    def _beside(self, name: str) -> str:
        target = self.settings.get("target")
        if name == "entropy":
            return "joint" if self._line.get("joined") else "factorised"
        if name == "cost_mean" and isinstance(target, int | float):
            return f"target {short(target)} {self.settings.get('cost') or ''}".rstrip()
        return ""

    @staticmethod
    def _architecture(arch: Mapping[str, Any], cost: float | None) -> list[RenderableType]:
        price = "" if cost is None else f", {short(cost)}"
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="ellipsis", no_wrap=True)
        for group, options in by_group(arch).items():
            table.add_row(Text(group), Text(", ".join(f"{name} {option}" for name, option in options.items())))
        return [Text(f"the best network so far{price}", style="bold"), table]


def sparkline(values: list[float], width: int = WIDTH) -> str:
    """`width` bars at most, each the mean of an equal part of the values, between their least and greatest."""
    width = min(width, len(values))
    edges = [round(index * len(values) / width) for index in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    least, span = min(means), max(means) - min(means)
    return "".join(LEVELS[0 if not span else round((mean - least) / span * (len(LEVELS) - 1))] for mean in means)

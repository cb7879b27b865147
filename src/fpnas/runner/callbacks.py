"""`Callback`: what a run tells others while it goes, such as trackers. None of them can end a run or change it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fpnas.files import parsed


@dataclass(frozen=True)
class RunInfo:
    """A run that starts or goes on.

    Args:
        folder: of the run.
        kind: "search" or "train".
        settings: those in run.json.
        first_step: the first that will be told.
        steps: of the whole run, or up to where it is to end.
    """

    folder: Path
    kind: str
    settings: Mapping[str, Any]
    first_step: int
    steps: int


class Callback(Protocol):
    """Hears of a run. Subclass it and write the methods that you need; the others do nothing.

    A callback that raises is warned about once and hears no more; the run goes on. After a resume, steps that had been
    logged before aren't told again, so that each step is told at most once.
    """

    def on_start(self, run: RunInfo) -> None:
        """The run starts or goes on."""

    def on_step(self, line: Mapping[str, Any]) -> None:
        """A step's line of metrics.jsonl."""

    def on_end(self, result: Mapping[str, Any] | None) -> None:
        """The run has ended with this result.json; None where it was stopped or failed."""


class GuardedCallbacks:
    """The callbacks of one call of `run`, each guarded.

    Args:
        callbacks: to tell.
        logged: steps that were logged before and aren't told again.
    """

    def __init__(self, callbacks: Sequence[Callback], logged: int) -> None:
        self._callbacks = list(callbacks)
        self._logged = logged

    def start(self, folder: Path, kind: str, settings: Mapping[str, Any], first_step: int, steps: int) -> None:
        """See `Callback.on_start`."""
        self._tell("on_start", RunInfo(folder, kind, settings, max(first_step, self._logged), steps))

    def step(self, line: Mapping[str, Any]) -> None:
        """See `Callback.on_step`."""
        if line["step"] >= self._logged:
            self._tell("on_step", line)

    def end(self, result: Mapping[str, Any] | None) -> None:
        """See `Callback.on_end`."""
        self._tell("on_end", result)

    def _tell(self, method: str, *arguments: Any) -> None:
        for callback in tuple(self._callbacks):
            try:
                getattr(callback, method)(*arguments)
            except Exception as error:
                self._callbacks.remove(callback)
                first = str(error).partition("\n")[0]
                said = f"{type(callback).__name__}.{method} raised {type(error).__name__}: {first}"
                warnings.warn(f"{said}; the run goes on without it", stacklevel=3)


def steps_logged(log: Path, tail: int = 65536) -> int:
    """How many steps a metrics.jsonl tells of: its last whole line's step and 1; 0 where there is none."""
    if not log.exists():
        return 0
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - tail))
        lines = file.read().split(b"\n")[:-1]  # what follows the last line's end is nothing, or half a line
    for line in map(parsed, reversed(lines)):
        if isinstance(line, dict) and "step" in line:
            step: Any = line["step"]
            return step + 1 if isinstance(step, int) else 0
    return 0

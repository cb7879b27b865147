"""Following a run from another process: new lines of its metrics.jsonl, as they come. Never writes, never locks."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from fpnas.errors import RunFolderError
from fpnas.files import parsed

LIMIT = 2**24
"""Bytes read at a time."""


class Follower:
    """The whole lines of a log so far, then those that are added; a half-written one waits for its end.

    A log that was cut back, as a resumed run does, is read on from where it was cut: the steps that are told again
    replace the earlier ones for whoever looks at their numbers.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def lines(self) -> list[dict[str, Any]]:
        """The lines since the last call."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                self._offset = min(self._offset, size)
                file.seek(self._offset)
                read = file.read(LIMIT)
        except FileNotFoundError:
            return []
        whole = read[: read.rfind(b"\n") + 1]
        if not whole and len(read) == LIMIT:
            whole = read  # one line of so many bytes is none of ours
        self._offset += len(whole)
        lines = [parsed(line) for line in whole.splitlines()]
        return [line for line in lines if isinstance(line, dict) and isinstance(line.get("step"), int)]


def follow(
    folder: Path, *, every: float = 1.0, sleep: Callable[[float], None] = time.sleep
) -> Generator[dict[str, Any] | None]:
    """The steps of the run in `folder`, those that are there first; None each time that there was nothing new.

    Ends once the run has ended: result.json is there and the log has been read to its end.

    Raises:
        RunFolderError: there is no run in the folder.
    """
    if not (folder / "run.json").exists():
        what = "which has no run.json" if folder.is_dir() else "which isn't there"
        raise RunFolderError("the folder of a run", f"{folder}, {what}", "name the --out of a search or a training")
    log = Follower(folder / "metrics.jsonl")
    while True:
        ended = (folder / "result.json").exists()  # before the log is read, so that nothing after it is missed
        lines = log.lines()
        yield from lines
        if lines:
            continue
        if ended:
            return
        yield None
        sleep(every)

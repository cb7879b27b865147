"""Checkpoints: whole or absent, the one before kept, loaded without running code."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, cast

import torch

from fpnas.errors import RunFolderError, reason
from fpnas.files import rename
from fpnas.runner.folder import RunFolder

CURRENT, BEFORE, NEXT, DAMAGED = (
    "checkpoint.pt",
    "checkpoint-before.pt",
    ".checkpoint-next.pt",
    "checkpoint-damaged.pt",
)
LOGS = ("metrics.jsonl", "distribution.jsonl")
"""A checkpoint says how long these were, so that a resumed run can cut them back."""


def save_checkpoint(folder: RunFolder, state: dict[str, Any]) -> None:
    """Writes `state` as checkpoint.pt and keeps the one before; at every moment one of the two is whole."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    current = folder.path / CURRENT
    for name in LOGS:  # or a failure of power could leave a checkpoint of steps that the logs don't have
        folder.sync_log(name)
    # The new one is on disk under another name before the old ones move: a full disk costs none of them.
    folder.write_bytes(NEXT, buffer.getvalue())
    if current.exists():
        rename(current, folder.path / BEFORE)
    rename(folder.path / NEXT, current)


def has_checkpoint(path: Path) -> bool:
    """Whether the run folder `path` holds a checkpoint to go on from, whole or not."""
    # os.path: a path that is too long is one where no checkpoint can be.
    return any(os.path.exists(path / name) for name in (CURRENT, NEXT, BEFORE))


def load_checkpoint(path: Path, set_aside: bool = False) -> dict[str, Any] | None:
    """The newest whole checkpoint of the run folder `path`, or None where there is none.

    Args:
        path: the run folder.
        set_aside: rename a damaged newest checkpoint, so that the next save doesn't put it in the good one's place, and
            finish a save that was cut off.

    Raises:
        RunFolderError: there are checkpoints, but none can be read.
    """
    problem: Exception | None = None
    for name in (CURRENT, NEXT, BEFORE):  # NEXT is newer than CURRENT, but only counts once that has made way for it
        if (path / name).exists():
            try:
                state = _read(path / name)
            except Exception as error:  # what torch raises on broken files are a dozen kinds, and they change
                problem = error
                continue
            if set_aside:
                _tidy(path, name)
            return state
    if problem is not None:
        got = f"{path / CURRENT} ({reason(problem)})"
        raise RunFolderError("a checkpoint that loads", got, "start anew in another folder")
    return None


def _read(file: Path) -> dict[str, Any]:
    """A checkpoint, nothing of which is run, and which names no files but the run's own logs."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    sizes = state["log_sizes"]
    if not isinstance(state["job"], dict) or not isinstance(state["seconds"], float) or set(sizes) - set(LOGS):
        raise ValueError("it holds something else than a checkpoint")
    if not all(isinstance(size, int) and size >= 0 for size in sizes.values()):
        raise ValueError("it holds sizes of logs that are none")
    return cast("dict[str, Any]", state)


def _tidy(path: Path, good: str) -> None:
    """Leaves the folder as a save leaves it: the good checkpoint in its place, nothing half done beside it."""
    if good != CURRENT and (path / CURRENT).exists():
        rename(path / CURRENT, path / DAMAGED)
    if good == NEXT:
        rename(path / NEXT, path / CURRENT)
    (path / NEXT).unlink(missing_ok=True)  # its logs' sizes would be wrong once the run has gone on

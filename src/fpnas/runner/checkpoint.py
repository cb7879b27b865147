"""Checkpoints: whole or absent, the one before kept, loaded without running code."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any, cast

import torch

from fpnas.errors import RunFolderError
from fpnas.runner.folder import RunFolder

CURRENT, BEFORE, NEXT, DAMAGED = (
    "checkpoint.pt",
    "checkpoint-before.pt",
    ".checkpoint-next.pt",
    "checkpoint-damaged.pt",
)


def save_checkpoint(folder: RunFolder, state: dict[str, Any]) -> None:
    """Writes `state` as checkpoint.pt and keeps the one before; at every moment one of the two is whole."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    current = folder.path / CURRENT
    # The new one is on disk under another name before the old ones move: a full disk costs none of them.
    folder.write_bytes(NEXT, buffer.getvalue())
    if current.exists():
        os.replace(current, folder.path / BEFORE)
    os.replace(folder.path / NEXT, current)


def has_checkpoint(path: Path) -> bool:
    """Whether the run folder `path` holds a checkpoint to go on from, whole or not."""
    return any((path / name).exists() for name in (CURRENT, BEFORE))


def load_checkpoint(path: Path, set_aside: bool = False) -> dict[str, Any] | None:
    """The newest whole checkpoint of the run folder `path`, or None where there is none.

    Args:
        path: the run folder.
        set_aside: rename a damaged newest checkpoint, so that the next save doesn't put it in the good one's place.

    Raises:
        RunFolderError: there are checkpoints, but none can be read.
    """
    problem: Exception | None = None
    for name in (CURRENT, BEFORE):
        if (path / name).exists():
            try:
                state = torch.load(path / name, map_location="cpu", weights_only=True)
            except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
                problem = error
                continue
            if problem is not None and set_aside:
                os.replace(path / CURRENT, path / DAMAGED)
            return cast("dict[str, Any]", state)
    if problem is not None:
        first = str(problem).partition("\n")[0]
        raise RunFolderError("a checkpoint that loads", f"{path / CURRENT} ({first})", "start anew in another folder")
    return None

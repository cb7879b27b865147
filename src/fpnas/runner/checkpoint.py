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

CURRENT, BEFORE = "checkpoint.pt", "checkpoint-before.pt"


def save_checkpoint(folder: RunFolder, state: dict[str, Any]) -> None:
    """Writes `state` as checkpoint.pt and keeps the one before; at every moment one of the two is whole."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    current = folder.path / CURRENT
    if current.exists():
        os.replace(current, folder.path / BEFORE)
    folder.write_bytes(CURRENT, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The newest whole checkpoint of the run folder `path`, or None where there is none.

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
            return cast("dict[str, Any]", state)
    if problem is not None:
        first = str(problem).partition("\n")[0]
        raise RunFolderError("a checkpoint that loads", f"{path / CURRENT} ({first})", "start anew in another folder")
    return None

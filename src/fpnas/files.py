"""Files on this machine: where fpnas keeps its own, how one is written whole or not at all; JSON of unknown origin."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any


def cache_folder(name: str) -> Path:
    """`name` in fpnas's part of the user's cache: of `$XDG_CACHE_HOME`, by default `~/.cache`."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG standard has relative paths ignored.
    base = Path(cache if os.path.isabs(cache) else os.path.expanduser("~/.cache"))
    return base / "fpnas" / name


def data_folder(name: str) -> Path:
    """`name` in the folder that `$FPNAS_DATA` names, in the cache where it names none."""
    given = os.environ.get("FPNAS_DATA")
    return Path(os.path.expanduser(given)) / name if given else cache_folder(name)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole or not at all; one that is there is replaced. One process at a time may write it.

    Raises:
        OSError: it can't be written.
    """
    temporary = temporary_file(path)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        rename(temporary, path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def temporary_file(path: Path) -> Path:
    """What `write_whole` writes before it has the name `path`; a process that is killed leaves it behind."""
    return path.with_name(f".{path.name}.tmp")


def rename(source: Path, target: Path) -> None:
    """Gives a file a name in its folder that holds also where power fails afterwards; what had that name is gone."""
    os.replace(source, target)
    with suppress(OSError):  # Windows opens no folders, and some network file systems sync none
        place = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(place)
        finally:
            os.close(place)


def parsed(text: str | bytes, otherwise: Any = None) -> Any:
    """The value of a JSON text of unknown origin; `otherwise` where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return otherwise

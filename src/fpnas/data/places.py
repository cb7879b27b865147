"""Where fpnas keeps data of its own: the folder that `$FPNAS_DATA` names, else the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def own_folder(name: str) -> Path:
    """`name` in `$FPNAS_DATA`, or in the cache folder where that isn't set."""
    given = os.environ.get("FPNAS_DATA")
    return Path(os.path.expanduser(given)) / name if given else cache_folder(name)


def cache_folder(name: str) -> Path:
    """`name` in the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG standard has relative paths ignored.
    base = Path(cache if os.path.isabs(cache) else os.path.expanduser("~/.cache"))
    return base / "fpnas" / name

"""A script of benchmarks/ as a module."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def benchmark(name: str, folder: str = "") -> Any:
    """Imports it as when it is run: its own folder, of benchmarks/, comes first."""
    folder = str(ROOT / "benchmarks" / folder)
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)

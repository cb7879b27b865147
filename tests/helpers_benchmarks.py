"""A script of benchmarks/ as a module; what tests of the paper's experiments share."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
PAPER = ROOT / "benchmarks" / "paper"


def benchmark(name: str, folder: str = "") -> Any:
    """Imports it as when it is run: its own folder, of benchmarks/, comes first."""
    folder = str(ROOT / "benchmarks" / folder)
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)


@contextmanager
def paper_on_the_path() -> Iterator[None]:
    """As when a script of benchmarks/paper is run: its own folder comes first."""
    before = list(sys.path)
    sys.path[:0] = [str(PAPER), str(PAPER.parent), str(PAPER.parent / "ground")]
    try:
        yield
    finally:
        sys.path[:] = before


def toy_imagenet(place: Path) -> Path:
    """The folder, with three classes of 12 images of 32 px in it."""
    draws = np.random.default_rng(0)
    for label in range(3):
        (place / f"n{label}").mkdir()
        for number in range(12):
            pixels = draws.integers(0, 128, (32, 32, 3), dtype=np.uint8) + np.uint8(60 * label)
            Image.fromarray(pixels).save(place / f"n{label}" / f"{number}.png")
    return place

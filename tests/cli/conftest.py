"""Two small runs for all tests of the command line: a search on digits, and the training of what it found.

One is of the real `tiny`; most tests take the other, of a far smaller network that goes by the same name.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import helpers_run as h
import pytest
from calling import SEARCH, TRAIN, Called, call

import fpnas
from fpnas.spaces import SPACES


@dataclass(frozen=True)
class Found:
    """The folder of a search with its train/, and how the two commands went. Not to be written to."""

    folder: Path
    search: Called
    train: Called


def small_tiny(num_classes: int = 10, in_channels: int = 3, seed: int = 0) -> fpnas.Supernet:
    """What stands in for `tiny`: 576 architectures, a few thousand weights."""
    net = h.SmallNet(in_channels, num_classes, double=False)
    return fpnas.Supernet(net, seed=seed, name="tiny", image_sizes=(16, 128))


def begin(folder: Path, target: str) -> Found:
    search = call(*SEARCH, "--max-steps", "3", "--target-flops", target, "--out", folder)
    return Found(folder, search, call(*TRAIN, folder))


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Of the real `tiny`."""
    return begin(tmp_path_factory.mktemp("found") / "run", "0.4M")


@pytest.fixture(scope="session")
def small_found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, "tiny", small_tiny)
        return begin(tmp_path_factory.mktemp("small") / "run", "30k")


@pytest.fixture
def small(small_found: Found, monkeypatch: pytest.MonkeyPatch) -> Found:
    """Of the stand-in, which is in place while the test runs."""
    monkeypatch.setitem(SPACES, "tiny", small_tiny)
    return small_found


@pytest.fixture
def copied(small: Found, tmp_path: Path) -> Path:
    """A copy of that run to play with: `run` in an otherwise empty folder."""
    shutil.copytree(small.folder, tmp_path / "run")
    return tmp_path / "run"

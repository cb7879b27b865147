"""Two small runs for all tests of the command line: a search on digits, and the training of what it found.

One is of the real `tiny`; most tests take the other, of a far smaller network that goes by the same name.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from calling import Found, Shipped, begin, ship, small_tiny

from fpnas.spaces import SPACES


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


@pytest.fixture(scope="session")
def shipped_once(small_found: Found, tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    """The stand-in trained until it is good, and exported in every way. Not to be written to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SPACES, "tiny", small_tiny)
        return ship(small_found.folder / "arch.json", tmp_path_factory.mktemp("shipped"))


@pytest.fixture
def shipped(shipped_once: Shipped, monkeypatch: pytest.MonkeyPatch) -> Shipped:
    monkeypatch.setitem(SPACES, "tiny", small_tiny)
    return shipped_once

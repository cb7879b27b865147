"""The search spaces: one function each, and their names on the command line."""

from __future__ import annotations

from collections.abc import Callable

from fpnas.elastic import Supernet
from fpnas.errors import unknown_name
from fpnas.spaces.fbnetv2 import fbnetv2_f
from fpnas.spaces.tiny import tiny

SPACES: dict[str, Callable[..., Supernet]] = {"tiny": tiny, "fbnetv2-f": fbnetv2_f}


def by_name(name: str) -> Callable[..., Supernet]:
    """The function of a space by its hyphenated name, or `InputError`."""
    if name not in SPACES:
        raise unknown_name("space", name, SPACES)
    return SPACES[name]


__all__ = ["SPACES", "by_name", "fbnetv2_f", "tiny"]

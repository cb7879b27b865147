"""Arguments of elastic layers: a plain value, a `Choice`, or a value derived from choices.

"The hidden width is in_channels * expansion" is `scaled(in_channels, expansion)`, whether these are numbers, choices or
derived themselves. A layer asks three things of an argument: its value under an architecture, all the values that it
can take (weights are made for the largest), and the choices it reads (a cost table has an axis for each).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fpnas.errors import SupernetError
from fpnas.space import Choice, Option


@dataclass(frozen=True)
class Derived:
    """`function(*arguments)`, the arguments resolved first. The function must be pure."""

    function: Callable[..., Option]
    arguments: tuple[Dim, ...]


Dim = Option | Choice | Derived


def scaled(*factors: Dim) -> Dim:
    """The product of `factors`, rounded to the nearest whole number (half up), at least 1."""
    return Derived(_rounded_product, factors)


def _rounded_product(*factors: Any) -> int:
    return max(1, math.floor(math.prod(factors) + 0.5))


def resolve(dim: Dim, arch: Mapping[str, Option]) -> Any:
    """The value of `dim` under an architecture."""
    if isinstance(dim, Choice):
        return arch[dim.name]
    if isinstance(dim, Derived):
        return dim.function(*(resolve(argument, arch) for argument in dim.arguments))
    return dim


@lru_cache(maxsize=4096)
def choices_in(dim: Dim) -> tuple[Choice, ...]:
    """The choices that `dim` reads, each once, in order of first appearance."""
    if isinstance(dim, Choice):
        return (dim,)
    if isinstance(dim, Derived):
        return tuple(dict.fromkeys(choice for argument in dim.arguments for choice in choices_in(argument)))
    return ()


@lru_cache(maxsize=4096)
def values_of(dim: Dim) -> tuple[Any, ...]:
    """All values that `dim` can take, each once."""
    choices = choices_in(dim)
    names = [choice.name for choice in choices]
    picks = itertools.product(*(choice.options for choice in choices))
    return tuple(dict.fromkeys(resolve(dim, dict(zip(names, pick, strict=True))) for pick in picks))


def largest(dim: Dim) -> int:
    """The largest value of a width; `SupernetError` where a value is no whole number above 0."""
    for value in values_of(dim):
        if not isinstance(value, int) or value < 1:
            raise SupernetError("widths that are whole numbers above 0", repr(value), "correct the choice's options")
    return max(values_of(dim))

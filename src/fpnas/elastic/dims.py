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


@dataclass(frozen=True)
class Joined(Derived):
    """Widths one after another, as a concatenation has them: the value is their sum. See `joined` and `runs`."""


Dim = Option | Choice | Derived

Runs = int | tuple[slice, ...]
"""What a layer takes of an axis of its weight: the first so many, or slices one after another."""


def joined(*dims: Dim) -> Dim:
    """The width of tensors concatenated along their channels; a layer keeps the first of each of `dims`.

    `Conv2d(joined(left, right), 32)` reads `torch.cat([x, y], dim=1)` where x has `left` channels and y `right`.
    """
    parts: list[Dim] = []
    for dim in (part for whole in dims for part in separate(whole)):
        if parts and isinstance(dim, int) and isinstance(parts[-1], int):
            parts[-1] += dim
        else:
            parts.append(dim)
    return parts[0] if len(parts) == 1 else Joined(_sum, tuple(parts))


def separate(dim: Dim) -> tuple[Dim, ...]:
    """The widths that are joined in `dim`; itself where it is a single one."""
    return dim.arguments if isinstance(dim, Joined) else (dim,)


def _sum(*parts: Any) -> int:
    return sum(parts)


def runs(dim: Dim, arch: Mapping[str, Option]) -> Runs:
    """What is taken under an architecture of an axis that was made for the largest of `dim`."""
    slices: list[slice] = []
    offset = 0
    for part in separate(dim):
        width = resolve(part, arch)
        if slices and slices[-1].stop == offset:
            slices[-1] = slice(slices[-1].start, offset + width)
        else:
            slices.append(slice(offset, offset + width))
        offset += largest(part)
    return slices[0].stop if len(slices) == 1 else tuple(slices)


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
    """All values that `dim` can take, each once. (Of widths that are joined these may be very many.)"""
    choices = choices_in(dim)
    names = [choice.name for choice in choices]
    picks = itertools.product(*(choice.options for choice in choices))
    return tuple(dict.fromkeys(resolve(dim, dict(zip(names, pick, strict=True))) for pick in picks))


def largest(dim: Dim) -> int:
    """The largest value of a width; `SupernetError` where a value is no whole number above 0."""
    if isinstance(dim, Joined):
        return sum(largest(part) for part in dim.arguments)
    for value in values_of(dim):
        if not isinstance(value, int) or value < 1:
            raise SupernetError("widths that are whole numbers above 0", repr(value), "correct the choice's options")
    return max(values_of(dim))

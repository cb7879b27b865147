"""Widths, and what the channels of a tensor are made of: segments, each so many units of a width.

The channels of a convolution are one segment of unit 1. Flattened maps of 6 x 6 have unit 36, the channels on both
sides of a convolution in groups the width of a group, a concatenation several segments. Where tensors meet, `tie` makes
their segments one: widths are joined, or cut in two where one ends within the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(eq=False)
class Width:
    """A number of units that some tensors share."""

    size: int
    held: str = ""
    """Why it can't be another; "" where it can."""
    parts: Layout = ()
    """What it turned out to be: another width, or two, one after the other."""


class Segment(NamedTuple):
    """Channels side by side: `unit` for each unit of the width."""

    width: Width
    unit: int

    @property
    def length(self) -> int:
        """At full width."""
        return self.width.size * self.unit


Layout = tuple[Segment, ...]
"""The channels of a tensor, from the first."""


def fresh(size: int, held: str = "") -> Layout:
    """Channels of a width of their own."""
    return (Segment(Width(size, held), 1),)


def resolved(layout: Layout) -> Layout:
    """The same channels, in terms of widths that aren't made of others."""
    found: list[Segment] = []
    for width, unit in layout:
        found += [Segment(w, u * unit) for w, u in resolved(width.parts)] if width.parts else [Segment(width, unit)]
    return tuple(found)


def hold(layouts: Iterable[Layout], why: str) -> None:
    """Lets the widths stay as they are; the first reason counts."""
    for layout in layouts:
        for width, _ in resolved(layout):
            width.held = width.held or why


def length(layout: Layout) -> int:
    """The number of channels at full width."""
    return sum(segment.length for segment in layout)


def tie(one: Layout, other: Layout, why: str) -> None:
    """Makes two layouts the same; holds both, because of `why`, where they can't be."""
    if length(one) != length(other):
        hold([one, other], why)
        return
    while True:
        ours, theirs = resolved(one), resolved(other)
        pair = next(((a, b) for a, b in zip(ours, theirs, strict=False) if a != b), None)
        if pair is None:
            return
        short, long = sorted(pair, key=lambda segment: segment.length)
        if short.width is long.width or short.length % long.unit:
            hold([one, other], why)
            return
        if short.length < long.length:
            _cut(long.width, short.length // long.unit)
        else:
            _join(*pair)


def between(layout: Layout, start: int, stop: int) -> Layout | None:
    """The channels from `start` to `stop`, the widths cut there; None where that is within a unit."""
    for at in (start, stop):
        offset = 0
        for segment in resolved(layout):
            if offset < at < offset + segment.length:
                if (at - offset) % segment.unit:
                    return None
                _cut(segment.width, (at - offset) // segment.unit)
                return between(layout, start, stop)
            offset += segment.length
    found: list[Segment] = []
    offset = 0
    for segment in resolved(layout):
        if start <= offset < stop:
            found.append(segment)
        offset += segment.length
    return tuple(found)


def _cut(width: Width, units: int) -> None:
    width.parts = Segment(Width(units, width.held), 1), Segment(Width(width.size - units, width.held), 1)


def _join(one: Segment, other: Segment) -> None:
    """Segments of equal length: the smallest common unit counts."""
    unit = math.lcm(one.unit, other.unit)
    held = one.width.held or other.width.held
    if unit == one.unit:
        whole = one.width
        whole.held = held
    else:
        whole = Width(one.length // unit, held)
    for segment in (one, other):
        if segment.width is not whole:
            segment.width.parts = (Segment(whole, unit // segment.unit),)

"""Where each activation of a network lies in memory, so that no more is needed than what is alive at once.

A runtime that places tensors by itself leaves gaps between them, and gives each operator an output of its own. Here
operators that work number by number write over an input that nobody reads again, as do pads; the rest is packed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fpnas.cost.memory import ALIGNMENT

TRIES = 300
"""Orders in which the tensors are placed, until a plan needs no more than what is alive at once."""


@dataclass(frozen=True)
class Step:
    """An operator of a network.

    Args:
        reads: the activations it reads, by their numbers.
        writes: those it makes.
        over: (read, written, delta): it may write over what it reads, which then starts `delta` bytes behind the start
            of what is written.
    """

    reads: Sequence[int]
    writes: Sequence[int]
    over: Sequence[tuple[int, int, int]] = ()


@dataclass(frozen=True)
class Plan:
    """The place of each activation, in bytes from the start.

    Attributes:
        offsets: of each activation, by its number.
        size: the bytes that they take together.
        peak: the most bytes that are alive at once; no plan takes less.
    """

    offsets: Mapping[int, int]
    size: int
    peak: int


@dataclass(frozen=True)
class _Piece:
    """A tensor within a group of such as write over one another: its place there, and its first and last operator."""

    tensor: int
    start: int
    stop: int
    first: int
    last: int


_Group = list[_Piece]


def planned(steps: Sequence[Step], sizes: Mapping[int, int], inputs: Sequence[int], outputs: Sequence[int]) -> Plan:
    """A plan for the activations of a network, from the first operator to the last.

    Args:
        steps: the operators in their order.
        sizes: bytes of each activation, by its number.
        inputs: those that are there before the first operator.
        outputs: those that are read after the last.

    Example:
        >>> image, one, two = 0, 1, 2
        >>> steps = [Step([image], [one]), Step([one], [two], [(one, two, 0)])]
        >>> planned(steps, {image: 48, one: 64, two: 64}, [image], [two])
        Plan(offsets={1: 0, 2: 0, 0: 64}, size=112, peak=112)
    """
    groups = _groups(steps, sizes, inputs, outputs)
    peak = max((sum(_extent(group, number) for group in groups) for number in range(len(steps))), default=0)
    best: dict[int, int] = {}
    least = -1
    for order in _orders(groups):
        places = _placed(order)
        size = max((places[piece.tensor] + piece.stop - piece.start for group in groups for piece in group), default=0)
        if least < 0 or size < least:
            best, least = places, size
        if least <= peak:
            break
    return Plan(best, max(least, 0), peak)


def aligned(size: int) -> int:
    """The bytes that a tensor takes with the rest up to the next one's place."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _groups(
    steps: Sequence[Step], sizes: Mapping[int, int], inputs: Sequence[int], outputs: Sequence[int]
) -> list[_Group]:
    first = dict.fromkeys(inputs, 0)
    last = dict.fromkeys(inputs, 0)
    for number, step in enumerate(steps):
        first.update(dict.fromkeys(step.writes, number))
        last.update(dict.fromkeys((*step.reads, *step.writes), number))
    last.update(dict.fromkeys(outputs, len(steps)))
    place: dict[int, tuple[int, int]] = {tensor: (tensor, 0) for tensor in inputs}
    for number, step in enumerate(steps):
        for read, written, delta in step.over:
            if last[read] == number and written not in place:
                root, start = place[read]
                place[written] = root, start - delta
        for written in step.writes:
            place.setdefault(written, (written, 0))
    groups: dict[int, _Group] = {}
    for tensor, (root, start) in place.items():
        piece = _Piece(tensor, start, start + aligned(sizes[tensor]), first[tensor], last[tensor])
        groups.setdefault(root, []).append(piece)
    return [*groups.values()]


def _extent(group: _Group, number: int) -> int:
    """The bytes that a group takes at an operator."""
    alive = [piece for piece in group if piece.first <= number <= piece.last]
    return max(piece.stop for piece in alive) - min(piece.start for piece in alive) if alive else 0


def _orders(groups: list[_Group]) -> Iterator[list[_Group]]:
    """By size, and then by sizes that are drawn anew around the true ones."""
    sizes = np.array([max(p.stop for p in group) - min(p.start for p in group) for group in groups], dtype=float)
    ages = np.array([max(p.last for p in group) - min(p.first for p in group) + 1 for group in groups], dtype=float)
    draws = np.random.default_rng(0)
    yield [groups[number] for number in np.argsort(-sizes, kind="stable")]
    yield [groups[number] for number in np.argsort(-sizes * ages, kind="stable")]
    for _ in range(TRIES - 2):
        weights = sizes * ages ** draws.uniform(0, 1) * draws.lognormal(0, draws.uniform(0.2, 2), len(groups))
        yield [groups[number] for number in np.argsort(-weights, kind="stable")]


def _placed(order: Sequence[_Group]) -> dict[int, int]:
    """Each group at the lowest place where none of its pieces meets another that is alive at the same time."""
    done: list[_Piece] = []
    for group in order:
        busy = [(piece, other) for piece in group for other in done if _meet(piece, other)]
        lowest = -min(piece.start for piece in group)
        places = sorted({lowest, *(other.stop - piece.start for piece, other in busy)})
        shift = next(
            place
            for place in places
            if place >= lowest
            and all(p.start + place >= other.stop or p.stop + place <= other.start for p, other in busy)
        )
        done += [_Piece(p.tensor, p.start + shift, p.stop + shift, p.first, p.last) for p in group]
    return {piece.tensor: piece.start for piece in done}


def _meet(one: _Piece, other: _Piece) -> bool:
    return one.first <= other.last and other.first <= one.last

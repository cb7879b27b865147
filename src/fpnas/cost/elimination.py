"""The least of a sum, or of the greatest, of tables over few choices: choices are eliminated one after another."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fpnas.space import SearchSpace

MAX_TABLE = 10_000_000
"""Entries of a table that `least` makes before it looks for another way."""

Join = Callable[[Any, Any], Any]
"""np.add or np.maximum: what becomes of two tables."""


@dataclass(frozen=True)
class Factor:
    """A table over some choices: `table[codes of the scope]` is its share of the cost."""

    scope: tuple[int, ...]
    table: NDArray[np.float64]


def least(
    space: SearchSpace, tables: Sequence[Factor], join: Join, constant: float = 0.0
) -> tuple[float, tuple[int, ...]]:
    """The least of the joined tables and a constant over a space, and the codes of an architecture that has it.

    Exact, by eliminating one choice after another (dynamic programming; cheap where the factors form a chain).
    Where that takes too large tables, choices with an option that is best whatever the others are go first.
    """
    factors = [(set(factor.scope), factor.scope, factor.table) for factor in tables]
    nothing = 0.0 if join is np.add else -np.inf
    decisions: list[tuple[int, tuple[int, ...], NDArray[np.int64]]] = []
    total = constant
    remaining = set(range(len(space)))
    while remaining:
        variable = min(remaining, key=lambda v: _joint_size(space, factors, v))
        if _joint_size(space, factors, variable) > MAX_TABLE:
            settled = [(v, best) for v in sorted(remaining) if (best := _best_everywhere(factors, v)) is not None]
            for choice, option in settled:
                remaining.remove(choice)
                factors = [_without(factor, choice, option) for factor in factors]
                decisions.append((choice, (), np.asarray(option)))
            if settled:
                continue
        remaining.remove(variable)
        touching = [factor for factor in factors if variable in factor[0]]
        factors = [factor for factor in factors if variable not in factor[0]]
        scope = (*sorted(set().union(*(f[0] for f in touching)) - {variable}), variable)
        table = joined((f[1:] for f in touching), scope, join)
        table = np.broadcast_to(table, [space.cardinalities[v] for v in scope])
        decisions.append((variable, scope[:-1], table.argmin(axis=-1)))
        best = table.min(axis=-1)
        if scope[:-1]:
            factors.append((set(scope[:-1]), scope[:-1], best))
        else:
            total = float(join(total, float(best)))
    codes = [0] * len(space)
    total = float(join(total, reduce(join, (float(table) for scope, _, table in factors if not scope), nothing)))
    for variable, scope, table in reversed(decisions):
        codes[variable] = int(table[tuple(codes[v] for v in scope)])
    return total, tuple(codes)


def joined(
    parts: Iterable[tuple[tuple[int, ...], NDArray[Any]]], scope: Sequence[int], join: Join
) -> NDArray[np.float64]:
    """Tables over some of the scope's choices as one, with axes of length 1 for those that none reads."""
    start = np.full([1] * len(scope), 0.0 if join is np.add else -np.inf)
    return reduce(join, (aligned(own, table, scope) for own, table in parts), start)


_Parts = list[tuple[set[int], tuple[int, ...], NDArray[np.float64]]]


def _joint_size(space: SearchSpace, factors: _Parts, variable: int) -> int:
    scope = set[int]().union(*(scope for scope, _, _ in factors if variable in scope))
    return math.prod(space.cardinalities[v] for v in scope)


def _best_everywhere(factors: _Parts, variable: int) -> int | None:
    """The first option that is least in all tables, whatever the other choices are."""
    best: set[int] | None = None
    for _, scope, table in factors:
        if variable in scope:
            axis = scope.index(variable)
            least = table == table.min(axis=axis, keepdims=True)
            options = np.flatnonzero(least.all(axis=tuple(other for other in range(least.ndim) if other != axis)))
            best = set(options.tolist()) if best is None else best & set(options.tolist())
    return min(best) if best else None


def _without(
    factor: tuple[set[int], tuple[int, ...], NDArray[np.float64]], variable: int, option: int
) -> tuple[set[int], tuple[int, ...], NDArray[np.float64]]:
    """A factor at an option of one of its choices."""
    own, scope, table = factor
    if variable not in own:
        return factor
    rest = tuple(other for other in scope if other != variable)
    return own - {variable}, rest, np.asarray(table.take(option, axis=scope.index(variable)))


def aligned(axes: Sequence[Any], table: NDArray[Any] | np.float64, wanted: Sequence[Any]) -> NDArray[Any]:
    """`table` with its axes in the order of `wanted`, those it lacks of length 1; a NumPy number is a table of none."""
    order = sorted(range(len(axes)), key=lambda axis: wanted.index(axes[axis]))
    found = np.asarray(table).transpose(order)
    lengths = iter(found.shape)
    return found.reshape([next(lengths) if axis in axes else 1 for axis in wanted])

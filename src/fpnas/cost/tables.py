"""Costs as sums of tables: each factor is a table over few choices, so thousands of architectures cost one gather."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from fpnas.elastic.dims import Dim, choices_in, resolve, separate
from fpnas.elastic.submodules import Condition
from fpnas.space import Choice, SearchSpace

MAX_TABLE = 10_000_000
"""Entries of a table that `AdditiveCost.extreme` makes before it looks for another way."""


@dataclass(frozen=True)
class Factor:
    """A table over some choices: `table[codes of the scope]` is its share of the cost."""

    scope: tuple[int, ...]
    table: NDArray[np.float64]


class AdditiveCost:
    """A constant and a sum of factors over the choices of a space; vectorised over architectures.

    Letters: V choices, K architectures.
    """

    def __init__(self, space: SearchSpace, factors: Sequence[Factor], constant: float = 0.0) -> None:
        self.space = space
        self.factors = _merged(factors)
        self.constant = constant
        strides = np.zeros((len(space), len(self.factors)))
        offsets, total = [], 0
        for number, factor in enumerate(self.factors):
            strides[list(factor.scope), number] = np.array(factor.table.strides) // factor.table.itemsize
            offsets.append(total)
            total += factor.table.size
        # Indices by one matrix product: float64 is exact here, and has the fast kernel that integers lack.
        self._strides = torch.from_numpy(strides)
        self._offsets = torch.tensor(offsets, dtype=torch.float64)
        flat = [factor.table.ravel() for factor in self.factors]
        self._flat = torch.from_numpy(np.concatenate(flat) if flat else np.zeros(0))

    def __call__(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """The cost of each architecture."""
        indices = (codes.double() @ self._strides + self._offsets).long()
        return self._flat[indices].sum(dim=1) + self.constant

    def expected(self, weights: Sequence[Tensor]) -> Tensor:
        """The mean cost where each choice is drawn by itself with these weights of its options; differentiable.

        For costs that are products of widths this is the cost at the expected widths, as FBNetV2 counts.
        """
        total = torch.tensor(self.constant, dtype=torch.float64)
        for factor in self.factors:
            table = torch.from_numpy(factor.table)
            for index in reversed(factor.scope):
                table = table @ weights[index].double()
            total = total + table
        return total

    def extreme(self, sign: int) -> tuple[float, tuple[int, ...]]:
        """The least (sign 1) or the greatest (-1) cost of the whole space and the codes of an architecture that has it.

        Exact, by eliminating one choice after another (dynamic programming; cheap where the factors form a chain).
        Where that takes too large tables, choices with an option that is best whatever the others are go first.
        """
        factors = [(set(factor.scope), factor.scope, sign * factor.table) for factor in self.factors]
        decisions: list[tuple[int, tuple[int, ...], NDArray[np.int64]]] = []
        total = sign * self.constant
        remaining = set(range(len(self.space)))
        while remaining:
            variable = min(remaining, key=lambda v: _joint_size(self.space, factors, v))
            if _joint_size(self.space, factors, variable) > MAX_TABLE:
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
            table = sum((aligned(f[1], f[2], scope) for f in touching), np.zeros([1] * len(scope)))
            table = np.broadcast_to(table, [self.space.cardinalities[v] for v in scope])
            decisions.append((variable, scope[:-1], table.argmin(axis=-1)))
            best = table.min(axis=-1)
            if scope[:-1]:
                factors.append((set(scope[:-1]), scope[:-1], best))
            else:
                total += float(best)
        codes = [0] * len(self.space)
        total += sum(float(table) for scope, _, table in factors if not scope)
        for variable, scope, table in reversed(decisions):
            codes[variable] = int(table[tuple(codes[v] for v in scope)])
        return sign * total, tuple(codes)


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


def _merged(factors: Sequence[Factor]) -> list[Factor]:
    """Fewer, equal in sum: a factor whose scope lies within another's is added to it."""
    merged: list[Factor] = []
    for factor in sorted(factors, key=lambda factor: -factor.table.size):
        host = next((m for m in merged if set(factor.scope) <= set(m.scope)), None)
        if host is None:
            merged.append(Factor(factor.scope, np.ascontiguousarray(factor.table, dtype=np.float64).copy()))
        else:
            host.table[...] += aligned(factor.scope, factor.table, host.scope)
    return merged


def sum_of_shares(
    space: SearchSpace, shares: Iterable[tuple[Sequence[Choice], Any, Sequence[Condition]]]
) -> AdditiveCost:
    """The cost of an architecture as the sum over what runs in it.

    Args:
        space: of the architectures.
        shares: (choices, cost, conditions): a table that broadcasts to the choices' options, counted where all
            conditions hold.
    """
    factors: list[Factor] = []
    constant = 0.0
    for choices, cost, conditions in shares:
        switches = (choice for dim, _ in conditions for choice in choices_in(dim))
        scope = tuple(dict.fromkeys((*choices, *switches)))
        table = np.asarray(cost, dtype=np.float64)
        table = table.reshape(table.shape + (1,) * (len(scope) - len(choices)))
        table = np.broadcast_to(table, [len(choice.options) for choice in scope])
        for dim, allowed in conditions:
            table = table * np.isin(grid(dim, scope), list(allowed))
        if scope:
            factors.append(Factor(tuple(space.position(choice.name) for choice in scope), np.ascontiguousarray(table)))
        else:
            constant += float(table.sum())
    return AdditiveCost(space, factors, constant)


class Terms:
    """A sum of tables, each over a few choices, with which a layer's formula calculates as with a number.

    Widths that are joined hang on many choices, and a table over all of these would be huge; what a layer costs is a
    sum over the widths. Only tables of one term have powers.
    """

    def __init__(self, terms: Sequence[tuple[tuple[Choice, ...], NDArray[Any]]]) -> None:
        self.terms = list(terms)

    @staticmethod
    def of(dim: Dim) -> Terms:
        """Those of an argument: one, or one for each width that is joined."""
        parts = [(choices_in(part), part) for part in separate(dim)]
        return Terms([(own, _all_values(part) if own else np.asarray(resolve(part, {}))) for own, part in parts])

    def __add__(self, other: Any) -> Terms:
        return Terms([*self.terms, *_terms(other)])

    def __mul__(self, other: Any) -> Terms:
        products: list[tuple[tuple[Choice, ...], NDArray[Any]]] = []
        for (own, table), (others, factor) in itertools.product(self.terms, _terms(other)):
            scope = tuple(dict.fromkeys((*own, *others)))
            products.append((scope, np.asarray(aligned(own, table, scope) * aligned(others, factor, scope))))
        return Terms(products)

    def __pow__(self, exponent: int) -> Terms:
        ((scope, table),) = self.terms
        return Terms([(scope, np.asarray(table**exponent))])

    __radd__, __rmul__ = __add__, __mul__


def _terms(value: Any) -> list[tuple[tuple[Choice, ...], NDArray[Any]]]:
    return value.terms if isinstance(value, Terms) else [((), np.asarray(value))]


def grid(dim: Dim, scope: Sequence[Choice]) -> Any:
    """The values of `dim` over the product of the scope's options: an array that broadcasts to its shape."""
    own = choices_in(dim)
    return aligned(own, _all_values(dim), scope) if own else resolve(dim, {})


@lru_cache(maxsize=4096)
def _all_values(dim: Dim) -> NDArray[Any]:
    """The value of `dim` for each combination of its choices, an axis a choice; numbers as float64."""
    own = choices_in(dim)
    picks = itertools.product(*(choice.options for choice in own))
    values = [resolve(dim, {choice.name: o for choice, o in zip(own, pick, strict=True)}) for pick in picks]
    numbers = all(isinstance(value, int | float) for value in values)
    array = np.array(values, dtype=np.float64 if numbers else object)
    return array.reshape([len(choice.options) for choice in own])

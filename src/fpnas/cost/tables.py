"""Costs as tables: each factor is one over few choices, so thousands of architectures cost one gather.

A cost is the sum of its factors (FLOPs, parameters, bytes of weights) or the greatest of them (memory).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from fpnas.cost.elimination import Factor, Join, aligned, least
from fpnas.elastic.dims import Dim, choices_in, resolve, separate
from fpnas.elastic.submodules import Condition
from fpnas.space import Choice, SearchSpace


class _Tables:
    """Factors over the choices of a space, of which an architecture reads an entry each.

    Letters: V choices, K architectures, F factors.
    """

    def __init__(self, space: SearchSpace, factors: Sequence[Factor], join: Join, constant: float) -> None:
        self.space = space
        self.factors = _merged(factors, join)
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

    def entries(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, "K F"]:
        """Of each architecture the entry of each factor."""
        return self._flat[(codes.double() @ self._strides + self._offsets).long()]


class AdditiveCost(_Tables):
    """A constant and a sum of factors over the choices of a space; vectorised over architectures."""

    def __init__(self, space: SearchSpace, factors: Sequence[Factor], constant: float = 0.0) -> None:
        super().__init__(space, factors, np.add, constant)

    def __call__(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """The cost of each architecture."""
        return self.entries(codes).sum(dim=1) + self.constant

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

        Exact; see `elimination.least`.
        """
        factors = [Factor(factor.scope, sign * factor.table) for factor in self.factors]
        total, codes = least(self.space, factors, np.add, sign * self.constant)
        return sign * total, codes


class MaxCost(_Tables):
    """The greatest of a constant and of factors over the choices of a space; vectorised over architectures.

    What an architecture needs at its worst moment, such as the memory of its largest operation. `beside`, where there
    is one, is needed all the time and comes on top.
    """

    def __init__(
        self,
        space: SearchSpace,
        factors: Sequence[Factor],
        constant: float = 0.0,
        beside: AdditiveCost | None = None,
    ) -> None:
        super().__init__(space, factors, np.maximum, constant)
        self.beside = beside

    def __call__(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """The cost of each architecture."""
        greatest = self.greatest(codes)
        return greatest if self.beside is None else greatest + self.beside(codes)

    def greatest(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """The greatest alone."""
        if not self.factors:
            return torch.full((len(codes),), self.constant, dtype=torch.float64)
        return self.entries(codes).amax(dim=1).clamp_min(self.constant)

    def above(self, most: float) -> list[Factor]:
        """Prices that are infinite where a factor exceeds `most`, and 0 elsewhere."""
        tables = [(factor.scope, factor.table > most) for factor in self.factors]
        return [Factor(scope, np.where(table, np.inf, 0.0)) for scope, table in tables if table.any()]

    def extreme(self, sign: int) -> tuple[float, tuple[int, ...]]:
        """The least (sign 1) or the greatest (-1) cost of the whole space and the codes of an architecture that has it.

        Exact. The least is found as that of a sum is, with the greater in place of the sum. The greatest is the
        greatest entry of all: whatever a factor reads can be set so, the other choices being free. With a sum beside
        it, that sum is least or greatest for each of the entries in question.
        """
        if self.beside is not None:
            return self._least_with(self.beside) if sign > 0 else self._greatest_with(self.beside)
        if sign > 0:
            return least(self.space, self.factors, np.maximum, self.constant)
        codes, most = [0] * len(self.space), self.constant
        for factor in self.factors:
            if factor.table.max() > most:
                most, place = float(factor.table.max()), np.unravel_index(factor.table.argmax(), factor.table.shape)
                codes = [0] * len(self.space)
                for variable, code in zip(factor.scope, place, strict=True):
                    codes[variable] = int(code)
        return most, tuple(codes)

    def _least_with(self, beside: AdditiveCost) -> tuple[float, tuple[int, ...]]:
        """The sum is least without a limit, and grows as the greatest must stay below what it was before."""
        low = least(self.space, self.factors, np.maximum, self.constant)[0]
        found, limit = (np.inf, tuple([0] * len(self.space))), np.inf
        while limit > low:
            below = float(np.nextafter(limit, -np.inf)) if np.isfinite(limit) else limit
            total, codes = least(self.space, [*beside.factors, *self.above(below)], np.add, beside.constant)
            if low + total >= found[0]:
                break
            row = torch.tensor([codes])
            found = min(found, (float(self(row)), codes))
            limit = float(self.greatest(row))
        return found

    def _greatest_with(self, beside: AdditiveCost) -> tuple[float, tuple[int, ...]]:
        """Of the sums of one factor and what is beside: what is greatest in one of them is greatest in all."""
        parts = [*([factor] for factor in self.factors), []]
        found = [
            least(self.space, [Factor(f.scope, -f.table) for f in (*part, *beside.factors)], np.add)[1]
            for part in parts
        ]
        return max((float(self(torch.tensor([codes]))), codes) for codes in found)


def _merged(factors: Sequence[Factor], join: Join) -> list[Factor]:
    """Fewer, equal when joined: a factor whose scope lies within another's is joined to it."""
    merged: list[Factor] = []
    for factor in sorted(factors, key=lambda factor: -factor.table.size):
        host = next((m for m in merged if set(factor.scope) <= set(m.scope)), None)
        if host is None:
            merged.append(Factor(factor.scope, np.ascontiguousarray(factor.table, dtype=np.float64).copy()))
        else:
            host.table[...] = join(host.table, aligned(factor.scope, factor.table, host.scope))
    return merged


Share = tuple[Sequence[Choice], Any, Sequence[Condition]]
"""(choices, cost, conditions): a table that broadcasts to the choices' options, counted where all conditions hold."""


def sum_of_shares(space: SearchSpace, shares: Iterable[Share]) -> AdditiveCost:
    """The cost of an architecture as the sum over what runs in it."""
    factors, constants = _factors(space, shares)
    return AdditiveCost(space, factors, sum(constants, 0.0))


def greatest_of_shares(space: SearchSpace, shares: Iterable[Share], beside: AdditiveCost | None = None) -> MaxCost:
    """The cost of an architecture as the greatest, at least 0, of what runs in it, and `beside` on top."""
    merged: dict[tuple[int, ...], Factor] = {}
    factors, constants = _factors(space, shares)
    for factor in factors:
        same = merged.get(factor.scope, factor)
        merged[factor.scope] = Factor(factor.scope, np.maximum(same.table, factor.table))
    return MaxCost(space, [*merged.values()], max(constants, default=0.0), beside)


def _factors(space: SearchSpace, shares: Iterable[Share]) -> tuple[list[Factor], list[float]]:
    """A factor for each share that reads choices, and what the others are."""
    factors: list[Factor] = []
    constants: list[float] = []
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
            constants.append(float(table.sum()))
    return factors, constants


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

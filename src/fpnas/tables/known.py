"""`KnownTable`: a space whose accuracies and costs are known; the value that every reader gives.

A table has one or more *rotations*. In each, a noisy value is the reward that a search sees, and another, the truth,
judges what the search has found: one training run against the mean of the others, or two surrogates that were fitted on
rows that they don't share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float64, Int64
from numpy.typing import NDArray
from torch import Tensor

from fpnas.cost import Budget, CostModel, additive_table
from fpnas.errors import InputError, unknown_name
from fpnas.space import Arch, SearchSpace


class Values(Protocol):
    """A number for each architecture of a space; picklable, so that it can go to another process."""

    def __call__(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """The numbers of these architectures."""
        ...


class Lookup:
    """Values of all architectures of a space, in the order of their codes, the last choice fastest."""

    def __init__(self, space: SearchSpace, values: NDArray[np.float64]) -> None:
        assert len(values) == space.size
        self._strides = torch.from_numpy(strides(space))
        self.values = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float64))

    def __call__(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """One gather."""
        return self.values[(codes * self._strides).sum(dim=1)]


@dataclass(frozen=True)
class SurrogateFit:
    """How well a surrogate says what rows that it never saw hold.

    Args:
        num_rows: rows that it was fitted on.
        num_heldout: rows that it is judged on.
        r2: share of the held-out variance that it explains.
        rank_correlation: Spearman's, on the same rows.
    """

    num_rows: int
    num_heldout: int
    r2: float
    rank_correlation: float


@dataclass(frozen=True)
class Rotation:
    """What a search sees and what it is judged by, both as accuracy, a fraction; the fits where they are surrogates."""

    reward: Values
    truth: Values
    reward_fit: SurrogateFit | None = None
    truth_fit: SurrogateFit | None = None


@dataclass(frozen=True)
class Best:
    """The best architecture that is known to meet a budget: its true accuracy, a fraction, and cost (None: no budget).

    Args:
        exact: whether it is the best of all, or the best that a long local search on the truth has found.
    """

    arch: Arch
    truth: float
    cost: float | None
    exact: bool


@dataclass(frozen=True, eq=False)
class KnownTable:
    """Known accuracies and costs of a space.

    Args:
        name: of the table, for settings and files.
        space: the space.
        rotations: at least one.
        costs: cost models by their column, such as "flops".
        exhaustive: whether each value is a row of the table; else surrogates give them.
        digest: of the rows: tables with equal ones hold the same.
        facts: what arch.json says beside choices and costs.
        good: codes (N, V) of rows to begin a search for the best from; for surrogates.
        notes: sentences about the table that a results file repeats.
    """

    name: str
    space: SearchSpace
    rotations: tuple[Rotation, ...]
    costs: Mapping[str, CostModel]
    exhaustive: bool
    digest: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    good: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()

    def rotation(self, number: int) -> Rotation:
        """The rotation of that number, from 0, or `InputError`."""
        if not 0 <= number < len(self.rotations):
            raise InputError(f"a rotation of 0 to {len(self.rotations) - 1}", str(number), "choose one of these")
        return self.rotations[number]

    def cost(self, column: str | None = None) -> CostModel:
        """The cost model of a column; the first one where none is named.

        Raises:
            InputError: the table has no costs, or none of that name.
        """
        if not self.costs:
            raise InputError("a table with costs", f"{self.name}, which has none", "name a cost column")
        if column is not None and column not in self.costs:
            raise unknown_name("cost column", column, self.costs)
        return self.costs[next(iter(self.costs)) if column is None else column]

    def best(self, rotation: int, budget: Budget | None = None) -> Best:
        """The best architecture by the truth of a rotation, within a budget where one is given.

        Of an exhaustive table it is the best of all; of a surrogate, what a local search with one and two changes at
        a time reaches from the best rows.
        """
        truth = self.rotation(rotation).truth
        if self.exhaustive:
            codes = torch.from_numpy(all_codes(self.space))
        else:
            codes = _climb(self, truth, budget)
        codes = _within(codes, budget)
        if not len(codes):
            assert budget is not None
            got = f"{budget.target:g}, which no architecture meets"
            raise InputError(f"a target of {budget.cost.name} that the table can meet", got, "raise it")
        values = truth(codes)
        top = codes[values.argmax()]
        cost = None if budget is None else float(budget.cost(top[None]))
        return Best(self.space.decode(top.tolist()), float(values.max()), cost, self.exhaustive)


def strides(space: SearchSpace) -> NDArray[np.int64]:
    """What a step in each choice moves in the order of codes, the last choice fastest."""
    return np.array([*np.cumprod(np.array(space.cardinalities[:0:-1], dtype=np.int64))[::-1], 1], dtype=np.int64)


def all_codes(space: SearchSpace) -> NDArray[np.int64]:
    """The codes of every architecture, in order: (size, V)."""
    return np.stack(np.unravel_index(np.arange(space.size), space.cardinalities), axis=1).astype(np.int64)


def _within(codes: Tensor, budget: Budget | None) -> Tensor:
    return codes if budget is None else codes[budget.cost(codes) <= budget.target]


def _climb(table: KnownTable, truth: Values, budget: Budget | None, beam: int = 24) -> Tensor:
    """The best architectures that local search reaches: from the best `beam` known ones, all single changes until none
    helps, then all pairs of changes of the best, and again."""
    assert table.good is not None
    start = torch.from_numpy(table.good)
    sums = None if budget is None else additive_table(budget.cost)
    if sums is not None:  # with the cheapest, so that there is one to begin from
        start = torch.cat([start, torch.tensor([sums.extreme(1)[1]])])
    codes = _top(_within(start, budget), truth, beam)
    while len(codes):
        near = torch.cat([codes, *(_neighbours(row, table.space) for row in codes)])
        found = _top(_within(near, budget), truth, beam)
        if torch.equal(found, codes):
            singles = _neighbours(found[0], table.space)
            pairs = torch.cat([found, *(_neighbours(row, table.space) for row in singles)])
            found = _top(_within(pairs, budget), truth, beam)
            if torch.equal(found[0], codes[0]):
                break
        codes = found
    return codes


def _top(codes: Tensor, truth: Values, count: int) -> Tensor:
    codes = torch.unique(codes, dim=0)  # sorted, so ties fall the same way each time
    return codes[truth(codes).argsort(descending=True, stable=True)[:count]]


def _neighbours(row: Tensor, space: SearchSpace) -> Tensor:
    """All architectures that differ from this one in one choice."""
    changes = [(v, c) for v, n in enumerate(space.cardinalities) for c in range(n) if c != int(row[v])]
    near = row.repeat(len(changes), 1)
    near[torch.arange(len(changes)), torch.tensor([v for v, _ in changes])] = torch.tensor([c for _, c in changes])
    return near

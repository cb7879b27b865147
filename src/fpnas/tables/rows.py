"""`Rows`: what every reader makes of its file, and the one way from there to a `KnownTable`, with all that is refused.

A table is exhaustive (a row for each architecture of the space, once) or said to be partial: surrogates are fitted.
Rows are counted from 1, without a header; a text file's line is named beside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fpnas.cost import CostModel
from fpnas.errors import InputError
from fpnas.space import SearchSpace
from fpnas.tables.costs import exhaustive_cost, fitted_cost
from fpnas.tables.known import KnownTable, Lookup, Rotation, strides
from fpnas.tables.surrogate import surrogate_rotations

MAX_ROWS = 5_000_000
"""Rows of a table at most: some hundred bytes of memory each."""

GOOD = 256
"""How many of a partial table's best rows the search for the best architecture begins from."""


@dataclass(frozen=True)
class Column:
    """A cost column: what its cost is called in messages, such as "FLOPs", and its values (N,)."""

    name: str
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a file. Letters: N rows, V choices, R runs.

    Args:
        name: of the table.
        source: the file, for messages.
        space: the space.
        codes: (N, V).
        reward: (N, R), accuracy as a fraction that a search sees in rotation r.
        truth: (N, R), what judges it then.
        costs: by column.
        facts: what arch.json says beside choices and costs.
        seeds: (N,), what tells trainings of one architecture apart; None where each architecture has one row.
        header_lines: lines of the file before row 1, None where it has none to count.
        notes: sentences that a results file repeats.
    """

    name: str
    source: str
    space: SearchSpace
    codes: NDArray[np.int64]
    reward: NDArray[np.float64]
    truth: NDArray[np.float64]
    costs: Mapping[str, Column]
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seeds: NDArray[np.int64] | None = None
    header_lines: int | None = None
    notes: tuple[str, ...] = ()

    def where(self, index: int) -> str:
        """Row and line of an index."""
        return place(self.source, index, self.header_lines)

    def known(self, partial: bool = False) -> KnownTable:
        """Validates the rows and makes the table of them.

        Args:
            partial: rows are a sample of the space; surrogates are fitted.

        Raises:
            InputError: a value that isn't finite or out of range, a row twice, or an architecture that is missing.
        """
        self._refuse_values()
        self._refuse_twice()
        if self.seeds is not None:
            return self._averaged().known(partial)
        if partial:
            return self._partial()
        self._refuse_missing()
        order = np.argsort(self.codes @ strides(self.space))
        rotations = tuple(
            Rotation(Lookup(self.space, self.reward[order, r]), Lookup(self.space, self.truth[order, r]))
            for r in range(self.reward.shape[1])
        )
        costs = {key: exhaustive_cost(c.name, self.space, c.values[order]) for key, c in self.costs.items()}
        return self._table(rotations, costs)

    def _averaged(self) -> Rows:
        """A row an architecture, in order of first appearance: the means over its seeds."""
        _, first, back = np.unique(self.codes, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        members = np.argsort(order)[back.ravel()]
        counts = np.bincount(members)

        def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
            total = np.zeros((len(counts), *values.shape[1:]))
            np.add.at(total, members, values)
            return total / counts.reshape(-1, *[1] * (values.ndim - 1))

        costs = {key: Column(column.name, mean(column.values)) for key, column in self.costs.items()}
        for key, column in self.costs.items():
            for index in np.flatnonzero(~np.isclose(costs[key].values[members], column.values, rtol=1e-9))[:1]:
                got = f"another in {self.where(int(index))}"
                raise InputError(f"one {key!r} for all seeds of an architecture", got, "mend that row")
        notes = (*self.notes, f"{len(members):,} trainings of {len(counts):,} architectures, averaged over their seeds")
        return replace(
            self, codes=self.codes[np.sort(first)], reward=mean(self.reward), truth=mean(self.truth), costs=costs,
            seeds=None, notes=notes,
        )  # fmt: skip

    def _partial(self) -> KnownTable:
        reward, truth = self.reward.mean(axis=1), self.truth.mean(axis=1)
        costs = {key: fitted_cost(c.name, self.space, self.codes, c.values) for key, c in self.costs.items()}
        rotations = surrogate_rotations(self.codes, reward, truth)
        best = np.argsort(-truth, kind="stable")[:GOOD]
        # Cheap rows too, so that there is a place to begin from under any target that a row meets.
        cheap = [np.argsort(column.values, kind="stable")[:GOOD] for column in self.costs.values()]
        spread = [np.arange(0, len(truth), max(1, len(truth) // 4096))]
        good = self.codes[np.unique(np.concatenate([best, *cheap, *spread]))]
        fits = [fit for rotation in rotations for fit in (rotation.reward_fit, rotation.truth_fit) if fit is not None]
        r2, ranks = (sorted(values) for values in zip(*((f.r2, f.rank_correlation) for f in fits), strict=True))
        note = (
            f"{len(truth):,} rows of {self.space.size:.3g} architectures: values are those of boosted trees, held-out "
            f"R2 {r2[0]:.3f} to {r2[-1]:.3f}, rank correlation {ranks[0]:.3f} to {ranks[-1]:.3f}"
        )
        return self._table(rotations, costs, good, (note,))

    def _table(
        self,
        rotations: tuple[Rotation, ...],
        costs: Mapping[str, CostModel],
        good: NDArray[np.int64] | None = None,
        notes: tuple[str, ...] = (),
    ) -> KnownTable:
        digest = hashlib.sha256(repr(self.space).encode())
        order = np.lexsort(self.codes.T[::-1])  # two files with the same rows in other orders are one table
        for array in (self.codes, self.reward, self.truth, *(column.values for column in self.costs.values())):
            digest.update(np.ascontiguousarray(array[order]).tobytes())
        return KnownTable(
            name=self.name,
            space=self.space,
            rotations=rotations,
            costs=costs,
            exhaustive=good is None,
            digest=digest.hexdigest()[:16],
            facts=self.facts,
            good=good,
            notes=(*self.notes, *notes),
        )

    def _refuse_values(self) -> None:
        for values in (self.reward, self.truth):
            for index in np.flatnonzero(~((values >= 0) & (values <= 1)).all(axis=1))[:1]:
                worst = next(v for v in values[index].tolist() if not 0 <= v <= 1)
                got = f"{100 * worst:g} in {self.where(int(index))}"
                raise InputError("accuracies of 0 to 100 %", got, "mend or remove that row")
        for key, column in self.costs.items():
            for index in np.flatnonzero(~(np.isfinite(column.values) & (column.values > 0)))[:1]:
                got = f"{float(column.values[index]):g} in {self.where(int(index))}"
                raise InputError(f"finite costs above 0 in {key!r}", got, "mend or remove that row")

    def _refuse_twice(self) -> None:
        rows = self.codes if self.seeds is None else np.column_stack([self.codes, self.seeds])
        order = np.lexsort(rows.T[::-1])  # stable: of equal rows the first in the file comes first
        same = np.flatnonzero((rows[order[1:]] == rows[order[:-1]]).all(axis=1))
        if len(same):
            index = int(order[same + 1].min())
            first = int(np.flatnonzero((rows == rows[index]).all(axis=1))[0])
            got = f"{self.where(index)}, which repeats row {first + 1}"
            once = "each architecture once" if self.seeds is None else "each architecture and seed once"
            fix = "remove one of them" + (", or name the column of seeds" if self.seeds is None else "")
            raise InputError(once, got, fix)

    def _refuse_missing(self) -> None:
        if len(self.codes) == self.space.size:
            return
        size = f"{self.space.size:,}" if self.space.size < 10**12 else f"{self.space.size:.3g}"
        expected = f"a row for each of {size} architectures"
        got = f"{len(self.codes):,} rows in {self.source}"
        if self.space.size <= MAX_ROWS:
            present = np.zeros(self.space.size, dtype=bool)
            present[self.codes @ strides(self.space)] = True
            rank = int(np.flatnonzero(~present)[0])
            codes = [int(code) for code in np.unravel_index(rank, self.space.cardinalities)]
            options = ", ".join(f"{name}={option}" for name, option in self.space.decode(codes).items())
            got += f", none for number {rank + 1} in order: {options}"
        raise InputError(expected, got, "add what is missing, or say that the table is partial (--partial)")


def place(source: str, index: int, header_lines: int | None) -> str:
    """ "row 5 (line 6) of FILE" for index 4 under one header line."""
    line = "" if header_lines is None else f" (line {index + 1 + header_lines})"
    return f"row {index + 1}{line} of {source}"


def in_rotation(runs: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Reward and truth of each rotation from R runs (N, R): a run, and the mean of the others (of one run, itself)."""
    count = runs.shape[1]
    if count == 1:
        return runs, runs
    return runs, (runs.sum(axis=1, keepdims=True) - runs) / (count - 1)

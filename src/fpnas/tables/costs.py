"""Cost models from a table's cost column: an exact sum of factors, so that the answer within a budget is exact too.

An exhaustive column is a sum over the choices (as FLOPs of a layer-wise space are) or else one factor over all of them.
Of a partial column a sum over the choices, or over the groups, is fitted, and refused where it doesn't fit the rows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fpnas.cost import AdditiveCost
from fpnas.cost.elimination import Factor
from fpnas.cost.models import FromTables
from fpnas.distribution import Partition, groups, singletons
from fpnas.errors import InputError
from fpnas.space import SearchSpace

TOLERANCE = 1e-3
"""The greatest relative error of a fitted sum on any row of its table."""

MAX_UNKNOWNS = 20_000
"""Unknowns of a fit at most: its matrix has a column for each."""


class TableCost(FromTables[AdditiveCost]):
    """A cost that is known from a table.

    Args:
        name: what is counted, such as "FLOPs".
        table: the factors.
    """

    def __init__(self, name: str, table: AdditiveCost) -> None:
        super().__init__(table.space, table)
        self.name = name


def exhaustive_cost(name: str, space: SearchSpace, values: NDArray[np.float64]) -> TableCost:
    """The cost whose values for all architectures, in the order of codes, are these."""
    dense = values.reshape(space.cardinalities)
    corner = float(dense[(0,) * len(space)])
    factors: list[Factor] = []
    total = np.full(space.cardinalities, corner)
    for v, n in enumerate(space.cardinalities):
        line = dense[tuple(slice(None) if u == v else 0 for u in range(len(space)))] - corner
        factors.append(Factor((v,), line))
        total += line.reshape([n if u == v else 1 for u in range(len(space))])
    if np.allclose(total, dense, rtol=1e-12, atol=0):
        return TableCost(name, AdditiveCost(space, factors, corner))
    return TableCost(name, AdditiveCost(space, [Factor(tuple(range(len(space))), dense)]))


def fitted_cost(name: str, space: SearchSpace, codes: NDArray[np.int64], values: NDArray[np.float64]) -> TableCost:
    """The sum over choices, or else over groups, that gives these rows' costs to `TOLERANCE`, by least squares.

    Raises:
        InputError: neither does, or the rows don't show every option.
    """
    worst = np.inf
    for cells in dict.fromkeys([singletons(space), groups(space)]):
        found = _fit(space, cells, codes, values)
        if found is not None:
            table, error = found
            if error <= TOLERANCE:
                return TableCost(name, table)
            worst = min(worst, error)
    got = "too few rows to tell" if np.isinf(worst) else f"one that such a sum misses by up to {100 * worst:.1f} %"
    expected = f"a cost {name!r} of a partial table that is a sum over its choices or groups"
    raise InputError(expected, got, "name another cost column, or give all architectures")


def _fit(
    space: SearchSpace, cells: Partition, codes: NDArray[np.int64], values: NDArray[np.float64]
) -> tuple[AdditiveCost, float] | None:
    """Factors of these cells and the greatest relative error; None where the rows can't determine them."""
    shapes = [tuple(space.cardinalities[v] for v in cell) for cell in cells]
    sizes = [int(np.prod(shape)) for shape in shapes]
    if sum(sizes) > min(MAX_UNKNOWNS, 10 * len(codes)):
        return None
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    matrix = np.zeros((len(codes), offsets[-1]))
    for cell, shape, offset in zip(cells, shapes, offsets[:-1], strict=True):
        matrix[np.arange(len(codes)), offset + np.ravel_multi_index(tuple(codes[:, list(cell)].T), shape)] = 1
    # Cells share one constant: a sum over C cells has C - 1 unknowns fewer than columns.
    if np.linalg.matrix_rank(matrix) < offsets[-1] - (len(cells) - 1):
        return None
    unknowns, *_ = np.linalg.lstsq(matrix, values, rcond=None)
    error = float(np.max(np.abs(matrix @ unknowns / values - 1)))
    parts: list[NDArray[np.float64]] = np.split(unknowns.astype(np.float64), offsets[1:-1])
    factors = [Factor(cell, part.reshape(shape)) for cell, part, shape in zip(cells, parts, shapes, strict=True)]
    return AdditiveCost(space, factors), error

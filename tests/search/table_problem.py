"""What the tests of methods on the table of known losses share; alpha's moves without tensors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import helpers_run as h
import pytest
from torch import Tensor

import fpnas
from fpnas.search import CostTerm

Codes = tuple[int, ...]
Table = dict[Codes, float]
BEST = (1, 1, 2, 3, 0)
assert min(h.ALL_CODES, key=h.table_loss) == BEST


def rows_of(codes: Tensor) -> list[Codes]:
    return [tuple(row) for row in codes.tolist()]


SAMPLES = CostTerm(beta=0.3, floor=0.05, estimator="samples")


def budget_of(target: float = 60.0) -> fpnas.Budget:
    return fpnas.Budget(h.TableCost(), target)


class SlowGradient:
    """Softmax tables, the gradient of sum_k w_k log P(A_k) and Adam (.5, .999), in dictionaries."""

    def __init__(self, cells: Sequence[Codes], lr: float) -> None:
        self.lr = lr
        self.put([dict.fromkeys(options, 0.0) for options in map(options_of, cells)], cells)

    def put(self, logits: list[Table], cells: Sequence[Codes]) -> None:
        """Other tables, with a fresh Adam."""
        self.logits, self.cells, self.count = logits, list(cells), 0
        self.first = [dict.fromkeys(table, 0.0) for table in logits]
        self.second = [dict.fromkeys(table, 0.0) for table in logits]

    def probabilities(self) -> list[Table]:
        """The softmax of each table."""
        totals = [sum(math.exp(value) for value in table.values()) for table in self.logits]
        return [
            {option: math.exp(value) / total for option, value in table.items()}
            for table, total in zip(self.logits, totals, strict=True)
        ]

    def gradients(self, codes: Sequence[Codes], weights: Sequence[float]) -> list[Table]:
        """Of -sum_k w_k log P(A_k): w (p - onehot) for each."""
        found = []
        for cell, p in zip(self.cells, self.probabilities(), strict=True):
            taken = [tuple(code[v] for v in cell) for code in codes]
            found.append({o: sum(w * (p[o] - (o == t)) for w, t in zip(weights, taken, strict=True)) for o in p})
        return found

    def move(self, codes: Sequence[Codes], weights: Sequence[float]) -> None:
        self.adam(self.gradients(codes, weights))

    def adam(self, gradients: list[Table]) -> None:
        self.count += 1
        for logits, first, second, gradient in zip(self.logits, self.first, self.second, gradients, strict=True):
            for o, g in gradient.items():
                first[o] = 0.5 * first[o] + 0.5 * g
                second[o] = 0.999 * second[o] + 0.001 * g * g
                mean, square = first[o] / (1 - 0.5**self.count), second[o] / (1 - 0.999**self.count)
                logits[o] -= self.lr * mean / (math.sqrt(square) + 1e-8)

    def assert_as(self, distribution: fpnas.ArchDistribution) -> None:
        assert distribution.partition == tuple(self.cells)
        for row, table in zip(distribution.logits.tolist(), self.logits, strict=True):
            assert row[: len(table)] == pytest.approx(list(table.values()), abs=1e-9)


def options_of(cell: Codes) -> list[Codes]:
    """All options of a cell of choices, the last varying fastest."""
    return list(itertools.product(*(range(h.TABLE_SPACE.cardinalities[v]) for v in cell)))

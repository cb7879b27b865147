"""What the tests of methods on the table of known losses share."""

from __future__ import annotations

import helpers_run as h
from torch import Tensor

import fpnas
from fpnas.search import CostTerm

Codes = tuple[int, ...]
BEST = (1, 1, 2, 3, 0)
assert min(h.ALL_CODES, key=h.table_loss) == BEST


def rows_of(codes: Tensor) -> list[Codes]:
    return [tuple(row) for row in codes.tolist()]


SAMPLES = CostTerm(beta=0.3, floor=0.05, estimator="samples")


def budget_of(target: float = 60.0) -> fpnas.Budget:
    return fpnas.Budget(h.TableCost(), target)

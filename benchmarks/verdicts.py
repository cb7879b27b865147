"""Verdicts on paired differences that noise can't win: by Student's t interval, which keeps its level at few seeds.

A bootstrap of five values does not: its 95 % interval leaves the truth out in about a sixth of the cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.stats import t as student

MARGIN = 0.3
"""Points of accuracy that count as no loss, named beforehand."""

LEAST = 5
"""Seeds below which nothing is known."""

Word = Literal["ahead", "behind", "no worse", "not known"]


@dataclass(frozen=True)
class Verdict:
    """A mean paired difference.

    Args:
        mean: of the differences.
        low, high: its 95 % interval; infinite for a single difference.
        seeds: how many differences.
        word: "ahead" or "behind" where the interval excludes 0; else "no worse" where it lies above -margin; else "not
            known", as always with fewer than `LEAST` seeds.
    """

    mean: float
    low: float
    high: float
    seeds: int
    word: Word

    def __str__(self) -> str:
        if self.seeds < 2:
            return f"{self.mean:+.2f} points ({self.word}: one seed)"
        few = "" if self.seeds >= LEAST else f": {self.seeds} seeds"
        return f"{self.mean:+.2f} points [{self.low:+.2f}, {self.high:+.2f}] ({self.word}{few})"


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean of independent values, and the ends of its interval by Student's t; infinite for a single value."""
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return mean, -math.inf, math.inf
    half = _quantile((1 + level) / 2, count - 1) * float(np.std(values, ddof=1)) / math.sqrt(count)
    return mean, mean - half, mean + half


@lru_cache
def _quantile(share: float, freedom: int) -> float:
    """Of Student's t."""
    return float(student.ppf(share, freedom))


def verdict(differences: Sequence[float], margin: float = MARGIN) -> Verdict:
    """What paired differences say, ours less theirs by seed, where more is better.

    Example:
        >>> verdict([0.5, 0.7, 0.4, 0.6, 0.5]).word
        'ahead'
        >>> verdict([0.5, 0.7, 0.4]).word
        'not known'
    """
    mean, low, high = interval(differences)
    word: Word = "not known"
    if len(differences) >= LEAST:
        word = "ahead" if low > 0 else "behind" if high < 0 else "no worse" if low > -margin else "not known"
    return Verdict(mean, low, high, len(differences), word)

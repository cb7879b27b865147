"""Where an accuracy stands among those of a pool, and how well a judge's scores rank it. Plain numbers in and out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from fpnas.space import Arch


@dataclass(frozen=True)
class Standing:
    """Of one accuracy among a pool's.

    Args:
        accuracy: in per cent.
        percentile: of the pool's networks that are worse, in per cent; those that are as good count half.
        best_of: the fewest random networks of the pool's kind of which the best is expected to be as good; None where
            even the pool's best isn't.
        gap: points that it lies below the pool's best; negative above.
    """

    accuracy: float
    percentile: float
    best_of: int | None
    gap: float


def standing(accuracy: float, pool: Sequence[float]) -> Standing:
    """Where `accuracy` stands.

    Example:
        >>> standing(72.0, [70.0, 71.0, 72.0, 73.0])
        Standing(accuracy=72.0, percentile=62.5, best_of=2, gap=1.0)
    """
    values = np.asarray(pool, dtype=np.float64)
    percentile = 100 * float(np.mean(values < accuracy) + np.mean(values == accuracy) / 2)
    return Standing(accuracy, percentile, best_of(accuracy, pool), float(values.max() - accuracy))


def expected_best(pool: Sequence[float], count: int) -> float:
    """The mean of the best of `count` draws from the pool, with replacement."""
    values = np.sort(np.asarray(pool, dtype=np.float64))
    below = (np.arange(len(values) + 1) / len(values)) ** count  # P(the best is among the worst so many)
    return float(values @ np.diff(below))


def best_of(accuracy: float, pool: Sequence[float], most: int = 100_000) -> int | None:
    """The least count whose expected best is at least `accuracy`; None where none up to `most` is."""
    if expected_best(pool, most) < accuracy:
        return None
    low, high = 0, most  # the expectation rises with the count
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if expected_best(pool, middle) >= accuracy else (middle, high)
    return high


# ---------------------------------------------------------------------------------------------------------- the judge


@dataclass(frozen=True)
class Misjudged:
    """An option of a choice, and the rank error of the networks that have it.

    Args:
        networks: of the pool that have it.
        mean: of their ranks by score, 0 to 100, less what their true ranks let expect: below 0 it is judged too low.
        error: standard error of that mean.
    """

    networks: int
    mean: float
    error: float


def spearman(scores: ArrayLike, truth: ArrayLike) -> float:
    """Rank correlation, ties sharing their ranks; 0 where all of one side are alike."""
    a, b = rankdata(scores), rankdata(truth)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else 0.0


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """0 to 100."""
    found = rankdata(values)
    return 100 * (found - 1) / max(1, len(found) - 1)


def misjudged(archs: Sequence[Arch], scores: ArrayLike, truth: ArrayLike) -> dict[str, Misjudged]:
    """The rank error of each option, "choice=option", over the networks on which it has an effect.

    A noisy judge draws all ranks to the middle, those of truly good options downwards: that is no bias. So a rank by
    score is compared with its expectation at this rank correlation, 50 + rho * (the true rank - 50).
    """
    expected = 50 + spearman(scores, truth) * (ranks(truth) - 50)
    errors = ranks(scores) - expected
    having: dict[str, list[float]] = {}
    for arch, error in zip(archs, errors.tolist(), strict=True):
        for name, option in arch.items():
            if matters(arch, name):
                having.setdefault(f"{name}={option}", []).append(error)
    return {
        name: Misjudged(len(own), float(np.mean(own)), float(np.std(own, ddof=1) / math.sqrt(len(own))))
        for name, own in sorted(having.items())
        if len(own) > 1
    }


def matters(arch: Mapping[str, object], name: str) -> bool:
    """Whether a choice has an effect: a bypassed block has a width alone."""
    owner, _, variable = name.rpartition(".")
    return variable not in ("act", "splits", "expansion") or arch.get(f"{owner}.kernel") != 0

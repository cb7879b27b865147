"""Curves of a run, thinned so that 100,000 steps are as light as a thousand, and what fewer samples saved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fpnas.report.reading import Column, Steps

POINTS = 300
"""Points of a curve at most: more than a phone has pixels for, and about half of a desktop's."""


def thinned(x: Column, y: Column, points: int = POINTS) -> dict[str, list[float]]:
    """A curve of at most `points` points: in equal parts of the steps, the mean, least and greatest of y.

    Where there are no more values than points, these are all the same value. Steps without a number are left out.
    """
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) <= points:
        edges = np.arange(len(x))
    else:
        edges = np.linspace(0, len(x), points, endpoint=False).astype(np.int64)
    if not len(x):
        return {"x": [], "y": [], "low": [], "high": []}
    counts = np.diff(np.append(edges, len(x)))
    return {
        "x": rounded(np.add.reduceat(x, edges) / counts),
        "y": rounded(np.add.reduceat(y, edges) / counts),
        "low": rounded(np.minimum.reduceat(y, edges)),
        "high": rounded(np.maximum.reduceat(y, edges)),
    }


def rounded(values: Column, digits: int = 5) -> list[float]:
    """To so many significant digits: what a plot can show, at a third of the bytes."""
    return [float(f"{value:.{digits}g}") for value in values.tolist()]


@dataclass(frozen=True)
class Savings:
    """What the adaptive K saved against a fixed K = K0, the greatest of a step.

    Args:
        k0: K while the distribution was uniform; a warm-up may have taken fewer.
        samples: architectures drawn.
        samples_fixed: those that K0 at every step would have drawn.
        seconds: of all steps.
        seconds_fixed: estimated: the steps' own seconds, and for each sample fewer than K0 the slope of a line through
            the median seconds of the steps at each K, drawn for steps with and without a move of alpha by themselves.
    """

    k0: int
    samples: int
    samples_fixed: int
    seconds: float
    seconds_fixed: float

    @property
    def samples_saved(self) -> float:
        """As a share of the fixed number."""
        return 1 - self.samples / self.samples_fixed

    @property
    def seconds_saved(self) -> float:
        """As a share of the estimated seconds."""
        return 1 - self.seconds / self.seconds_fixed if self.seconds_fixed else 0.0


def savings(steps: Steps) -> Savings | None:
    """None where the log says nothing of K, or no look has ended yet."""
    known = np.isfinite(steps["num_samples"])
    counted = steps["num_samples"][known & (steps["drawn"] != 0)]  # one step of each look
    if not len(counted):
        return None
    k, seconds = steps["num_samples"][known], np.nan_to_num(steps["seconds"][known])
    moving = np.isfinite(steps["val_loss"][known])
    k0, more = float(k.max()), 0.0
    for phase in (moving, ~moving):
        more += _slope(k[phase], seconds[phase]) * float((k0 - k[phase]).sum())
    total = float(seconds.sum())
    return Savings(int(k0), int(counted.sum()), int(k0) * len(counted), total, max(0.0, total + more))


def _slope(k: Column, seconds: Column) -> float:
    """Seconds a sample: least squares through the medians at each K, weighed by the steps; 0 to proportional."""
    if not len(k):
        return 0.0
    values, counts = np.unique(k, return_counts=True)
    medians = np.array([np.median(seconds[k == value]) for value in values])
    if len(values) == 1:
        return float(medians[0] / values[0]) if values[0] else 0.0
    centre, level = np.average(values, weights=counts), np.average(medians, weights=counts)
    spread = float((counts * (values - centre) ** 2).sum())
    slope = float((counts * (values - centre) * (medians - level)).sum()) / spread
    # Above level / centre, steps of no samples would take less than no time: the machine had changed its pace.
    return min(max(0.0, slope), float(level / centre))


def excerpt(steps: Steps, names: tuple[str, ...], rows: int = 8) -> list[dict[str, Any]]:
    """A few steps, first and last among them, as the table beside the curves."""
    if not len(steps):
        return []
    picked = np.unique(np.linspace(0, len(steps) - 1, rows).astype(np.int64))
    table = [{name: float(steps[name][index]) for name in ("step", *names)} for index in picked]
    return [{name: None if math.isnan(value) else value for name, value in row.items()} for row in table]

"""Verdicts keep their level at five seeds, and say nothing at fewer."""

from __future__ import annotations

import numpy as np
import pytest
from helpers_benchmarks import benchmark

verdicts = benchmark("verdicts")
TRIALS, SEEDS = 10_000, 5


@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_pure_noise_is_seldom_ahead_or_behind(spread: float) -> None:
    noise = np.random.default_rng(0).normal(0, spread, (TRIALS, SEEDS))
    words = [verdicts.verdict(row.tolist()).word for row in noise]
    share = sum(word in ("ahead", "behind") for word in words) / TRIALS
    assert 0.04 < share <= 0.055


@pytest.mark.parametrize("spread", [0.02, 0.3, 1.0])
def test_a_loss_of_the_margin_is_seldom_no_worse(spread: float) -> None:
    lost = np.random.default_rng(1).normal(-verdicts.MARGIN, spread, (TRIALS, SEEDS))
    words = [verdicts.verdict(row.tolist()).word for row in lost]
    assert sum(word in ("no worse", "ahead") for word in words) / TRIALS <= 0.055


def test_what_is_so_is_found() -> None:
    noise = np.random.default_rng(2).normal(0, 0.1, SEEDS)
    for shift, word in ((1.0, "ahead"), (-1.0, "behind"), (0.0, "no worse")):
        assert verdicts.verdict((noise - noise.mean() + shift).tolist()).word == word
    wide = [-2.0, 2.0, 1.0, -1.0, 0.0]
    assert verdicts.verdict(wide).word == "not known"


@pytest.mark.parametrize("count", range(1, 5))
def test_few_seeds_say_nothing(count: int) -> None:
    found = verdicts.verdict([1.0 + 1e-6 * number for number in range(count)])
    assert found.word == "not known"
    assert "not known" in str(found)


def test_the_interval_is_students() -> None:
    # Values 1 to 5: standard error 0.7071, t(4, 97.5 %) = 2.7764 by any table.
    mean, low, high = verdicts.interval([1, 2, 3, 4, 5])
    assert (mean, low, high) == pytest.approx((3, 3 - 2.7764 * 0.70711, 3 + 2.7764 * 0.70711), abs=1e-3)

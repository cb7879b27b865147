"""`GaussianProcess` against the textbook: dense matrices by loops, the level a variable of great variance."""

from __future__ import annotations

import math

import helpers_run as h
import numpy as np
import pytest
import torch
from enumeration import SPACE
from numpy.typing import NDArray

from fpnas.gaussian import KEPT, GaussianProcess

VAGUE = 1e7
"""Variance of the level: as good as unknown, small enough for float64."""


def rows(seed: int, num: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Architectures, and scores in which two choices matter together."""
    rng = np.random.default_rng(seed)
    codes = torch.tensor(np.stack([rng.integers(0, n, num) for n in SPACE.cardinalities], axis=1))
    y = (
        1.0 * codes[:, 0]
        - 2.0 * ((codes[:, 4] == 2) ^ (codes[:, 5] == 1)).double()
        + 0.1 * torch.tensor(rng.normal(size=num))
    )
    return codes, 30 + 5 * y


def process_of(seed: int = 0, num: int = 40) -> GaussianProcess:
    process = GaussianProcess(SPACE)
    process.add(*rows(seed, num))
    return process


def covariance(process: GaussianProcess, ours: torch.Tensor, others: torch.Tensor) -> NDArray[np.float64]:
    """k by loops over pairs and choices."""
    a, _, c = (part.tolist() for part in process.parameters.split([2, 1, 2]))
    found = np.zeros((len(ours), len(others)))
    for i, one in enumerate(ours.tolist()):
        for j, other in enumerate(others.tolist()):
            for log_scale, logit in zip(a, c, strict=True):
                value = math.exp(log_scale)
                for mine, its in zip(one, other, strict=True):
                    value *= 1.0 if mine == its else 1 / (1 + math.exp(-logit))
                found[i, j] += value
    return found


def posterior(process: GaussianProcess, asked: torch.Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and covariance of the scores of `asked`; of the level only the mean is taken."""
    y = process.scores.numpy()
    mean, scale = y.mean(), y.std(ddof=1)
    known = covariance(process, process.codes, process.codes) + math.exp(process.parameters[2]) * np.eye(len(y))
    vague = known + VAGUE
    cross = covariance(process, asked, process.codes)
    found = mean + scale * ((cross + VAGUE) @ np.linalg.solve(vague, (y - mean) / scale))
    return found, scale**2 * (covariance(process, asked, asked) - cross @ np.linalg.solve(known, cross.T))


@pytest.mark.parametrize("seed", range(3))
def test_the_mean_is_the_textbooks(seed: int) -> None:
    process = process_of(seed)
    asked, _ = rows(seed + 10, 15)
    found = process.mean(asked)
    assert process.parameters.tolist() != GaussianProcess(SPACE).parameters.tolist()
    np.testing.assert_allclose(found.numpy(), posterior(process, asked)[0], rtol=1e-4, atol=1e-4)


def test_draws_have_the_textbooks_mean_and_covariance() -> None:
    process = process_of(num=12)
    asked = rows(11, 6)[0].unique(dim=0)
    centre, deviations = process.sample(asked, 200_000, torch.Generator().manual_seed(1))
    assert torch.equal(centre, process.mean(asked))
    draws = (centre + deviations).numpy()
    mean, wanted = posterior(process, asked)
    unit = math.sqrt(np.diag(wanted).max())
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.01 * unit)
    np.testing.assert_allclose(np.cov(draws.T), wanted, atol=0.02 * unit**2)


def test_it_foretells_what_a_sum_over_choices_cannot() -> None:
    """Two choices matter only together: a sum of single effects explains nothing of it."""
    process = process_of(num=100)
    asked, truth = rows(99, 200)
    residual = truth - process.mean(asked)
    one_hot = torch.cat([torch.nn.functional.one_hot(asked[:, v], n) for v, n in enumerate(SPACE.cardinalities)], dim=1)
    additive = one_hot.double() @ torch.linalg.lstsq(one_hot.double(), truth[:, None], driver="gelsd").solution
    assert residual.var() < 0.1 * (truth - additive[:, 0]).var()


def test_it_does_not_depend_on_units_or_order() -> None:
    codes, scores = rows(4, 30)
    asked, _ = rows(5, 10)
    plain, scaled, turned = (GaussianProcess(SPACE) for _ in range(3))
    plain.add(codes, scores)
    scaled.add(codes, 1e-3 * scores - 7)
    turned.add(codes.flip(0), scores.flip(0))
    torch.testing.assert_close(scaled.mean(asked), 1e-3 * plain.mean(asked) - 7, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(turned.mean(asked), plain.mean(asked), rtol=1e-3, atol=1e-2)


def test_what_diverged_is_left_out_and_equal_scores_are_no_trouble() -> None:
    codes, scores = rows(6, 8)
    process, without = GaussianProcess(SPACE), GaussianProcess(SPACE)
    process.add(codes, torch.where(torch.arange(8) == 3, -torch.inf, scores))
    without.add(codes[torch.arange(8) != 3], scores[torch.arange(8) != 3])
    assert torch.equal(process.mean(codes), without.mean(codes))
    flat = GaussianProcess(SPACE)
    flat.add(codes, torch.full((8,), 2.0, dtype=torch.float64))
    torch.testing.assert_close(flat.mean(rows(7, 5)[0]), torch.full((5,), 2.0, dtype=torch.float64))
    assert flat.sample(rows(7, 5)[0], 3, torch.Generator())[1].isfinite().all()


def test_it_keeps_the_best_and_the_latest() -> None:
    process = GaussianProcess(SPACE)
    codes, _ = rows(8, KEPT + 100)
    scores = torch.arange(KEPT + 100).flip(0).double()  # the first are the best
    process.add(codes, scores)
    kept = set(process.scores.tolist())
    assert len(process) == len(kept) == KEPT
    assert set(scores[: KEPT // 2].tolist()) <= kept
    assert set(scores[-(KEPT // 2) :].tolist()) <= kept


def test_a_resumed_one_is_the_unbroken_one() -> None:
    unbroken, first, second = (GaussianProcess(SPACE) for _ in range(3))
    asked, _ = rows(9, 12)
    for process in (unbroken, first):
        for seed in range(3):
            process.add(*rows(seed, 9))
            if process is first:
                process.mean(asked)  # to be asked changes nothing
    second.load_state_dict(h.through_file(first.state_dict()))
    for process in (unbroken, second):
        process.add(*rows(5, 2))
    assert torch.equal(second.mean(asked), unbroken.mean(asked))

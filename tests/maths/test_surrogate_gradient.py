"""The surrogate's expected gradient is the gradient of the loss (eq. 7), against exact enumeration.

Two proofs. With many samples, the mean over repetitions tends to the gradient of the whole loss
-log E[P(y|A)] + beta * log(E[C] + floor), which autograd takes from the sum over all architectures. With few, every
sample that there is gets enumerated: of the likelihood's term, the control variate leaves the expectation to rounding
and lowers the variance; of the cost's, it shifts the expectation by little.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from enumeration import PARTITIONS, SPACE, every_codes, with_random_logits
from torch import Tensor

from fpnas import ArchDistribution, Choice, SearchSpace
from fpnas.distribution import groups
from fpnas.estimators import architecture_loss, cost_shares, importance_weights
from fpnas.streams import generator

BETA = 1.0


def tables(space: SearchSpace, seed: int) -> tuple[Tensor, Tensor]:
    """log P(y|A) in nats and the excess C(A) of every architecture, made up: a part that is each option's own, and
    a part that only the whole architecture decides. About half of them exceed the target."""
    random = torch.Generator().manual_seed(seed)
    every = torch.tensor(every_codes(space))
    results = []
    for _ in range(2):
        table = torch.randn(space.size, generator=random, dtype=torch.float64)
        for column, count in enumerate(space.cardinalities):
            table += torch.randn(count, generator=random, dtype=torch.float64)[every[:, column]]
        results.append(table)
    return results[0], results[1].clamp(min=0) / 5


def positions(codes: Tensor, space: SearchSpace) -> Tensor:
    """Where codes stand in the enumeration, the last choice varying fastest."""
    number = torch.zeros(len(codes), dtype=torch.int64)
    for column, count in enumerate(space.cardinalities):
        number = number * count + codes[:, column]
    return number


def exact_gradient(distribution: ArchDistribution, loglik: Tensor, excess: Tensor, beta: float, floor: float) -> Tensor:
    """Of -log E[P(y|A)] + beta * log(E[C(A)] + floor), by autograd through the sum over all architectures."""
    probability = distribution.log_prob(torch.tensor(every_codes(distribution.space))).exp()
    loss = -(probability * loglik.exp()).sum().log()
    if beta:
        loss = loss + beta * ((probability * excess).sum() + floor).log()
    return torch.autograd.grad(loss, [distribution.logits])[0]


def mean_gradient(
    distribution: ArchDistribution,
    loglik: Tensor,
    excess: Tensor,
    beta: float,
    floor: float,
    *,
    num_samples: int,
    repetitions: int,
    control_variate: bool,
) -> Tensor:
    """The mean of what a search step takes for the gradient."""
    total = torch.zeros_like(distribution.logits)
    random = generator(0, "surrogate", num_samples)
    for _ in range(repetitions):
        codes = distribution.sample(num_samples, random)
        drawn = positions(codes, distribution.space)
        loss = architecture_loss(
            distribution.log_prob(codes),
            importance_weights(loglik[drawn]),
            cost_shares(excess[drawn], floor),
            beta,
            control_variate,
        )
        total += torch.autograd.grad(loss, [distribution.logits])[0]
    return total / repetitions


LOSSES = {"likelihood": (0.0, 0.0), "cost": (BETA, 0.0), "cost with a floor": (BETA, 0.05)}


@pytest.mark.parametrize(
    ("partition", "control_variate"),
    [("FD", True), ("JD", True), ("FD", False)],
    ids=["FD", "JD", "FD, no control variate"],
)
def test_the_mean_gradient_tends_to_the_exact_one(partition: str, control_variate: bool) -> None:
    """At K = 3 the estimate is biased by half; 320,000 samples in steps of 8,000 leave about 1 %, most of it noise."""
    distribution = with_random_logits(PARTITIONS[partition], seed=11, scale=0.7)
    loglik, excess = tables(SPACE, seed=12)
    exact = {name: exact_gradient(distribution, loglik, excess, *loss) for name, loss in LOSSES.items()}
    for one, other in itertools.combinations(exact.values(), 2):
        assert (one - other).norm() > 0.1 * one.norm(), "the losses must differ by more than the tolerance"

    for name, (beta, floor) in LOSSES.items():
        errors = {}
        for num_samples, repetitions in ((3, 200), (8000, 40)):
            estimate = mean_gradient(
                distribution,
                loglik,
                excess,
                beta,
                floor,
                num_samples=num_samples,
                repetitions=repetitions,
                control_variate=control_variate,
            )
            errors[num_samples] = float((estimate - exact[name]).norm() / exact[name].norm())
        assert errors[8000] < 0.03, (name, errors)
        assert errors[8000] < errors[3] / 5, (name, errors)


SMALL = SearchSpace([Choice("g.a", (1, 2)), Choice("g.solo", (1,)), Choice("g.b", (1, 2))])


def exact_moments(
    distribution: ArchDistribution, loglik: Tensor, excess: Tensor, beta: float, floor: float, num_samples: int
) -> list[tuple[Tensor, float]]:
    """Mean and total variance of a step's gradient over all 4^K samples that there are, each with its probability:
    without and with the control variate. No noise, so what is equal is so to rounding."""
    log_prob = distribution.log_prob(torch.tensor(every_codes(SMALL)))
    # scores[A]: the gradient of log P(A) in all logits.
    scores = torch.stack([torch.autograd.grad(lp, [distribution.logits], retain_graph=True)[0] for lp in log_prob])
    log_prob = log_prob.detach()
    samples = [list(sample) for sample in itertools.product(range(SMALL.size), repeat=num_samples)]
    probability = torch.stack([log_prob[sample].sum().exp() for sample in samples])
    assert probability.sum().item() == pytest.approx(1.0, abs=1e-12)
    moments = []
    for control_variate in (False, True):
        rows = []
        for sample in samples:
            leaf = log_prob[sample].requires_grad_()
            q, share = importance_weights(loglik[sample]), cost_shares(excess[sample], floor)
            loss = architecture_loss(leaf, q, share, beta, control_variate)
            rows.append(torch.autograd.grad(loss, [leaf])[0])
        gradients = torch.einsum("nk,nkcs->ncs", torch.stack(rows), scores[torch.tensor(samples)])
        mean = torch.einsum("n,ncs->cs", probability, gradients)
        moments.append((mean, torch.einsum("n,ncs->", probability, (gradients - mean) ** 2).item()))
    return moments


def small(joint: bool) -> tuple[ArchDistribution, Tensor, Tensor]:
    partition = groups(SMALL) if joint else tuple((index,) for index in range(3))
    return with_random_logits(partition, seed=13, scale=0.7, space=SMALL), *tables(SMALL, seed=14)


@pytest.mark.parametrize("num_samples", [2, 3, 4])
@pytest.mark.parametrize("joint", [False, True], ids=["FD", "JD"])
def test_the_control_variate_leaves_the_expectation_and_lowers_the_variance(joint: bool, num_samples: int) -> None:
    moments = exact_moments(*small(joint), 0.0, 0.0, num_samples)
    (plain, variance), (reduced, lower) = moments
    assert plain.norm() > 0.05
    torch.testing.assert_close(reduced, plain, rtol=0, atol=1e-13)
    assert lower < variance / 2


@pytest.mark.parametrize("joint", [False, True], ids=["FD", "JD"])
@pytest.mark.parametrize("floor", [0.0, 0.05])
def test_with_a_cost_the_control_variate_shifts_the_expectation_by_little(floor: float, joint: bool) -> None:
    """The shares don't always sum to the same, so their mean is no constant, and subtracting it is not quite exact.
    The shift is a small-K bias beside that of the ratios themselves, and falls with K as theirs does."""
    distribution, loglik, excess = small(joint)
    exact = exact_gradient(distribution, loglik, excess, BETA, floor)
    shifts = []
    for num_samples in (2, 4):
        (plain, variance), (reduced, lower) = exact_moments(distribution, loglik, excess, BETA, floor, num_samples)
        shifts.append((reduced - plain).norm().item())
        assert shifts[-1] < (plain - exact).norm()
        assert lower < variance * (0.9 if floor else 1.1)
    assert shifts[0] < 0.15 * exact.norm()
    assert shifts[1] <= shifts[0]

"""K, importance weights, cost shares and eq. 7's coefficients, each against the formula written out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fpnas import InputError, SampleSize, spaces
from fpnas.estimators import architecture_loss, cost_shares, divisor, importance_weights


@pytest.mark.parametrize(
    ("entropy", "expected"),
    [(56.25, 14), (58.1, 15), (9.9, 2), (10.1, 3), (8.0, 2), (4.0, 2), (1.0, 2), (0.0, 2)],
)
def test_adaptive_k_is_a_quarter_of_the_entropy_rounded_and_at_least_2(entropy: float, expected: int) -> None:
    assert SampleSize.adaptive()(entropy) == SampleSize.adaptive(0.25)(entropy) == expected


@pytest.mark.parametrize(("lam", "expected"), [(1 / 2, 28), (1 / 4, 14), (1 / 8, 7), (1 / 16, 4)])
def test_k0_of_fbnetv2_f_at_the_papers_lambdas(lam: float, expected: int) -> None:
    assert SampleSize.adaptive(lam)(spaces.fbnetv2_f().space.max_entropy) == expected


def test_the_least_k() -> None:
    size = SampleSize.adaptive(1.0, at_least=5)
    assert [size(entropy) for entropy in (0.0, 5.4, 7.0, 9.4, 100.0)] == [5, 5, 7, 9, 100]
    assert SampleSize.adaptive(1.0, at_least=1)(0.2) == 1


@given(st.floats(0, 1e6), st.integers(1, 1000))
def test_fixed_k_heeds_no_entropy(entropy: float, num: int) -> None:
    assert SampleSize.fixed(num)(entropy) == num


@pytest.mark.parametrize("lam", [-0.1, math.nan, math.inf])
def test_sample_size_refuses_a_lambda(lam: float) -> None:
    with pytest.raises(InputError, match="lambda of 0 to 100"):
        SampleSize.adaptive(lam)


@pytest.mark.parametrize("least", [0, -1])
def test_sample_size_refuses_a_least_k(least: int) -> None:
    with pytest.raises(InputError, match="1 architecture a step or more"):
        SampleSize.adaptive(0.25, least)
    with pytest.raises(InputError):
        SampleSize.fixed(0)


def test_divisor() -> None:
    assert divisor("product", 64) == 1.0
    assert divisor("mean", 64) == 64.0
    assert divisor(8.5, 64) == 8.5


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_divisor_refuses(temperature: float) -> None:
    with pytest.raises(InputError, match="temperature above 0"):
        divisor(temperature, 64)


MEANS = [-1.20, -1.25, -1.17, -1.40]
"""Mean log-likelihoods of four architectures over a batch."""
BATCH = 64


@pytest.mark.parametrize(("temperature", "power"), [("product", BATCH), ("mean", 1), (8.0, BATCH / 8)])
def test_importance_weights_by_hand(temperature: float | str, power: float) -> None:
    """P(y|X) as the product over 64 images, as their geometric mean, and between the two."""
    likelihoods = [math.exp(mean) ** power for mean in MEANS]
    expected = torch.tensor([p / sum(likelihoods) for p in likelihoods], dtype=torch.float64)
    loglik = torch.tensor(MEANS, dtype=torch.float64) * BATCH
    q = importance_weights(loglik, divisor(temperature, BATCH))  # type: ignore[arg-type]
    torch.testing.assert_close(q, expected, rtol=1e-12, atol=0)


def test_importance_weights_of_likelihoods_that_no_float_can_hold() -> None:
    q = importance_weights(torch.tensor([-1e5, -1e5 + math.log(3.0), -2e5], dtype=torch.float64))
    torch.testing.assert_close(q, torch.tensor([0.25, 0.75, 0.0], dtype=torch.float64), rtol=1e-9, atol=0)


def test_importance_weights_are_made_in_double_precision() -> None:
    assert importance_weights(torch.tensor([-1.0, -2.0])).dtype == torch.float64


def test_cost_shares_by_hand() -> None:
    excess = torch.tensor([0.0, 0.1, 0.3, 0.0], dtype=torch.float64)
    torch.testing.assert_close(cost_shares(excess).tolist(), [0.0, 0.25, 0.75, 0.0])
    # 0.4 + 4 * 0.05 = 0.6
    torch.testing.assert_close(cost_shares(excess, floor=0.05).tolist(), [0.0, 1 / 6, 1 / 2, 0.0])


@pytest.mark.parametrize("floor", [0.0, 0.05])
def test_cost_shares_are_0_where_nothing_exceeds_the_target(floor: float) -> None:
    assert cost_shares(torch.zeros(5, dtype=torch.float64), floor).tolist() == [0.0] * 5


@pytest.mark.parametrize("control_variate", [False, True])
def test_the_surrogates_coefficients_are_those_of_eq_7(control_variate: bool) -> None:
    q = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    share = torch.tensor([0.0, 0.25, 0.75], dtype=torch.float64)
    log_prob = torch.tensor([-3.0, -1.0, -2.0], dtype=torch.float64, requires_grad=True)
    loss = architecture_loss(log_prob, q, share, beta=0.4, control_variate=control_variate)
    (gradient,) = torch.autograd.grad(loss, [log_prob])
    m = [0.5, 0.3 - 0.4 * 0.25, 0.2 - 0.4 * 0.75]
    mean = sum(m) / 3 if control_variate else 0.0
    torch.testing.assert_close(gradient.tolist(), [-(m_k - mean) for m_k in m], rtol=0, atol=1e-15)
    assert loss.item() == pytest.approx(
        sum(g * lp for g, lp in zip(gradient.tolist(), log_prob.tolist(), strict=True)), abs=1e-15
    )


def test_no_gradient_flows_through_the_weights() -> None:
    loglik = torch.tensor([-1.0, -2.0], dtype=torch.float64, requires_grad=True)
    log_prob = torch.tensor([-1.0, -2.0], dtype=torch.float64, requires_grad=True)
    architecture_loss(log_prob, importance_weights(loglik), cost_shares(torch.ones(2)), beta=0.1).backward()
    assert log_prob.grad is not None
    assert loglik.grad is None

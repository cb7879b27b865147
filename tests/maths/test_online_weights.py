"""The one-pass weighted gradient (`OnlineWeights`) equals the two-pass one: all log-weights first, then the sum.

Any order, repeats, and log-weights that no float could hold as weights; what is left out as negligible changes the
gradient by no more than its share.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fpnas.evaluators.gradients import OnlineWeights


@dataclass(frozen=True)
class Sample:
    """A sampled architecture: which loss it has (by seed), its log-weight and how often it was drawn."""

    seed: int
    log_weight: float
    count: int = 1


def parameters() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (4,), (2, 2), (5,)]
    return [torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def loss_of(sample: Sample, weights: Sequence[Tensor]) -> Tensor:
    """Shared weights are in every loss, the third in every second one alone, and the last in none."""
    generator = torch.Generator().manual_seed(sample.seed)
    x = torch.randn(6, 3, generator=generator, dtype=torch.float64)
    loss = (x @ weights[0] + weights[1]).tanh().pow(2).mean()
    return loss + (weights[2] * x[:2, :2]).sin().sum() if sample.seed % 2 else loss


def two_pass(samples: Sequence[Sample]) -> tuple[list[Tensor | None], float]:
    """softmax over all draws, then the weighted loss, then one backward pass through everything."""
    draws = [sample for sample in samples for _ in range(sample.count)]
    q = torch.tensor([sample.log_weight for sample in draws], dtype=torch.float64).softmax(dim=0)
    weights = parameters()
    loss = torch.stack([loss_of(sample, weights) for sample in draws]) @ q
    loss.backward()
    return [weight.grad for weight in weights], loss.item()


def one_pass(samples: Sequence[Sample], negligible: float = 0.0) -> tuple[list[Tensor | None], float]:
    weights = parameters()
    online = OnlineWeights(weights, negligible)
    for sample in samples:
        online.add(loss_of(sample, weights), sample.log_weight, sample.count)
    loss = online.finish()
    return [weight.grad for weight in weights], loss


def assert_equal(samples: Sequence[Sample]) -> None:
    expected, expected_loss = two_pass(samples)
    gradients, loss = one_pass(samples)
    assert loss == pytest.approx(expected_loss, rel=1e-10)
    assert gradients[3] is None
    assert expected[3] is None
    for gradient, wanted in zip(gradients[:3], expected[:3], strict=True):
        if wanted is None:
            assert gradient is None
        else:
            assert gradient is not None
            scale = max(1e-30, float(wanted.abs().max()))
            torch.testing.assert_close(gradient / scale, wanted / scale, rtol=0, atol=1e-10)


some_samples = st.lists(
    st.builds(Sample, st.integers(0, 50), st.floats(-50, 50), st.integers(1, 5)), min_size=1, max_size=12
)


@settings(max_examples=60)
@given(some_samples)
def test_equals_the_two_pass_gradient(samples: list[Sample]) -> None:
    assert_equal(samples)


@pytest.mark.parametrize("order", ["rising", "falling", "shuffled"])
@pytest.mark.parametrize("spread", [0.0, 1e-3, 10.0, 1000.0, 1e5])
def test_in_every_order_and_at_every_spread(spread: float, order: str) -> None:
    """At a spread of 1000 nats exp() of the log-weights overflows one way and underflows the other."""
    samples = [Sample(seed, (seed / 9 - 0.5) * spread, 1 + seed % 3) for seed in range(10)]
    if order == "falling":
        samples.reverse()
    elif order == "shuffled":
        random.Random(0).shuffle(samples)
    assert_equal(samples)


def test_gradients_from_before_are_cleared() -> None:
    weights = parameters()
    for weight in weights:
        weight.grad = torch.full_like(weight, 1e6)
    online = OnlineWeights(weights)
    online.add(loss_of(Sample(1, 0.0), weights), 0.0)
    online.finish()
    for weight, wanted in zip(weights, two_pass([Sample(1, 0.0)])[0], strict=True):
        if wanted is None:
            assert weight.grad is None
        else:
            torch.testing.assert_close(weight.grad, wanted, rtol=0, atol=1e-14)


@pytest.mark.parametrize("seed", range(6))
def test_what_is_negligible_changes_the_gradient_by_no_more_than_its_share(seed: int) -> None:
    """With d the share left out, g = (1 - d) g' + d g_out, so |g - g'| <= d (|g_out| + |g'|); each of the samples left
    out weighs less than 1e-3 of the greatest, hence less than 1e-3 of the sum."""
    negligible = 1e-3
    rng = random.Random(seed)
    samples = [Sample(0, 0.0), *(Sample(k, rng.uniform(-10, 1), rng.randint(1, 2)) for k in range(1, 12))]
    top, left_out, kept = -math.inf, [], []
    for sample in samples:
        top = max(top, sample.log_weight)
        small = sample.count * math.exp(sample.log_weight - top) < negligible
        (left_out if small else kept).append(sample)
    total = sum(sample.count * math.exp(sample.log_weight) for sample in samples)
    share = sum(sample.count * math.exp(sample.log_weight) for sample in left_out) / total
    assert 0 < share < len(left_out) * negligible

    gradients, loss = one_pass(samples, negligible)
    expected, expected_loss = two_pass(samples)
    exact_of_kept, _ = two_pass(kept)
    greatest = max(
        float(torch.cat([g.flatten() for g in two_pass([sample])[0] if g is not None]).norm()) for sample in samples
    )
    difference = torch.cat([(g - e).flatten() for g, e in zip(gradients[:3], expected[:3], strict=True)])
    assert float(difference.norm()) <= 2 * share * greatest + 1e-15
    assert abs(loss - expected_loss) <= 2 * share * 10
    for gradient, wanted in zip(gradients[:3], exact_of_kept[:3], strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-12)


def test_what_is_negligible_is_not_run_backwards() -> None:
    backward_passes: list[int] = []
    weights = parameters()
    online = OnlineWeights(weights, negligible=1e-3)
    for number, log_weight in enumerate([0.0, -6.9, -6.92, 5.0, -1.9, -1.95, 5.0]):
        loss = loss_of(Sample(number, 0.0), weights)
        loss.register_hook(lambda gradient, number=number: backward_passes.append(number))
        online.add(loss, log_weight)
    # log(1e-3) = -6.908: the third and the sixth lie below it, seen from the best so far.
    assert backward_passes == [0, 1, 3, 4, 6]


def test_repeats_count_towards_what_is_negligible() -> None:
    with_two = one_pass([Sample(0, 0.0), Sample(1, -7.0, 2)], negligible=1e-3)
    alone = one_pass([Sample(0, 0.0), Sample(1, -7.0, 1)], negligible=1e-3)
    assert with_two[0][2] is not None
    assert alone[0][2] is None

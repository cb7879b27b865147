"""PARSEC and REINFORCE on a table of known losses, step by step beside a slow version in dictionaries."""

from __future__ import annotations

import math

import helpers_run as h
import pytest
import torch
from table_problem import SlowGradient, budget_of, rows_of

import fpnas
from fpnas.distribution import groups
from fpnas.search import CostTerm
from fpnas.search.alpha_update import Gradient
from fpnas.search.sampling import Sampling
from fpnas.streams import generator


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_parsec_is_the_slow_one_with_k_fixed_and_joint_from_the_start(beta: float) -> None:
    """Eq. 7 without a baseline: w_k = q_k - beta * share_k."""
    job = fpnas.methods.parsec(
        h.TableEvaluator(),
        budget_of(),
        num_samples=7,
        epochs=3,
        seed=2,
        temperature=5.0,
        cost_term=CostTerm(beta, 0.05),
        lr=0.08,
        warmup=0.1,
    )
    slow = SlowGradient([(0, 1), (2, 3), (4,)], 0.08)
    for number in range(job.steps_total):
        record = job.step().metrics
        assert (record["num_samples"], record["joined"]) == (7, True)
        if number >= 3:  # warm-up is 0.1 of 30 steps
            codes = rows_of(job.evaluator.scored[-1])
            likely = [math.exp(-16 * h.table_loss(code) / 5.0) for code in codes]
            excess = [max(0.0, h.table_cost(code) / 60.0 - 1) for code in codes]
            shares = [c / (sum(excess) + 7 * 0.05) if sum(excess) else 0.0 for c in excess]
            slow.move(codes, [q / sum(likely) - beta * c for q, c in zip(likely, shares, strict=True)])
        slow.assert_as(job.distribution)
    assert job.result().num_samples_total == 7 * job.steps_total
    assert job.distribution.partition == groups(h.TABLE_SPACE)


@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_reinforce_is_the_slow_one(beta: float) -> None:
    """The mean over k of (reward_k - baseline) * grad log P(A_k), the baseline the decayed mean of those before."""
    job = fpnas.methods.reinforce(
        h.TableEvaluator(),
        budget_of(),
        num_samples=5,
        epochs=3,
        seed=2,
        baseline_decay=0.8,
        cost_term=CostTerm(beta),
        lr=0.08,
        warmup=0.1,
    )
    slow = SlowGradient([(v,) for v in range(5)], 0.08)
    baseline: float | None = None
    for number in range(job.steps_total):
        record = job.step().metrics
        assert (record["num_samples"], record["joined"]) == (5, False)
        if number >= 3:
            codes = rows_of(job.evaluator.scored[-1])
            rewards = [-h.table_loss(code) - beta * max(0.0, h.table_cost(code) / 60.0 - 1) for code in codes]
            mean = sum(rewards) / 5
            before = mean if baseline is None else baseline
            slow.move(codes, [(reward - before) / 5 for reward in rewards])
            baseline = 0.8 * before + 0.2 * mean
        slow.assert_as(job.distribution)


def test_reinforce_leaves_the_cost_to_an_exact_term() -> None:
    """With an exact term the rewards hold no cost: the gradient is theirs and the term's, the latter by autograd."""
    budget, term = budget_of(), CostTerm(beta=0.5, floor=0.05, estimator="exact")
    settings = {"num_samples": 5, "epochs": 1, "seed": 2, "lr": 0.08, "warmup": 0.0}
    job = fpnas.methods.reinforce(h.TableEvaluator(), budget, **settings, cost_term=term)
    job.step()
    assert isinstance(job.strategy, Sampling)
    assert isinstance(job.strategy.update, Gradient)
    (codes,) = job.evaluator.scored
    uniform = fpnas.ArchDistribution(h.TABLE_SPACE)
    rewards = torch.tensor([-h.table_loss(code) for code in rows_of(codes)], dtype=torch.float64)
    loss = term.loss(budget, uniform, generator(0)) - ((rewards - rewards.mean()) * uniform.log_prob(codes)).mean()
    (wanted,) = torch.autograd.grad(loss, [uniform.logits])
    torch.testing.assert_close(job.distribution.logits.grad, wanted, rtol=0, atol=1e-12)

"""Our methods: FP-NAS's adaptive sampling and coarse-to-fine distribution, with other updates of alpha than eq. 7.

`fpnas_posterior` learns from all past scores, also where they age as those of shared weights do. `fpnas_thompson` is
for scores that never age, such as those of short trainings and of tables, and makes the most of each.
Evaluator, budget, `epochs`, `seed` and `warmup` are as in `methods`.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Literal, get_args

from fpnas.cost import Budget
from fpnas.distribution import ArchDistribution
from fpnas.errors import InputError, unknown_name
from fpnas.estimators import SampleSize, Temperature
from fpnas.evaluators import Evaluator, Gradual, KnowsNetworks
from fpnas.memory import Memory
from fpnas.search.alpha_update import Posterior
from fpnas.search.loop import Search
from fpnas.search.multi_budget import MultiBudget
from fpnas.search.sampling import Sampling
from fpnas.search.thompson import Thompson

WARMUP = 0.3
WARM_SAMPLES = 2
LEAST_COST = 0.9
"""Of the target, what networks at least cost where each is trained shortly: such trainings underrate the dear ones."""

Prior = Literal["uniform", "distinct"]


def fpnas_posterior(
    evaluator: Evaluator,
    budget: Budget | Sequence[Budget] | None = None,
    *,
    lam: float = 0.25,
    join_at: float = 0.45,
    epochs: int = 10,
    seed: int = 0,
    at_least: int = 2,
    temperature: Temperature = "product",
    cooling: float = 1.0,
    prior: Prior = "uniform",
    memory: Memory | None = None,
    warmup: float = WARMUP,
    warm_samples: int | None = None,
) -> Search:
    """alpha is read off a regression on all past scores, and architectures are drawn within the budget (ours).

    See `fpnas.memory` for the regression. The answer is the most probable architecture within the budget.

    Args:
        budget: several, of one cost and rising targets, make one search with a distribution for each; see
            `fpnas.search.multi_budget`.
        lam, join_at, at_least: as of `methods.fpnas`.
        temperature: of the likelihood; see `estimators.divisor`.
        cooling: what the temperature is multiplied by over the search, evenly on a log scale. Below 1 the entropy
            falls further, so fewer are sampled, and what is found is worse.
        prior: what alpha begins with and what scores are laid over. "uniform" has each code equally probable;
            "distinct" each distinct network, so that those with bypassed blocks, which go by many codes, aren't
            favoured: it needs an evaluator that knows its networks, as those of supernets do.
        memory: of scores; by default one that suits the evaluator.
        warm_samples: the most architectures of a step of the warm-up; by default 2 on supernets, else as many as later.
    """
    if prior not in get_args(Prior):
        raise unknown_name("prior", prior, get_args(Prior))
    first = _distinct(evaluator) if prior == "distinct" else None
    if warm_samples is None and not evaluator.stationary:
        warm_samples = max(WARM_SAMPLES, at_least)

    def sampling() -> Sampling:
        start = ArchDistribution(evaluator.space)
        if first is not None:
            start.set_logits(first.logits)
        update = Posterior(copy(memory) or _memory(evaluator, epochs), temperature, cooling, first)
        size = SampleSize.adaptive(lam, at_least)
        return Sampling(start, size, update, join_at=join_at, warm_samples=warm_samples)

    strategy = MultiBudget(budget, [sampling() for _ in budget]) if isinstance(budget, Sequence) else sampling()
    last = budget[-1] if isinstance(budget, Sequence) else budget
    return Search("fpnas-posterior", evaluator, last, strategy, epochs=epochs, seed=seed, warmup=warmup)


def fpnas_thompson(
    evaluator: Evaluator,
    budget: Budget | None = None,
    *,
    lam: float = 0.25,
    join_at: float = 0.45,
    epochs: int = 10,
    seed: int = 0,
    at_least: int = 2,
) -> Search:
    """Draws what a Gaussian process of all scores holds for the best (ours); for judges whose scores never age.

    See `fpnas.search.thompson`. Where the evaluator knows which codes are one network, each distinct network is as
    probable as another before any score. The answer is the best network scored, by what the process expects of it.

    Args:
        lam, join_at, at_least: as of `methods.fpnas`.
        epochs: of short trainings the number of looks at K networks.

    Raises:
        InputError: an evaluator whose scores age, several budgets, or a number out of range.
    """
    prior = _distinct(evaluator) if isinstance(evaluator, KnowsNetworks) else ArchDistribution(evaluator.space)
    least = LEAST_COST if isinstance(evaluator, Gradual) else 0.0
    strategy = Thompson(prior, SampleSize.adaptive(lam, at_least), join_at=join_at, least=least)
    return Search("fpnas-thompson", evaluator, budget, strategy, epochs=epochs, seed=seed, warmup=0.0)


def _distinct(evaluator: Evaluator) -> ArchDistribution:
    """The distribution under which distinct networks are equally probable."""
    if not isinstance(evaluator, KnowsNetworks):
        got = type(evaluator).__name__
        raise InputError("an evaluator that knows which codes are one network", got, 'leave prior at "uniform"')
    distribution = ArchDistribution(evaluator.space)
    distribution.set_logits(evaluator.distinct_logits())
    return distribution


def _memory(evaluator: Evaluator, epochs: int) -> Memory:
    """A table's scores never age and come from no batch; a supernet's age as its weights learn."""
    if evaluator.stationary:
        return Memory(evaluator.space, batch_effect=0.0)
    return Memory(evaluator.space, half_life=max(20.0, 0.1 * epochs * evaluator.steps_per_epoch))

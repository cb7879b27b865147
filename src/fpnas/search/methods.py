"""The published methods, a function each on the one loop. Ours are in `ours`.

All take an evaluator, which judges architectures; a budget, what these may cost, or None to search without; `epochs`,
the length of the search; `seed`, of what is drawn; and `warmup`, the fraction of the epochs in which weights alone
learn (ours). They raise `InputError` where a name is unknown, a number out of range, or arguments don't go together.
"""

from __future__ import annotations

from collections.abc import Callable

from fpnas.cost import Budget
from fpnas.distribution import ArchDistribution, groups
from fpnas.estimators import SampleSize, Temperature
from fpnas.evaluators import Evaluator
from fpnas.search.alpha_update import Baseline, Likelihood, ScoreFunction
from fpnas.search.baselines import Evolution, RandomSearch
from fpnas.search.cost_term import CostTerm
from fpnas.search.loop import Search
from fpnas.search.ours import fpnas_posterior, fpnas_thompson
from fpnas.search.sampling import Sampling
from fpnas.search.soft import Gumbel, Soft, softmax_weights

ALPHA_LR = 0.03
WARMUP = 0.3
FROZEN_AFTER = 0.9


def fpnas(
    evaluator: Evaluator,
    budget: Budget | None = None,
    *,
    lam: float = 0.25,
    join_at: float = 0.45,
    epochs: int = 10,
    seed: int = 0,
    at_least: int = 2,
    temperature: Temperature = 4.0,
    baseline: Baseline = "none",
    cost_term: CostTerm | None = CostTerm(),  # noqa: B008
    lr: float = ALPHA_LR,
    warmup: float = WARMUP,
) -> Search:
    """FP-NAS (Yan et al., CVPR 2021), as the paper has it; what it leaves open is an argument.

    Each step samples K = lambda * entropy architectures (section 3.2), trains the weights on them and moves alpha by
    eq. 7. The variables are independent at first, and joined group by group from theta on (section 3.3). The answer is
    the most probable architecture within the budget.

    Args:
        lam: lambda, architectures for each nat of entropy.
        join_at: theta, as a fraction of the epochs; 1 is never.
        at_least: the least K (open in the paper): with 1 nothing is learnt.
        temperature: of the likelihood (open in the paper); see `estimators.divisor`.
        baseline: "none" is the paper's, "mean" subtracts 1/K from the weights (ours).
        cost_term: of the loss; by default the paper's. None draws within the budget instead (ours): alpha then follows
            the gradient of log P(A|alpha, cost <= target).
        lr: of alpha (open in the paper).

    Example:
        >>> from fpnas import Flops, SupernetEvaluator, data, spaces
        >>> supernet, digits = spaces.tiny(in_channels=1), data.load("digits", image_size=16)
        >>> budget = Budget(Flops(supernet, (1, 16, 16)), target=0.6e6)
        >>> fpnas(SupernetEvaluator(supernet, digits), budget, epochs=1).step().metrics["num_samples"]
        5
    """
    update = Likelihood(lr, temperature, baseline, cost_term)
    start = ArchDistribution(evaluator.space)
    strategy = Sampling(start, SampleSize.adaptive(lam, at_least), update, join_at=join_at)
    return Search("fpnas", evaluator, budget, strategy, epochs=epochs, seed=seed, warmup=warmup)


def parsec(
    evaluator: Evaluator,
    budget: Budget | None = None,
    *,
    num_samples: int = 16,
    epochs: int = 10,
    seed: int = 0,
    temperature: Temperature = 4.0,
    cost_term: CostTerm | None = None,
    lr: float = ALPHA_LR,
    warmup: float = WARMUP,
) -> Search:
    """PARSEC (Casale, Gordon & Fusi 2019): K fixed, 16 on the DARTS space; joint tables from the start; no baseline.

    The original knows no cost. With a budget, architectures are drawn within it (ours: the gradient is then that of
    the truncated distribution); `cost_term` has FP-NAS's instead. Temperature, rate and warm-up are ours.
    """
    start = ArchDistribution(evaluator.space, groups(evaluator.space))
    update = Likelihood(lr, temperature, "none", cost_term)
    strategy = Sampling(start, SampleSize.fixed(num_samples), update, join_at=1.0)
    return Search("parsec", evaluator, budget, strategy, epochs=epochs, seed=seed, warmup=warmup)


def darts(
    evaluator: Evaluator,
    budget: Budget | None = None,
    *,
    epochs: int = 10,
    seed: int = 0,
    lr: float = 3e-4,
    weight_decay: float = 1e-3,
    cost_term: CostTerm | None = None,
    warmup: float = WARMUP,
) -> Search:
    """DARTS, first order (Liu et al. 2019): all candidates are run and mixed by softmax; alpha first, then weights.

    The original knows no cost: the answer is the most probable architecture within the budget. `cost_term`, with a
    floor above 0, holds the expected cost to it as in FP-NAS (ours; see `Soft` for what comes of it). Warm-up is ours.
    """
    relax = softmax_weights
    strategy = Soft(evaluator.space, lr=lr, weight_decay=weight_decay, relax=relax, alpha_every=1, cost_term=cost_term)
    return Search("darts", evaluator, budget, strategy, epochs=epochs, seed=seed, warmup=warmup)


def fbnetv2(
    evaluator: Evaluator,
    budget: Budget | None = None,
    *,
    epochs: int = 10,
    seed: int = 0,
    lr: float = 0.01,
    weight_decay: float = 5e-4,
    temperatures: tuple[float, float] = (5.0, 0.1),
    cost_term: CostTerm | None = None,
    warmup: float = WARMUP,
) -> Search:
    """DMaskingNAS (Wan et al. 2020): Gumbel-softmax over candidates and channel masks, annealed.

    Alpha moves after every fourth step of the weights, which is the original's 80 % and 20 % of the data. The original
    anneals from 5 by 0.956 an epoch over some hundred epochs; so that short searches end as cold, the temperature falls
    evenly on a log scale from the end of the warm-up on (ours). The original has a cost term, of another form;
    `cost_term`, with a floor above 0, adds FP-NAS's at the expected cost. Without it the answer is the most probable
    architecture within the budget.
    """
    relax = Gumbel(*temperatures)
    strategy = Soft(evaluator.space, lr=lr, weight_decay=weight_decay, relax=relax, alpha_every=4, cost_term=cost_term)
    return Search("fbnetv2", evaluator, budget, strategy, epochs=epochs, seed=seed, warmup=warmup)


def reinforce(
    evaluator: Evaluator,
    budget: Budget | None = None,
    *,
    num_samples: int = 4,
    epochs: int = 10,
    seed: int = 0,
    baseline_decay: float = 0.9,
    cost_term: CostTerm | None = None,
    lr: float = ALPHA_LR,
    warmup: float = WARMUP,
) -> Search:
    """REINFORCE (Williams 1992): the score function's gradient of the mean reward, with a moving baseline.

    The reward is the log-likelihood an image. With a budget, architectures are drawn within it (ours), along the
    truncated distribution's gradient; a `cost_term` is taken off the reward instead, and one beta then stands beside
    rewards of whatever spread.
    """
    update = ScoreFunction(lr, baseline_decay, cost_term)
    start = ArchDistribution(evaluator.space)
    strategy = Sampling(start, SampleSize.fixed(num_samples), update, join_at=1.0)
    return Search("reinforce", evaluator, budget, strategy, epochs=epochs, seed=seed, warmup=warmup)


def random(
    evaluator: Evaluator,
    budget: Budget | None = None,
    *,
    num_samples: int = 4,
    epochs: int = 10,
    seed: int = 0,
    warmup: float | None = None,
    frozen: bool = False,
) -> Search:
    """Random search: architectures within the budget, uniformly; the best one scored is the answer.

    On a supernet it scores them while the weights learn. `frozen` is one-shot random search (Bender et al. 2018, Li &
    Talwalkar 2019): a supernet trained on random architectures for `warmup` of the epochs (0.9 then, else 0.3), then
    frozen, and `num_samples` a step scored on one fixed set of the alpha half's images.
    """
    strategy = RandomSearch(evaluator.space, num_samples, frozen)
    warmup = (FROZEN_AFTER if frozen else WARMUP) if warmup is None else warmup
    return Search("random", evaluator, budget, strategy, epochs=epochs, seed=seed, warmup=warmup)


def evolution(
    evaluator: Evaluator,
    budget: Budget | None = None,
    *,
    num_samples: int = 4,
    population: int = 50,
    tournament: int = 10,
    epochs: int = 10,
    seed: int = 0,
    warmup: float | None = None,
    frozen: bool = False,
) -> Search:
    """Regularised evolution (Real et al. 2019) within the budget; the best one scored is the answer.

    `frozen` is one-shot evolution, as single-path one-shot has it (Guo et al. 2020): a trained supernet, then frozen,
    and a fixed set of images that each child is scored on; see `random`.
    """
    strategy = Evolution(evaluator.space, num_samples, population, tournament, frozen)
    warmup = (FROZEN_AFTER if frozen else WARMUP) if warmup is None else warmup
    return Search("evolution", evaluator, budget, strategy, epochs=epochs, seed=seed, warmup=warmup)


METHODS: dict[str, Callable[..., Search]] = {
    "fpnas": fpnas,
    "fpnas-posterior": fpnas_posterior,
    "fpnas-thompson": fpnas_thompson,
    "parsec": parsec,
    "darts": darts,
    "fbnetv2": fbnetv2,
    "reinforce": reinforce,
    "random": random,
    "evolution": evolution,
}
"""Name -> method, as the command line knows them."""

SHORT = "fpnas-thompson"
"""The method that the command line takes by default, by short trainings; the others share a supernet's weights."""

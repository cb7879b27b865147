"""The published methods, and ours: a few lines each on the one loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Literal, get_args

from fpnas.cost import Budget
from fpnas.distribution import ArchDistribution, groups
from fpnas.errors import InputError, unknown_name
from fpnas.estimators import SampleSize, Temperature
from fpnas.evaluators import Evaluator, Gradual, KnowsNetworks
from fpnas.memory import Memory
from fpnas.search.floors import Evolution, Uniform
from fpnas.search.loop import Search
from fpnas.search.many import Many
from fpnas.search.moves import Baseline, Likelihood, Move, Posterior, ScoreFunction
from fpnas.search.sampling import Sampling
from fpnas.search.soft import Gumbel, Soft, softmax_weights
from fpnas.search.thompson import Thompson

ALPHA_LR = 0.03
WARMUP = 0.3
WARM_SAMPLES = 2
FROZEN_AFTER = 0.9
LEAST_COST = 0.9
"""Of the target, what networks at least cost where each is trained shortly: such trainings underrate the dear ones."""

Prior = Literal["uniform", "distinct"]
Update = Literal["posterior", "thompson", "eq7"]


def fpnas(
    evaluator: Evaluator,
    budget: Budget | Sequence[Budget] | None = None,
    *,
    lam: float = 0.25,
    join_at: float = 0.45,
    epochs: int = 10,
    seed: int = 0,
    at_least: int = 2,
    update: Update | None = None,
    temperature: Temperature | None = None,
    cooling: float = 1.0,
    baseline: Baseline = "mean",
    lr: float = ALPHA_LR,
    warmup: float | None = None,
    warm_samples: int | None = None,
    within: bool | None = None,
    prior: Prior | None = None,
    memory: Memory | None = None,
) -> Search:
    """FP-NAS (Yan et al., CVPR 2021): K = lam * entropy architectures a step; factorised, then joint from `join_at` on.

    Args:
        evaluator: judges architectures.
        budget: target and beta; None searches without a cost term. Several, of one cost and rising targets, make one
            search with a distribution for each (ours, see `fpnas.search.many`).
        lam: lambda, architectures for each nat of entropy.
        join_at: theta, as a fraction of the epochs.
        epochs: length of the search.
        seed: of the sampled architectures.
        at_least: the least K (ours).
        update: of alpha. "posterior" learns from all past scores (ours, see `fpnas.memory`); "thompson" draws what a
            Gaussian process of all past scores holds for the best, where scores never age (ours, see
            `fpnas.search.thompson`); "eq7" is the paper's step on the K scores of the moment. By default "thompson"
            where a look takes many steps, else "posterior".
        temperature: of the likelihood (open in the paper, ours); by default 4 with "eq7", "product" with "posterior".
        cooling: of "posterior": what the temperature is multiplied by over the search, evenly on a log scale (ours).
            Below 1 the entropy falls further, so fewer are sampled, and what is found is worse.
        baseline: of "eq7"; "none" is the paper's, "mean" subtracts 1/K from the weights (ours).
        lr: of alpha, with "eq7" (ours).
        warmup: fraction of the epochs with weights only (ours); by default 0.3, and 0 where a look takes many steps:
            then no weights outlast it.
        warm_samples: the most architectures of a step there (ours); by default 2 with "posterior" on supernets,
            else as many as later.
        within: draw only architectures within the budget (ours); by default with "posterior" alone. With "eq7" alpha
            then follows the gradient of log P(A|alpha, cost <= target), and there is no cost term.
        prior: what alpha begins with and what scores are laid over (ours). "uniform" has each code equally probable,
            as the paper has it; "distinct" each distinct network, so that those with bypassed blocks, which go by many
            codes, aren't favoured: it needs an evaluator that knows its networks, as those of supernets do. By default
            "distinct" with "thompson" and such an evaluator, else "uniform".
        memory: of "posterior"; by default one that suits the evaluator.

    Raises:
        InputError: an unknown name, or arguments that don't go together.
    """
    gradual = isinstance(evaluator, Gradual)
    if update is None:
        update = "thompson" if gradual else "posterior"
    if prior is None:
        prior = "distinct" if update == "thompson" and isinstance(evaluator, KnowsNetworks) else "uniform"
    if temperature is None:
        temperature = 4.0 if update == "eq7" else "product"
    if update not in get_args(Update):
        raise unknown_name("update", update, get_args(Update))
    if prior not in get_args(Prior):
        raise unknown_name("prior", prior, get_args(Prior))
    within = update == "posterior" if within is None else within
    first = _distinct(evaluator, update) if prior == "distinct" else None
    size = SampleSize.adaptive(lam, at_least)
    if update == "thompson":
        if isinstance(budget, Sequence):
            raise InputError("one budget", "several", 'use update="posterior"')
        strategy = Thompson(
            first or ArchDistribution(evaluator.space), size, join_at=join_at, least=LEAST_COST if gradual else 0.0
        )
        if gradual and warmup:
            raise InputError("no warm-up of a judge whose looks take many steps", f"{warmup:g}", "leave warmup out")
        warmup = 0.0 if gradual else WARMUP if warmup is None else warmup
        return Search("fpnas", evaluator, budget, strategy, epochs=epochs, seed=seed, warmup=warmup)
    warmup = WARMUP if warmup is None else warmup
    if warm_samples is None and update == "posterior" and not evaluator.stationary:
        warm_samples = max(WARM_SAMPLES, at_least)

    def sampling() -> Sampling:
        move: Move = Likelihood(lr, temperature, baseline)
        if update == "posterior":
            move = Posterior(copy(memory) or _memory(evaluator, epochs), temperature, cooling, first)
        start = ArchDistribution(evaluator.space)
        if first is not None:
            start.set_logits(first.logits)
        return Sampling(start, size, move, join_at=join_at, within=within, warm_samples=warm_samples)

    if isinstance(budget, Sequence):
        if within and update == "eq7":
            got = 'update="eq7" with within=True'
            raise InputError("an update that serves several budgets", got, 'use "posterior", or within=False')
        strategy = Many(budget, [sampling() for _ in budget])
        return Search("fpnas", evaluator, budget[-1], strategy, epochs=epochs, seed=seed, warmup=warmup)
    return Search("fpnas", evaluator, budget, sampling(), epochs=epochs, seed=seed, warmup=warmup)


def parsec(
    evaluator: Evaluator,
    budget: Budget | None = None,
    *,
    num_samples: int = 16,
    epochs: int = 10,
    seed: int = 0,
    temperature: Temperature = 4.0,
    lr: float = ALPHA_LR,
    warmup: float = WARMUP,
    within: bool = False,
) -> Search:
    """PARSEC (Casale, Gordon & Fusi 2019): K fixed, 16 on the DARTS space; joint tables from the start; no baseline.

    The original has no cost term: leave `budget` out, or draw `within` it (ours: then the gradient is that of the
    truncated distribution). Temperature, rate and warm-up are ours.
    """
    start = ArchDistribution(evaluator.space, groups(evaluator.space))
    move = Likelihood(lr, temperature, "none")
    strategy = Sampling(start, SampleSize.fixed(num_samples), move, join_at=1.0, within=within)
    return Search("parsec", evaluator, budget, strategy, epochs=epochs, seed=seed, warmup=warmup)


def darts(
    evaluator: Evaluator,
    budget: Budget | None = None,
    *,
    epochs: int = 10,
    seed: int = 0,
    lr: float = 3e-4,
    weight_decay: float = 1e-3,
    warmup: float = WARMUP,
    cost_term: bool = False,
) -> Search:
    """DARTS, first order (Liu et al. 2019): all candidates are run and mixed by softmax; alpha first, then weights.

    The original has no cost term: the answer is the most probable architecture within the budget. `cost_term` holds the
    expected cost to it as in FP-NAS (ours; see `Soft` for what comes of it). Warm-up is ours.
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
    warmup: float = WARMUP,
    cost_term: bool = False,
) -> Search:
    """DMaskingNAS (Wan et al. 2020): Gumbel-softmax over candidates and channel masks, annealed.

    Alpha moves after every fourth step of the weights, which is the original's 80 % and 20 % of the data. The original
    anneals from 5 by 0.956 an epoch over some hundred epochs; so that short searches end as cold, the temperature falls
    evenly on a log scale from the end of the warm-up on (ours). The original has a cost term, of another form;
    `cost_term` adds FP-NAS's at the expected cost. Without it the answer is the most probable one within the budget.
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
    lr: float = ALPHA_LR,
    warmup: float = WARMUP,
    within: bool = False,
) -> Search:
    """REINFORCE (Williams 1992): the score function's gradient of the mean reward, with a moving baseline.

    The reward is the log-likelihood an image, less the budget's term: one `beta` of the budget stands beside rewards of
    whatever spread. `within` draws within the budget instead (ours), along the truncated distribution's gradient.
    """
    move = ScoreFunction(lr, baseline_decay)
    start = ArchDistribution(evaluator.space)
    strategy = Sampling(start, SampleSize.fixed(num_samples), move, join_at=1.0, within=within)
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
    strategy = Uniform(evaluator.space, num_samples, frozen)
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


def _distinct(evaluator: Evaluator, update: str) -> ArchDistribution:
    """The distribution under which distinct networks are equally probable."""
    if update == "eq7":
        raise InputError("another update with a prior", repr(update), 'leave prior at "uniform"')
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


METHODS: dict[str, Callable[..., Search]] = {
    "fpnas": fpnas,
    "parsec": parsec,
    "darts": darts,
    "fbnetv2": fbnetv2,
    "reinforce": reinforce,
    "random": random,
    "evolution": evolution,
}
"""Name -> method, as the command line knows them."""

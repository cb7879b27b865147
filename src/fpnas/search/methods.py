"""The published methods: a few lines each on the one loop."""

from __future__ import annotations

from fpnas.cost import Budget
from fpnas.distribution import ArchDistribution
from fpnas.estimators import SampleSize, Temperature
from fpnas.evaluators import Evaluator
from fpnas.search.loop import Search

ALPHA_LR = 0.03


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
    control_variate: bool = True,
    lr: float = ALPHA_LR,
    warmup: float = 0.3,
) -> Search:
    """FP-NAS (Yan et al., CVPR 2021): K = lam * entropy architectures a step; factorised, then joint from `join_at` on.

    Args:
        evaluator: judges architectures.
        budget: target and beta; None searches without a cost term.
        lam: lambda, architectures for each nat of entropy.
        join_at: theta, as a fraction of the epochs.
        epochs: length of the search.
        seed: of the sampled architectures.
        at_least: the least K (ours).
        temperature: of the likelihood (open in the paper, ours).
        control_variate: subtract 1/K from the weights (ours).
        lr: of alpha (ours).
        warmup: fraction of the epochs with weights only (ours).
    """
    return Search(
        "fpnas",
        evaluator,
        budget,
        epochs=epochs,
        seed=seed,
        distribution=ArchDistribution(evaluator.space),
        sample_size=SampleSize.adaptive(lam, at_least),
        temperature=temperature,
        control_variate=control_variate,
        lr=lr,
        join_at=join_at,
        warmup=warmup,
    )

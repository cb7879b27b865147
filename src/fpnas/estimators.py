"""What K sampled architectures say about alpha: importance weights, eq. 7, and K (sections 3.2, 3.4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from fpnas.errors import InputError

Temperature: TypeAlias = float | Literal["mean", "product"]
"""By what a log-likelihood is divided before weights are made of it; see `divisor`."""


def divisor(temperature: Temperature, num_images: int) -> float:
    """The likelihood's temperature as a number, for log-likelihoods summed over `num_images`.

    "product" is 1: the likelihood of the batch is the product over its images, and nearly one-hot. "mean" is
    `num_images`: the geometric mean over the images, and nearly uniform. A number lies between. The paper leaves
    it open.
    """
    if temperature == "product":
        return 1.0
    if temperature == "mean":
        return float(num_images)
    if isinstance(temperature, str) or not (math.isfinite(temperature) and temperature > 0):
        raise InputError("a temperature above 0, 'mean' or 'product'", repr(temperature), "correct it")
    return float(temperature)


def importance_weights(loglik: Float[Tensor, " K"], temperature: float = 1.0) -> Float[Tensor, " K"]:
    """q_k = P(y|X,w,A_k) / sum_j P(y|X,w,A_j), from log-likelihoods in nats (FP-NAS eq. 7)."""
    return (loglik.double() / temperature).softmax(dim=0)


def cost_shares(excess: Float[Tensor, " K"], floor: float = 0.0) -> Float[Tensor, " K"]:
    """C(A_k) / sum_j (C(A_j) + floor); all 0 where no architecture exceeds the target (ours: the paper's 0/0).

    At floor 0 this is eq. 7, the gradient of log C(alpha): its force doesn't fade as C falls, so the distribution goes
    on shrinking far below the target. With a floor it is the gradient of log(C(alpha) + floor), which fades once the
    mean excess is small beside the floor (ours).
    """
    total = excess.sum() + floor * len(excess)
    return excess / total if total > 0 else torch.zeros_like(excess)


def architecture_loss(
    log_prob: Float[Tensor, " K"],
    importance: Float[Tensor, " K"],
    cost_share: Float[Tensor, " K"],
    beta: float,
    control_variate: bool = True,
) -> Float[Tensor, ""]:
    """The surrogate whose gradient is eq. 7: sum_k m_k * grad(-log P(A_k|alpha)), m_k = q_k - beta * share_k.

    Args:
        log_prob: log P(A_k|alpha) of the K samples, with its graph.
        importance: q, summing to 1.
        cost_share: from `cost_shares`, summing to 1 at most.
        beta: the weight of the cost.
        control_variate: subtract the mean weight from each. E[grad log P] = 0, and the mean of q is 1/K whatever was
            drawn, so the likelihood's expectation stays and its noise at small K falls; without it the samples' own
            probabilities rise whatever they are worth. The mean cost share isn't constant: there it shifts the
            expectation somewhat at small K, and not at all as K grows.
    """
    weight = importance - beta * cost_share
    if control_variate:
        weight = weight - weight.mean()
    return -(weight.detach() * log_prob).sum()


MAX_LAMBDA = 100
"""Architectures a nat at most; beyond that a step would draw more than it could ever run."""


@dataclass(frozen=True)
class SampleSize:
    """How many architectures a step draws, from the entropy H in nats: max(at_least, round(lam * H)); lam = 0 is fixed.

    At K = 1 the importance weight is always 1 and nothing is learnt, so the least K is 2 where it adapts (ours).
    """

    lam: float
    at_least: int

    def __post_init__(self) -> None:
        if not 0 <= self.lam <= MAX_LAMBDA:
            raise InputError(f"a lambda of 0 to {MAX_LAMBDA}", repr(self.lam), "use 0.25, say")
        if self.at_least < 1:
            raise InputError("1 architecture a step or more", str(self.at_least), "use 2, say")

    @classmethod
    def adaptive(cls, lam: float = 0.25, at_least: int = 2) -> SampleSize:
        """K = lam * H, the paper's adaptive sampling (section 3.2)."""
        return cls(lam, at_least)

    @classmethod
    def fixed(cls, num: int) -> SampleSize:
        """The same K at every step, as PARSEC does."""
        return cls(0.0, num)

    def __call__(self, entropy: float) -> int:
        """K for a distribution of this entropy."""
        return max(self.at_least, round(self.lam * entropy))

"""`CostTerm`: beta * log(C(alpha) + floor), the cost in the loss of alpha (FP-NAS section 3.1; the floor is ours).

C(alpha) is the mean excess over the target, C(A) = max(0, cost(A) / target - 1), under P(A|alpha). FLOPs need no
network, so it need not be estimated from the K architectures that are run, as the paper does: it can be averaged over
thousands of others, or summed over the whole space where that is small.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from fpnas.cost import Budget, additive_table
from fpnas.distribution import ArchDistribution
from fpnas.errors import InputError, unknown_name
from fpnas.estimators import cost_shares

Estimator = Literal["samples", "many", "exact"]

MAX_EXACT = 100_000
"""Architectures of the largest space whose cost term is summed exactly."""


@dataclass(frozen=True)
class CostTerm:
    """The cost term of a method that has one; with its defaults the paper's.

    Args:
        beta: its weight.
        floor: the mean excess below which it fades (ours); 0 is the paper's term, which never does.
        estimator: of C(alpha). "samples": the K architectures of the step (the paper). "many": `num_samples` others,
            which are never run (ours). "exact": the sum over the space, where it has at most `MAX_EXACT` architectures.
        num_samples: for "many".

    Raises:
        InputError: an unknown estimator, or a number out of range.

    Example:
        >>> CostTerm(floor=0.05, estimator="many").settings()
        {'beta': 0.3, 'cost_floor': 0.05, 'cost_estimator': 'many'}
    """

    beta: float = 0.3
    floor: float = 0.0
    estimator: Estimator = "samples"
    num_samples: int = 1024

    def __post_init__(self) -> None:
        if not (math.isfinite(self.beta) and self.beta >= 0):
            raise InputError("a beta of 0 or more", f"{self.beta:g}", "use 0.3, say")
        if not (math.isfinite(self.floor) and self.floor >= 0):
            raise InputError("a cost floor of 0 or more", f"{self.floor:g}", "use the default")
        if self.estimator not in get_args(Estimator):
            raise unknown_name("estimator", self.estimator, get_args(Estimator))
        if self.num_samples < 2:
            raise InputError("2 samples or more", str(self.num_samples), "use the default")

    def check(self, budget: Budget) -> None:
        """`InputError` where the budget's space is too large for "exact"."""
        size = budget.cost.space.size
        if self.estimator == "exact" and size > MAX_EXACT:
            got = f"one of {size:.3g}"
            raise InputError(f"a space of at most {MAX_EXACT:,} architectures for 'exact'", got, "use 'many'")

    def check_mixed(self, budget: Budget) -> None:
        """`InputError` where `mixed` can't say it: a cost that isn't a sum of tables, a floor of 0, an estimator."""
        for part in budget.parts:
            if additive_table(part.cost) is None:
                got = f"{part.cost.name}, which is no sum of tables"
                raise InputError("a cost whose expectation is known", got, "search with a method that samples")
        if self.floor <= 0:  # the logarithm would have no bound
            raise InputError("a cost floor above 0 for methods that mix", "0", "use 0.05, say")
        if self.estimator != "samples":  # the mixture's expected cost needs none
            raise InputError("no estimator for methods that mix", repr(self.estimator), "leave it out")

    def shares(self, budget: Budget, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """What eq. 7 subtracts, but for beta, by the estimator "samples"; 0 by the others, whose term is `loss`."""
        if self.estimator != "samples":
            return torch.zeros(len(codes), dtype=torch.float64)
        return cost_shares(budget.excess(codes), self.floor)

    def loss(self, budget: Budget, distribution: ArchDistribution, generator: torch.Generator) -> Tensor:
        """The term of the estimators "many" and "exact", to be differentiated in the logits; 0 for "samples".

        The value of "many" is a surrogate: its gradient, not itself, estimates that of beta * log(C(alpha) + floor).
        """
        if self.estimator == "samples" or not budget.binds:
            return torch.zeros((), dtype=torch.float64)
        if self.estimator == "exact":
            every = _every(distribution.space.cardinalities)
            mean = (distribution.log_prob(every).exp() * budget.excess(every)).sum()
            # Where nothing exceeds the target and there is no floor, the term is 0, as is the paper's 0/0.
            return self.beta * torch.log(mean + self.floor) if mean + self.floor > 0 else 0.0 * mean
        codes = distribution.sample(self.num_samples, generator)
        shares = cost_shares(budget.excess(codes), self.floor)
        # E[grad log P] = 0, so the mean share is taken off: noise goes, for a bias of the order 1 / num_samples.
        return self.beta * ((shares - shares.mean()) * distribution.log_prob(codes)).sum()

    def mixed(self, budget: Budget, weights: Sequence[Tensor]) -> Tensor:
        """beta * log(max(0, E[cost] / target - 1) + floor), E over choices drawn by these weights.

        Of several budgets the one that is exceeded most.
        """
        excesses: list[Tensor] = []
        for part in budget.parts:
            table = additive_table(part.cost)
            assert table is not None, "see check_mixed"
            excesses.append(torch.clamp(table.expected(weights) / part.target - 1, min=0))
        return self.beta * torch.log(torch.stack(excesses).amax() + self.floor)

    def settings(self) -> dict[str, Any]:
        """What decides it, plain JSON."""
        return {"beta": self.beta, "cost_floor": self.floor, "cost_estimator": self.estimator}


@lru_cache(maxsize=1)
def _every(cardinalities: tuple[int, ...]) -> Tensor:
    """All codes of a space."""
    return torch.tensor(list(itertools.product(*map(range, cardinalities))))

"""`Budget`: a cost model, a target and beta; the cost term of the loss, beta * log C(alpha) (METHOD 1, cost).

FLOPs need no network, so C(alpha) need not be estimated from the K architectures that are run, as the paper does: it
can be averaged over thousands of others, or summed over the whole space where that is small.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from fpnas.cost.models import CostModel
from fpnas.cost.tables import AdditiveCost
from fpnas.distribution import ArchDistribution
from fpnas.errors import InputError, unknown_name
from fpnas.estimators import cost_shares

Estimator = Literal["many", "samples", "exact"]

MAX_EXACT = 100_000
"""Architectures of the largest space whose cost term is summed exactly."""


class Budget:
    """The cost side of the loss, beta * log(C(alpha) + floor), C(A) = max(0, cost(A) / target - 1).

    Args:
        cost: the cost model.
        target: the wanted cost, in the model's unit.
        beta: the weight of the cost term.
        floor: the mean excess below which the cost term fades; 0 is the paper's term, which never does.
        estimator: of C(alpha). "samples": the K architectures of the step (the paper). "many": `num_samples` others,
            which are never run. "exact": the sum over the space, where it has at most `MAX_EXACT` architectures.
        num_samples: for "many".

    Raises:
        InputError: a target that no network of the space can meet, numbers out of range, or a space too large for
            "exact".
    """

    def __init__(
        self,
        cost: CostModel,
        target: float,
        beta: float = 0.3,
        floor: float = 0.05,
        estimator: Estimator = "many",
        num_samples: int = 1024,
    ) -> None:
        if not (math.isfinite(target) and target > 0):
            raise InputError(f"a target of {cost.name} above 0", f"{target:g}", "give the budget that you have")
        if not (math.isfinite(beta) and beta >= 0):
            raise InputError("a beta of 0 or more", f"{beta:g}", "use 0.3, say")
        if not (math.isfinite(floor) and floor >= 0):
            raise InputError("a cost floor of 0 or more", f"{floor:g}", "use the default")
        if estimator not in get_args(Estimator):
            raise unknown_name("estimator", estimator, get_args(Estimator))
        if num_samples < 2:
            raise InputError("2 samples or more", str(num_samples), "use the default")
        if estimator == "exact" and cost.space.size > MAX_EXACT:
            got = f"one of {cost.space.size:.3g}"
            raise InputError(f"a space of at most {MAX_EXACT:,} architectures for 'exact'", got, "use 'many'")
        least, greatest = cost.bounds()
        if target < least:
            got = f"{target:g}, below the smallest network of the space"
            smallest = f"{least:,.0f}" if least >= 100 else f"{least:.3g}"
            raise InputError(f"a target of at least {smallest} {cost.name}", got, "raise it or take a smaller input")
        self.cost, self.target, self.beta, self.floor = cost, float(target), float(beta), float(floor)
        self.estimator: Estimator = estimator
        self.num_samples = num_samples
        self.binds = target < greatest
        """Whether any network of the space exceeds the target."""
        self._all: Tensor | None = None

    def excess(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """C(A_k), the hinge of each architecture."""
        return torch.clamp(self.cost(codes) / self.target - 1, min=0)

    def shares(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """What eq. 7 subtracts, but for beta, by the estimator "samples"; 0 by the others, whose term is `loss`."""
        if self.estimator != "samples":
            return torch.zeros(len(codes), dtype=torch.float64)
        return cost_shares(self.excess(codes), self.floor)

    def expected_loss(self, weights: Sequence[Tensor]) -> Tensor:
        """beta * log(max(0, E[cost] / target - 1) + floor), E over choices drawn by these weights; for soft picks.

        Raises:
            InputError: a cost that isn't a sum of tables, or a floor of 0, at which the logarithm has no bound.
        """
        table = getattr(self.cost, "table", None)
        if not isinstance(table, AdditiveCost):
            got = f"{self.cost.name}, which is no sum of tables"
            raise InputError("a cost whose expectation is known", got, "search with a method that samples")
        if self.floor <= 0:
            raise InputError("a cost floor above 0 for methods that mix", "0", "use the default")
        excess = torch.clamp(table.expected(weights) / self.target - 1, min=0)
        return self.beta * torch.log(excess + self.floor)

    def loss(self, distribution: ArchDistribution, generator: torch.Generator) -> Tensor:
        """The term of the estimators "many" and "exact", to be differentiated in the logits; 0 for "samples".

        The value of "many" is a surrogate: its gradient, not itself, estimates that of beta * log(C(alpha) + floor).
        """
        if self.estimator == "samples" or not self.binds:
            return torch.zeros((), dtype=torch.float64)
        if self.estimator == "exact":
            if self._all is None:
                options = (range(n) for n in distribution.space.cardinalities)
                self._all = torch.tensor(list(itertools.product(*options)))
            mean = (distribution.log_prob(self._all).exp() * self.excess(self._all)).sum()
            # Where nothing exceeds the target and there is no floor, the term is 0, as is the paper's 0/0.
            return self.beta * torch.log(mean + self.floor) if mean + self.floor > 0 else 0.0 * mean
        codes = distribution.sample(self.num_samples, generator)
        shares = cost_shares(self.excess(codes), self.floor)
        # E[grad log P] = 0, so the mean share is taken off: noise goes, for a bias of the order 1 / num_samples.
        return self.beta * ((shares - shares.mean()) * distribution.log_prob(codes)).sum()

"""`Budget`: a cost model, a target and beta; how far architectures exceed the target (METHOD 1, cost).

What alpha is told of the excesses is `estimators.cost_shares`.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from fpnas.cost.models import CostModel
from fpnas.errors import InputError


class Budget:
    """The cost side of the loss, beta * log(C(alpha) + floor), C(A) = max(0, cost(A) / target - 1).

    Args:
        cost: the cost model.
        target: the wanted cost, in the model's unit.
        beta: the weight of the cost term.
        floor: the mean excess below which the cost term fades; 0 is the paper's term, which never does.

    Raises:
        InputError: a target that no network of the space can meet, or numbers out of range.
    """

    def __init__(self, cost: CostModel, target: float, beta: float = 0.3, floor: float = 0.05) -> None:
        if not (math.isfinite(target) and target > 0):
            raise InputError(f"a target of {cost.name} above 0", f"{target:g}", "give the budget that you have")
        if not (math.isfinite(beta) and beta >= 0):
            raise InputError("a beta of 0 or more", f"{beta:g}", "use 0.3, say")
        if not (math.isfinite(floor) and floor >= 0):
            raise InputError("a cost floor of 0 or more", f"{floor:g}", "use the default")
        least, greatest = cost.bounds()
        if target < least:
            got = f"{target:g}, below the smallest network of the space"
            raise InputError(f"a target of at least {least:,.0f} {cost.name}", got, "raise it or take a smaller input")
        self.cost, self.target, self.beta, self.floor = cost, float(target), float(beta), float(floor)
        self.binds = target < greatest
        """Whether any network of the space exceeds the target."""

    def excess(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """C(A_k), the hinge of each architecture."""
        return torch.clamp(self.cost(codes) / self.target - 1, min=0)

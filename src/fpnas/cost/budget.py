"""`Budget`: a cost model and what a network may cost at most."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from fpnas.cost.models import CostModel
from fpnas.errors import InputError


class Budget:
    """What a network may cost.

    Args:
        cost: the cost model.
        target: the most that a network may cost, in the model's unit.

    Raises:
        InputError: a target that no network of the space can meet.

    Example:
        >>> from fpnas import Flops, spaces
        >>> budget = Budget(Flops(spaces.tiny(in_channels=1), (1, 28, 28)), target=2.5e6)
        >>> budget.binds
        True
    """

    def __init__(self, cost: CostModel, target: float) -> None:
        if not (math.isfinite(target) and target > 0):
            raise InputError(f"a target of {cost.name} above 0", f"{target:g}", "give the budget that you have")
        least, greatest = cost.bounds()
        if target < least:
            smallest, asked = (f"{each:,.0f}" if each >= 100 else f"{each:.3g}" for each in (least, target))
            got = f"{asked}, below the smallest network of the space"
            raise InputError(f"a target of at least {smallest} {cost.name}", got, "raise it or take a smaller input")
        self.cost, self.target = cost, float(target)
        self.binds = target < greatest
        """Whether any network of the space exceeds the target."""

    def excess(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """C(A_k) = max(0, cost(A_k) / target - 1) of each architecture, the hinge of FP-NAS's cost term."""
        return torch.clamp(self.cost(codes) / self.target - 1, min=0)

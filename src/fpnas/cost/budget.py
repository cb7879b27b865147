"""`Budget`: a cost model and what a network may cost at most; `Budgets`: several, all of which it must meet."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from fpnas.cost.labels import Limit, TooManyLabels, cheapest
from fpnas.cost.models import CostModel, Tabled
from fpnas.cost.tables import AdditiveCost, MaxCost
from fpnas.errors import InputError
from fpnas.space import SearchSpace
from fpnas.streams import generator

DRAWS = 4096
"""Random architectures among which one that meets several budgets is looked for first."""


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
            got = f"{_figure(target)}, below the smallest network of the space"
            fix = "raise it or take a smaller input"
            raise InputError(f"a target of at least {_figure(least)} {cost.name}", got, fix)
        self.cost, self.target = cost, float(target)
        self.binds = target < greatest
        """Whether any network of the space exceeds the target."""

    @property
    def parts(self) -> tuple[Budget, ...]:
        """The budgets that are to be met: itself, or those of `Budgets`."""
        return (self,)

    def excess(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """C(A_k) = max(0, cost(A_k) / target - 1) of each architecture, the hinge of FP-NAS's cost term."""
        return torch.clamp(self.cost(codes) / self.target - 1, min=0)


class Budgets(Budget):
    """Several budgets, all of which a network must meet.

    It is a `Budget` of one cost, the largest share that the network takes of a target (`LargestShare`), and of the
    target 1. So the excess is the largest of the parts' excesses.

    Args:
        parts: budgets of one space.

    Raises:
        InputError: no network meets all; where all costs are known from tables this is proved, and says to what a
            target must be raised while the others stay.

    Example:
        >>> from fpnas import Flops, Ram, spaces
        >>> net = spaces.tiny(in_channels=1)
        >>> both = Budgets([Budget(Flops(net, (1, 28, 28)), 2.5e6), Budget(Ram(net, (1, 28, 28)), 32 * 1024)])
        >>> both.cost.name
        'largest share of FLOPs and bytes of RAM'
    """

    def __init__(self, parts: Sequence[Budget]) -> None:
        if not parts:
            raise InputError("one budget or more", "none", "give a budget")
        self._parts = tuple(parts)
        share = LargestShare(self._parts)
        _refuse_unmet(self._parts, share)
        super().__init__(share, 1.0)
        self.binds = any(part.binds for part in parts)

    @property
    def parts(self) -> tuple[Budget, ...]:
        return self._parts


class LargestShare:
    """The largest share that an architecture takes of several targets: at most 1 where it meets all."""

    def __init__(self, parts: Sequence[Budget]) -> None:
        self.parts = tuple(parts)
        self.space: SearchSpace = parts[0].cost.space
        names = [part.cost.name for part in parts]
        self.name = f"largest share of {', '.join(names[:-1])} and {names[-1]}" if names[1:] else names[0]

    def __call__(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """Of each architecture."""
        return torch.stack([part.cost(codes).double() / part.target for part in self.parts]).amax(dim=0)

    def bounds(self) -> tuple[float, float]:
        """Below the least and the greatest of the whole space: the latter exactly, the former at most."""
        bounds = [(part.cost.bounds(), part.target) for part in self.parts]
        return max(low / target for (low, _), target in bounds), max(high / target for (_, high), target in bounds)


def budget_of(wanted: Sequence[tuple[CostModel, float]]) -> Budget | None:
    """One budget of several cost models and their targets; None of none.

    Raises:
        InputError: nothing meets a target, of several the tightest, or all of them together.
    """
    above = [(cost.bounds()[0] / target, number) for number, (cost, target) in enumerate(wanted) if target > 0]
    if above and max(above)[0] > 1:
        Budget(*wanted[max(above)[1]])  # which refuses it
    parts = [Budget(cost, target) for cost, target in wanted]
    return Budgets(parts) if len(parts) > 1 else parts[0] if parts else None


def limits_of(cost: CostModel, target: float) -> list[Limit] | None:
    """The tables of which a cost is made, with what they may come to; None where one of them isn't known."""
    if isinstance(cost, LargestShare):
        found = [limits_of(part.cost, part.target * target) for part in cost.parts]
        return None if any(each is None for each in found) else [limit for each in found for limit in each or ()]
    table = cost.table if isinstance(cost, Tabled) else None
    return [Limit(table, target)] if isinstance(table, AdditiveCost | MaxCost) else None


def _refuse_unmet(parts: Sequence[Budget], share: LargestShare) -> None:
    space, draws = share.space, generator(0, "budgets")
    codes = torch.stack([torch.randint(n, (DRAWS,), generator=draws) for n in space.cardinalities], dim=1)
    limits, cells = limits_of(share, 1.0), [(v,) for v in range(len(space))]
    if len(parts) < 2 or bool((share(codes) <= 1).any()) or limits is None:
        return
    raises: list[tuple[float, str]] = []
    try:
        if cheapest(space, cells, [], limits) is not None:
            return
    except TooManyLabels:
        return
    for part in parts:
        table = part.cost.table if isinstance(part.cost, Tabled) else None
        others = limits_of(LargestShare([other for other in parts if other is not part]), 1.0)
        if not isinstance(table, AdditiveCost) or others is None:
            continue
        try:
            found = cheapest(space, cells, table.factors, others)
        except TooManyLabels:
            continue
        if found is not None:
            needs = float(part.cost(torch.tensor([found])))
            raises.append((needs / part.target, f"{_figure(needs)} {part.cost.name}"))
    got = " and ".join(f"{_figure(part.target)} {part.cost.name}" for part in parts)
    fix = f"raise one, to {min(raises)[1]} at least" if raises else "raise one"
    raise InputError("targets that one network can meet together", f"{got}, each of which some network meets", fix)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

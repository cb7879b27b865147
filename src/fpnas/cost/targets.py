"""From targets by name, as commands and `find` take them, to a budget; what result.json says of memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fpnas.cost.budget import Budget, budget_of
from fpnas.cost.image_sizes import LatencyAtSizes, at_one_size, over_sizes
from fpnas.cost.latency import Latency, LatencyTable
from fpnas.cost.memory import Flash, Precision, Ram
from fpnas.cost.models import CostModel, Flops, Params
from fpnas.elastic import Supernet

KINDS = ("flops", "params", "ms", "ram", "flash")
"""What targets can be given of."""

Measure = Callable[[tuple[int, ...]], LatencyTable]
"""Shape of one example -> a table with the latencies of a supernet's operations on it."""


def cost_model(
    kind: str,
    supernet: Supernet,
    input_shape: tuple[int, ...],
    memory: Precision = "int8",
    table: Measure | None = None,
    image_sizes: Sequence[int] | None = None,
) -> CostModel:
    """The cost model of a kind.

    Args:
        kind: one of `KINDS`.
        supernet: the supernet.
        input_shape: of one example.
        memory: the precision in which "ram" and "flash" count.
        table: of "ms", for a shape.
        image_sizes: among which the search chooses: the cost is one of architecture and size (`AtSizes`).
    """
    if image_sizes is not None:
        channels = input_shape[0]
        return over_sizes(lambda px: cost_model(kind, supernet, (channels, px, px), memory, table), image_sizes)
    if kind == "ms":
        assert table is not None
        return Latency(supernet, input_shape, table(input_shape))
    if kind in ("ram", "flash"):
        return (Ram if kind == "ram" else Flash)(supernet, input_shape, memory)
    return (Flops if kind == "flops" else Params)(supernet, input_shape)


def budget_for(
    targets: Mapping[str, float],
    supernet: Supernet,
    input_shape: tuple[int, ...],
    memory: Precision = "int8",
    table: Measure | None = None,
    image_sizes: Sequence[int] | None = None,
) -> Budget | None:
    """The budget of all targets, by kind; None of none. The other arguments are those of `cost_model`.

    Raises:
        InputError: nothing meets a target, or all of them together.
    """
    given = supernet, input_shape, memory, table, image_sizes
    return budget_of([(cost_model(kind, *given), most) for kind, most in targets.items()])


def measured_in(budget: Budget | None) -> LatencyTable | None:
    """The latencies that a budget reads; None where it reads none."""
    costs = [] if budget is None else [part.cost for part in budget.parts]
    return next((cost.used for cost in costs if isinstance(cost, Latency | LatencyAtSizes)), None)


def memory_in(layers: Mapping[str, Any], budget: Budget | None) -> dict[str, Any]:
    """Of layers.json the bytes of RAM and flash, in the precision of the budget, int8 by default; {} without any."""
    parts = () if budget is None else budget.parts
    costs = [at_one_size(part.cost) for part in parts]
    precision = next((cost.precision for cost in costs if isinstance(cost, Ram | Flash)), "int8")
    known = layers.get("memory", {}).get(precision)
    return {} if known is None else {**known, "memory_precision": precision}

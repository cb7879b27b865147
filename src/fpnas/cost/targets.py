"""From targets by name, as commands and `find` take them, to a budget; what result.json says of memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fpnas.cost.budget import Budget, budget_of
from fpnas.cost.latency import Latency, LatencyTable
from fpnas.cost.memory import Flash, Precision, Ram
from fpnas.cost.models import CostModel, Flops, Params
from fpnas.elastic import Supernet

KINDS = ("flops", "params", "ms", "ram", "flash")
"""What targets can be given of."""


def cost_model(
    kind: str,
    supernet: Supernet,
    input_shape: tuple[int, ...],
    memory: Precision = "int8",
    table: Callable[[], LatencyTable] | None = None,
) -> CostModel:
    """The cost model of a kind.

    Args:
        kind: one of `KINDS`.
        supernet: the supernet.
        input_shape: of one example.
        memory: the precision in which "ram" and "flash" count.
        table: of "ms".
    """
    if kind == "ms":
        assert table is not None
        return Latency(supernet, input_shape, table())
    if kind in ("ram", "flash"):
        return (Ram if kind == "ram" else Flash)(supernet, input_shape, memory)
    return (Flops if kind == "flops" else Params)(supernet, input_shape)


def budget_for(
    targets: Mapping[str, float],
    supernet: Supernet,
    input_shape: tuple[int, ...],
    memory: Precision = "int8",
    table: Callable[[], LatencyTable] | None = None,
) -> Budget | None:
    """The budget of all targets, by kind; None of none. The other arguments are those of `cost_model`.

    Raises:
        InputError: nothing meets a target, or all of them together.
    """
    return budget_of([(cost_model(kind, supernet, input_shape, memory, table), most) for kind, most in targets.items()])


def memory_in(layers: Mapping[str, Any], budget: Budget | None) -> dict[str, Any]:
    """Of layers.json the bytes of RAM and flash, in the precision of the budget, int8 by default; {} without any."""
    parts = () if budget is None else budget.parts
    precision = next((part.cost.precision for part in parts if isinstance(part.cost, Ram | Flash)), "int8")
    known = layers.get("memory", {}).get(precision)
    return {} if known is None else {**known, "memory_precision": precision}

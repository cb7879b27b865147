"""What architectures cost: FLOPs, parameters, milliseconds and memory, from tables; and the budget of a search."""

from fpnas.cost.budget import Budget, Budgets, budget_of
from fpnas.cost.image_sizes import SIZE, AtSizes, known_sizes, with_sizes
from fpnas.cost.latency import AdditiveLatency, Latency, LatencyTable, arch_latency
from fpnas.cost.layers import LayerCost, layer_costs, layer_table, layers_file
from fpnas.cost.memory import Flash, Precision, Ram, used_memory
from fpnas.cost.models import CostModel, Flops, Measured, Params, additive_table
from fpnas.cost.tables import AdditiveCost, MaxCost
from fpnas.cost.targets import budget_for, cost_model, measured_in, memory_in

__all__ = [
    "SIZE",
    "AdditiveCost",
    "AdditiveLatency",
    "AtSizes",
    "Budget",
    "Budgets",
    "CostModel",
    "Flash",
    "Flops",
    "Latency",
    "LatencyTable",
    "LayerCost",
    "MaxCost",
    "Measured",
    "Params",
    "Precision",
    "Ram",
    "additive_table",
    "arch_latency",
    "budget_for",
    "budget_of",
    "cost_model",
    "known_sizes",
    "layer_costs",
    "layer_table",
    "layers_file",
    "measured_in",
    "memory_in",
    "used_memory",
    "with_sizes",
]

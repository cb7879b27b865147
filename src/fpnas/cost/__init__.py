"""What architectures cost: FLOPs, parameters and milliseconds, from tables; and the budget of a search."""

from fpnas.cost.budget import Budget
from fpnas.cost.latency import AdditiveLatency, Latency, LatencyTable, arch_latency
from fpnas.cost.layers import LayerCost, layer_costs, layer_table, layers_file
from fpnas.cost.models import CostModel, Flops, Measured, Params, additive_table
from fpnas.cost.tables import AdditiveCost

__all__ = [
    "AdditiveCost",
    "AdditiveLatency",
    "Budget",
    "CostModel",
    "Flops",
    "Latency",
    "LatencyTable",
    "LayerCost",
    "Measured",
    "Params",
    "additive_table",
    "arch_latency",
    "layer_costs",
    "layer_table",
    "layers_file",
]

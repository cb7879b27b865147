"""What architectures cost: FLOPs and parameters from tables, layer by layer, and the budget of a search."""

from fpnas.cost.budget import Budget
from fpnas.cost.layers import LayerCost, layer_costs, layer_table
from fpnas.cost.models import CostModel, Flops, Params
from fpnas.cost.tables import AdditiveCost

__all__ = ["AdditiveCost", "Budget", "CostModel", "Flops", "LayerCost", "Params", "layer_costs", "layer_table"]

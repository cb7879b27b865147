"""The cost of one architecture layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fpnas.cost.models import layer_flops, layer_params
from fpnas.cost.trace import trace_sites
from fpnas.elastic import Supernet
from fpnas.elastic.dims import resolve
from fpnas.space import Option


@dataclass(frozen=True)
class LayerCost:
    """A layer that runs: its name, kind, multiply-adds, parameters and output shape for one example."""

    name: str
    kind: str
    flops: int
    params: int
    output_shape: tuple[int, ...]


def layer_costs(supernet: Supernet, arch: Mapping[str, Option], input_shape: tuple[int, ...]) -> tuple[LayerCost, ...]:
    """The layers of `arch` at `input_shape` (C, H, W) that have parameters or multiply-adds, in order of definition."""
    costs: list[LayerCost] = []
    for site in trace_sites(supernet, input_shape, arch):
        if site.runs(arch):
            values = {name: resolve(dim, arch) for name, dim in site.dims.items()}
            flops = layer_flops(site.layer, values, site.positions)
            params = layer_params(site.layer, values)
            if flops or params:
                costs.append(LayerCost(site.name, type(site.layer).__name__, flops, params, site.output_shape))
    return tuple(costs)

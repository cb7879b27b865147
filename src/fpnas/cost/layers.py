"""The cost of one architecture layer by layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from fpnas.cost.models import site_flops, site_params
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


def layer_costs(
    supernet: Supernet,
    arch: Mapping[str, Option],
    input_shape: tuple[int, ...],
    input_dtype: torch.dtype | None = None,
) -> tuple[LayerCost, ...]:
    """The layers of `arch` at `input_shape`, such as (C, H, W), that have parameters or multiply-adds, in order of
    definition. The parameters of a layer that has several names are under the first."""
    costs: list[LayerCost] = []
    counted: set[int] = set()
    for site in trace_sites(supernet, input_shape, arch, input_dtype):
        if site.runs(arch):
            values = {name: resolve(dim, arch) for name, dim in site.dims.items()}
            flops = site_flops(site, values)
            params = 0 if id(site.layer) in counted else site_params(site, values)
            counted.add(id(site.layer))
            if flops or params:
                costs.append(LayerCost(site.name, type(site.layer).__name__, flops, params, site.output_shape))
    return tuple(costs)

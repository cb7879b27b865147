"""Cost models: FLOPs (multiply-adds) and parameters of an architecture, exactly those of its extracted network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float64, Int64
from torch import Tensor, nn

from fpnas.cost.tables import AdditiveCost, site_tables
from fpnas.cost.trace import LayerSite, trace_sites
from fpnas.elastic import ElasticLayer, Supernet
from fpnas.space import Option, SearchSpace


@runtime_checkable
class CostModel(Protocol):
    """What a `Budget` needs: a named cost, vectorised over architectures, with its bounds over the space."""

    @property
    def name(self) -> str:
        """What is counted, such as "FLOPs"."""
        ...

    @property
    def space(self) -> SearchSpace:
        """The space whose codes it takes."""
        ...

    def __call__(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """The cost of each architecture."""
        ...

    def bounds(self) -> tuple[float, float]:
        """The least and the greatest cost of the whole space."""
        ...


class _SiteModel:
    """A cost that is a sum over the layers which run."""

    name = ""

    def __init__(self, supernet: Supernet, sites: tuple[LayerSite, ...]) -> None:
        self.space = supernet.space
        self.sites = sites
        self.table: AdditiveCost = site_tables(self.space, sites, self.layer_cost)

    def layer_cost(self, site: LayerSite, values: Mapping[str, Any]) -> Any:
        """The cost of one layer, when it runs."""
        raise NotImplementedError

    def __call__(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        return self.table(codes)

    def of(self, arch: Mapping[str, Option]) -> int:
        """The cost of one architecture."""
        return round(float(self(torch.tensor([self.space.encode(arch)]))))

    def bounds(self) -> tuple[float, float]:
        """The least and the greatest cost of the whole space, exactly."""
        return self.table.extreme(1)[0], self.table.extreme(-1)[0]


class Flops(_SiteModel):
    """Multiply-adds of convolutions and linear layers for one example of `input_shape` (C, H, W).

    `torch.utils.flop_counter` counts two for each. Norms, activations, pooling and biases count nothing.

    Raises:
        InputError: the supernet can't take `input_shape`.
    """

    name = "FLOPs"

    def __init__(self, supernet: Supernet, input_shape: tuple[int, ...]) -> None:
        self.input_shape = input_shape
        super().__init__(supernet, trace_sites(supernet, input_shape))

    def layer_cost(self, site: LayerSite, values: Mapping[str, Any]) -> Any:
        """The layer's multiply-adds."""
        return layer_flops(site.layer, values, site.positions)


class Params(_SiteModel):
    """Learnable parameters, biases and norms included.

    Args:
        supernet: the supernet.
        input_shape: any that it takes, (C, H, W); the count doesn't depend on it.
    """

    name = "parameters"

    def __init__(self, supernet: Supernet, input_shape: tuple[int, ...]) -> None:
        super().__init__(supernet, trace_sites(supernet, input_shape))

    def layer_cost(self, site: LayerSite, values: Mapping[str, Any]) -> Any:
        """The layer's parameters."""
        return layer_params(site.layer, values)


def layer_flops(layer: nn.Module, values: Mapping[str, Any], positions: int) -> Any:
    """Multiply-adds of a leaf layer, elastic or torch's own."""
    if isinstance(layer, ElasticLayer):
        return layer.flops(values, positions)
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear):
        return layer.weight.numel() * positions
    return 0


def layer_params(layer: nn.Module, values: Mapping[str, Any]) -> Any:
    """Parameters of a leaf layer, elastic or torch's own, or those that a module holds beside its children."""
    if isinstance(layer, ElasticLayer):
        return layer.num_params(values)
    return sum(parameter.numel() for parameter in layer.parameters(recurse=False))

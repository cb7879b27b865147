"""Cost models: FLOPs (multiply-adds) and parameters of an architecture, exactly those of its extracted network."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from fpnas.cost.tables import AdditiveCost, MaxCost, Terms, grid, sum_of_shares
from fpnas.cost.trace import LayerSite, counts_itself, own_parameters, trace_sites
from fpnas.elastic import Derived, ElasticLayer, ElasticModule, Supernet
from fpnas.elastic.dims import Joined
from fpnas.elastic.submodules import Condition
from fpnas.space import Choice, Option, SearchSpace

T = TypeVar("T", bound=AdditiveCost | MaxCost)


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


@runtime_checkable
class Measured(Protocol):
    """A cost whose numbers were measured, so that they belong to a run's settings."""

    @property
    def digest(self) -> str:
        """Of the numbers: equal digests are equal models of one space and input."""
        ...


@runtime_checkable
class Tabled(Protocol):
    """A cost that is known from a table."""

    @property
    def table(self) -> object:
        """An `AdditiveCost` where it is a sum of tables over the choices."""
        ...


def additive_table(cost: CostModel) -> AdditiveCost | None:
    """The tables of a cost that is a sum of them over the choices: then expectations and answers are exact."""
    table = cost.table if isinstance(cost, Tabled) else None
    return table if isinstance(table, AdditiveCost) else None


class FromTables(Generic[T]):
    """A cost that is read from tables over the choices of a space."""

    name = ""

    def __init__(self, space: SearchSpace, table: T) -> None:
        self.space, self.table = space, table

    def __call__(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """The cost of each architecture."""
        return self.table(codes)

    def of(self, arch: Mapping[str, Option]) -> float:
        """The cost of one architecture."""
        return float(self(torch.tensor([self.space.encode(arch)])))

    def bounds(self) -> tuple[float, float]:
        """The least and the greatest cost of the whole space, exactly."""
        return self.table.extreme(1)[0], self.table.extreme(-1)[0]


class LayerSum(FromTables[AdditiveCost]):
    """A cost of whole numbers, summed over the layers that run."""

    def __init__(
        self,
        supernet: Supernet,
        sites: tuple[LayerSite, ...],
        layer_cost: Callable[[LayerSite, Mapping[str, Any]], Any],
    ) -> None:
        self.sites = sites
        shares = (share for site in sites for share in _shares(site, layer_cost))
        super().__init__(supernet.space, sum_of_shares(supernet.space, shares))

    def of(self, arch: Mapping[str, Option]) -> int:
        """The cost of one architecture."""
        return round(super().of(arch))


def _shares(
    site: LayerSite, layer_cost: Callable[[LayerSite, Mapping[str, Any]], Any]
) -> Iterator[tuple[Sequence[Choice], Any, Sequence[Condition]]]:
    """A layer's cost as one table, or as several where it reads widths that are joined."""
    if not any(isinstance(dim, Joined) for dim in site.dims.values()):
        values = {name: grid(dim, site.scope) for name, dim in site.dims.items()}
        yield site.scope, layer_cost(site, values), site.conditions
        return
    cost = layer_cost(site, {name: Terms.of(dim) for name, dim in site.dims.items()})
    for scope, table in cost.terms if isinstance(cost, Terms) else [((), cost)]:
        yield scope, table, site.conditions


class Flops(LayerSum):
    """Multiply-adds of one example of `input_shape`, such as (C, H, W).

    Convolutions, linear and recurrent layers and both products of attention count, and matrix products in a module's
    own forward; norms, activations, pooling, embeddings and biases count nothing. `torch.utils.flop_counter` counts two
    for each. Products in a module's own forward that hang on choices can't be tabled: a warning says where they are.

    Args:
        supernet: the supernet.
        input_shape: of one example.
        input_dtype: of the input; by default that of the parameters. Tokens are torch.int64.

    Raises:
        InputError: the supernet can't take `input_shape`.
    """

    name = "FLOPs"

    def __init__(
        self, supernet: Supernet, input_shape: tuple[int, ...], input_dtype: torch.dtype | None = None
    ) -> None:
        self.input_shape = input_shape
        super().__init__(supernet, trace_sites(supernet, input_shape, input_dtype=input_dtype), site_flops)
        uncounted = [site.name or "the module itself" for site in self.sites if site.flops is None]
        if uncounted:
            where = f"the multiply-adds that {', '.join(uncounted)} does itself hang on choices and are not counted"
            warnings.warn(f"{where}; use an elastic layer there", stacklevel=2)


class Params(LayerSum):
    """Learnable parameters, biases and norms included; those of a layer that several names share once.

    Args:
        supernet: the supernet.
        input_shape: any that it takes, such as (C, H, W); the count doesn't depend on it.
        input_dtype: of the input; by default that of the parameters.
    """

    name = "parameters"

    def __init__(
        self, supernet: Supernet, input_shape: tuple[int, ...], input_dtype: torch.dtype | None = None
    ) -> None:
        super().__init__(supernet, once(trace_sites(supernet, input_shape, input_dtype=input_dtype)), site_params)


def site_flops(site: LayerSite, values: Mapping[str, Any]) -> Any:
    """Multiply-adds of a layer when it runs: by its own rule where it is elastic and has one, else as seen.

    `values`, of its arguments, may be arrays.
    """
    if isinstance(site.layer, ElasticModule) and counts_itself(site.layer):
        return site.layer.flops(values, site.positions)
    return site.flops or 0


def site_params(site: LayerSite, values: Mapping[str, Any]) -> Any:
    """Parameters of a layer, or those that a module holds beside its children; `values` as in `site_flops`."""
    if isinstance(site.layer, ElasticLayer):
        return site.layer.num_params(values)
    return sum(parameter.numel() for parameter in own_parameters(site.layer))


def once(sites: tuple[LayerSite, ...]) -> tuple[LayerSite, ...]:
    """One site a layer, which runs where any of its own does."""
    places: dict[int, list[LayerSite]] = {}
    for site in sites:
        places.setdefault(id(site.layer), []).append(site)
    return tuple(group[0] if len(group) == 1 else _joined(group) for group in places.values())


def _joined(sites: list[LayerSite]) -> LayerSite:
    if not all(site.conditions for site in sites):
        return replace(sites[0], conditions=())

    def any_runs(*found: Any) -> int:
        value = iter(found)
        held = [[next(value) in values for _, values in site.conditions] for site in sites]
        return int(any(map(all, held)))

    dims = tuple(dim for site in sites for dim, _ in site.conditions)
    return replace(sites[0], conditions=((Derived(any_runs, dims), frozenset({1})),))

"""The cost of one architecture layer by layer, and layers.json, which runs leave and `fpnas cost --json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from fpnas.cost.memory import used_memory
from fpnas.cost.models import site_flops, site_params
from fpnas.cost.trace import LayerSite, trace_sites
from fpnas.elastic import Supernet
from fpnas.elastic.dims import choices_in, resolve
from fpnas.space import Option


@dataclass(frozen=True)
class LayerCost:
    """A layer that runs, for one example.

    Args:
        name: qualified name within the supernet's module.
        kind: its class.
        flops: multiply-adds.
        params: parameters.
        output_shape: (C, H, W) of a convolution.
        group: the group of choices that decides whether it runs, else its width; "" where none does.
        arguments: those that may depend on choices, resolved.
    """

    name: str
    kind: str
    flops: int
    params: int
    output_shape: tuple[int, ...]
    group: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])


def layer_costs(
    supernet: Supernet,
    arch: Mapping[str, Option],
    input_shape: tuple[int, ...],
    input_dtype: torch.dtype | None = None,
    *,
    with_free: bool = False,
) -> tuple[LayerCost, ...]:
    """The layers of `arch` at `input_shape`, such as (C, H, W), in order of definition.

    The parameters of a layer that has several names are under the first.

    Args:
        supernet: left as it was.
        arch: one of its architectures.
        input_shape: of one example.
        input_dtype: of the input; by default that of the parameters. Tokens are torch.int64.
        with_free: also layers without parameters and multiply-adds, such as activations and the identities of skipped
            blocks.
    """
    costs: list[LayerCost] = []
    counted: set[int] = set()
    for site in trace_sites(supernet, input_shape, arch, input_dtype):
        if site.runs(arch):
            values = {name: resolve(dim, arch) for name, dim in site.dims.items()}
            flops = site_flops(site, values)
            params = 0 if id(site.layer) in counted else site_params(site, values)
            counted.add(id(site.layer))
            if flops or params or with_free:
                kind = type(site.layer).__name__
                costs.append(LayerCost(site.name, kind, flops, params, site.output_shape, _group(site), values))
    return tuple(costs)


def layer_table(
    supernet: Supernet,
    arch: Mapping[str, Option],
    input_shape: tuple[int, ...],
    input_dtype: torch.dtype | None = None,
) -> dict[str, Any]:
    """`layer_costs`, layers without cost included, as plain JSON with the sums.

    It has the image size where the input is (C, H, W), else the input's shape.
    """
    layers = layer_costs(supernet, arch, input_shape, input_dtype, with_free=True)
    size = {"image_size": input_shape[-1]} if len(input_shape) == 3 else {"input_shape": list(input_shape)}
    return {
        "flops": sum(layer.flops for layer in layers),
        "params": sum(layer.params for layer in layers),
        **size,
        "layers": [asdict(layer) for layer in layers],
    }


def layers_file(
    supernet: Supernet,
    arch: Mapping[str, Option],
    input_shape: tuple[int, ...],
    input_dtype: torch.dtype | None = None,
) -> dict[str, Any]:
    """layers.json: `layer_table`, "memory" (`used_memory`), and where the supernet was made of a network "whole": the
    table of that one, its "choices", and which layers and arguments each choice decides ("reads")."""
    memory = used_memory(supernet, arch, input_shape, input_dtype)
    table = {**layer_table(supernet, arch, input_shape, input_dtype), **({"memory": memory} if memory else {})}
    given = supernet.given
    if given is None:
        return table
    whole = layer_table(supernet, given, input_shape, input_dtype)
    reads: dict[str, list[tuple[str, str]]] = {choice.name: [] for choice in supernet.space.choices}
    for site in trace_sites(supernet, input_shape, given, input_dtype):
        for argument, dim in (*site.dims.items(), *(("runs", dim) for dim, _ in site.conditions)):
            for choice in choices_in(dim):
                reads[choice.name].append((site.name, argument))
    return {**table, "whole": {**whole, "choices": dict(given), "reads": reads}}


def _group(site: LayerSite) -> str:
    """The outermost switch knows it; without one, the widths do, but the input's is of the layer before."""
    own = [dim for name, dim in site.dims.items() if not name.startswith("in_")]
    for dim in (*(dim for dim, _ in site.conditions), *own):
        for choice in choices_in(dim):
            return choice.group
    return ""

"""Channels in the order of their importance, so that the first ones of a width are those that are worth keeping.

All layers that read or write a width are reordered alike, so the network computes what it did. How much a channel
matters is estimated from its weights, in each of these layers the norm of what belongs to it, relative to the mean of
the layer's channels, and of norms their scale; added up (as the group norms of Fang et al. 2023, "DepGraph"). Or it is
estimated from examples: how much the loss would change without it, to first order (Molchanov et al. 2017 and 2019).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from fpnas.elastic.follow.loss_changes import Batches, loss_changes
from fpnas.elastic.follow.walk import Network, Use
from fpnas.errors import unknown_name

Importance = Literal["l1", "l2", "taylor"]


@torch.no_grad()
def sort_channels(module: nn.Module, network: Network, by: Importance = "l2", batches: Batches | None = None) -> None:
    """Sorts the channels of each width that isn't held, the most important first, in place.

    Args:
        module: that was followed.
        network: what was found.
        by: the norm of a channel's weights; or "taylor".
        batches: what "taylor" looks at.

    Raises:
        InputError: another name, or no batch.
    """
    if by not in get_args(Importance):
        raise unknown_name("importance", by, get_args(Importance))
    layers = {followed.name: followed.layer for followed in network.layers}
    changes = {} if batches is None else loss_changes(module, network, batches)
    orders: dict[tuple[str, str], Tensor] = {}
    for width, uses in network.uses().items():
        if width.held:
            continue
        total = torch.zeros(width.size, dtype=torch.float64)
        if batches is None:
            for use in uses:
                weight = _weight(layers[use.layer], use.axis)
                if weight is not None:
                    total += _relative_norms(weight, use, width.size, by)
        else:
            made = [use for use in uses if use.axis == "outs" and use.layer in changes]
            scaled = [use for use in made if not isinstance(layers[use.layer], nn.Conv2d | nn.Linear)]
            for use in scaled or made:  # a norm's output is what its convolution's becomes
                total += _units(changes[use.layer], use, width.size).sum(1)
        order = total.argsort(descending=True, stable=True)
        for use in uses:
            count = _length(layers[use.layer], use.axis)
            if count:
                whole = orders.setdefault((use.layer, use.axis), torch.arange(count))
                moved = order[:, None] * use.unit + torch.arange(use.unit)
                whole[use.offset : use.offset + moved.numel()] = use.offset + moved.flatten()
    for (name, axis), order in orders.items():
        _reorder(layers[name], axis, order)


def _weight(layer: nn.Module, axis: str) -> Tensor | None:
    """What says how much the channels of an axis matter, (channels, ...); None where the layer says nothing of them."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        if axis == "outs":
            return layer.weight
        return None if isinstance(layer, nn.Conv2d) and layer.groups > 1 else layer.weight.transpose(0, 1)
    own: object = getattr(layer, "weight", None)
    return own if axis == "outs" and isinstance(own, Tensor) else None  # of a norm both axes are the same


def _relative_norms(weight: Tensor, use: Use, size: int, by: Importance) -> Tensor:
    """(size,): of each unit of the width, as shares of their mean."""
    norms = torch.linalg.vector_norm(_units(weight, use, size), ord=int(by[1:]), dim=1)
    return norms / norms.mean().clamp_min(1e-12)


def _units(values: Tensor, use: Use, size: int) -> Tensor:
    """(size, ...): what belongs to each unit of the width."""
    return values[use.offset : use.offset + size * use.unit].double().reshape(size, -1)


def _length(layer: nn.Module, axis: str) -> int:
    """How many channels an axis has to be reordered; 0 where there is nothing to move."""
    weight = _weight(layer, axis)
    return 0 if weight is None else len(weight)


def _reorder(layer: nn.Module, axis: str, order: Tensor) -> None:
    for values in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
        dim = 0 if axis == "outs" else 1
        if values.dim() > dim:
            values.copy_(values.index_select(dim, order.to(values.device)))

"""What TensorFlow Lite Micro keeps beside activations: about each operator, its tensors and their scales, in bytes.

The figures are those of 64-bit builds, fitted to networks of `tiny` and `tiny-int8` (benchmarks/arena.py); with 32-bit
pointers it is less. Weights are read where the file lies.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpnas.cost.tables import Share, grid
from fpnas.cost.written import BATCH_NORMS, Event, Place, activation_conditions, kernel_conditions
from fpnas.elastic import Activation, Conv2d, DepthwiseConv2d, GroupedConv2d, Linear
from fpnas.elastic.dims import Dim, choices_in, resolve, separate
from fpnas.elastic.submodules import Condition
from fpnas.space import Option

ITSELF = 512
LAYER = 272
"""Of a convolution or a linear layer, with its weights and its bias."""

CHANNEL = 8
"""Of each output channel of an int8 layer: a multiplier and a shift."""

OTHER = 128
"""Of any other operator."""

_ELASTIC = (Conv2d, DepthwiseConv2d, GroupedConv2d, Linear)
_RELU = frozenset[Any]({F.relu, F.relu6, torch.relu, Tensor.relu})


@dataclass(frozen=True)
class Kept:
    """Operators of a file that a call becomes, of which a runtime keeps a record.

    Args:
        place: of the call.
        conditions: under which it is made.
        others: operators other than layers.
        channels: of a convolution or a linear layer its output channels; else None.
    """

    place: Place
    conditions: tuple[Condition, ...]
    others: int
    channels: Dim | None


def kept(event: Event, place: Place, within: bool) -> Kept | None:
    """What is kept about an event; None where its operator is part of the one before.

    Args:
        event: as written.
        place: where it is.
        within: whether it writes over its input.
    """
    conditions = (*event.conditions, *kernel_conditions(event.layer), *activation_conditions(event.layer))
    conditions = tuple(dict.fromkeys(conditions))
    if within and (isinstance(event.layer, BATCH_NORMS) or _is_relu(event)):
        return None
    channels = None if event.step else _channels(event.layer)
    if channels is not None:
        return Kept(place, conditions, 0, channels)
    # What is stacked gets an axis, which is turned to the end and back, and each is sliced off again.
    return Kept(place, conditions, 4 + len(event.reads) if event.function is torch.stack else 1, None)


def _is_relu(event: Event) -> bool:
    if isinstance(event.layer, Activation):
        return event.layer.values["kind"] == "relu"
    return isinstance(event.layer, nn.ReLU | nn.ReLU6) or event.function in _RELU


def _channels(layer: nn.Module | None) -> Dim | None:
    if isinstance(layer, _ELASTIC):
        return layer.makes
    if isinstance(layer, nn.Conv2d):
        return layer.out_channels
    return layer.out_features if isinstance(layer, nn.Linear) else None


def kept_bytes(found: Iterable[Kept], arch: Mapping[str, Option], width: int) -> int:
    """Of one architecture, its numbers so many bytes wide."""
    total = ITSELF
    for each in found:
        total += OTHER * each.others
        if each.channels is not None:
            total += LAYER + (CHANNEL * int(resolve(each.channels, arch)) if width == 1 else 0)
    return total


def kept_shares(found: Iterable[Sequence[Kept]], width: int) -> Iterator[Share]:
    """The same as tables to sum, from several passes."""
    yield (), ITSELF, ()
    for each in dict.fromkeys(each for run in found for each in run):
        yield (), OTHER * each.others + (0 if each.channels is None else LAYER), each.conditions
        for dim in separate(each.channels) if each.channels is not None and width == 1 else ():
            scope = tuple(choices_in(dim))
            yield scope, CHANNEL * grid(dim, scope), each.conditions

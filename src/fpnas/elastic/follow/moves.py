"""Where channels go when a call only moves numbers about: the call is made on the channels' own numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from fpnas.elastic.follow.widths import Layout, Segment, between, length

MOVES = "view reshape flatten permute transpose swapaxes movedim moveaxis unsqueeze squeeze expand getitem chunk"
"""Functions that `moved` follows."""


@dataclass(frozen=True)
class Channels:
    """What the channels of a tensor are, and on which axis, from 0."""

    layout: Layout
    axis: int


def moved(call: Callable[[Tensor], Any], given: Channels, shape: Sequence[int]) -> list[Channels | None] | None:
    """The channels of each tensor that a call makes of one; None for a tensor without, or where they are mixed up.

    Args:
        call: takes a tensor of whole numbers.
        given: the channels of the tensor that it is called on.
        shape: of that tensor.
    """
    count = length(given.layout)
    numbers = torch.arange(count).view([-1 if axis == given.axis else 1 for axis in range(len(shape))])
    made = call(numbers.expand(*shape).contiguous())
    found = [_read(part, given.layout) for part in (made if isinstance(made, tuple | list) else (made,))]
    return None if any(channels is None for channels in found) else found


def _read(made: Tensor, layout: Layout) -> Channels | None:
    for axis in range(made.dim()):
        line = made.movedim(axis, 0).flatten(1)[:, 0]
        if len(line) > 1 and line[0] != line[-1]:
            same = line.view([-1 if other == axis else 1 for other in range(made.dim())]).expand_as(made)
            return _in_order(line, layout, axis) if torch.equal(made, same) else None
    return None


def _in_order(line: Tensor, layout: Layout, axis: int) -> Channels | None:
    """Channels one after another, each as often as the next."""
    times = int((line == line[0]).sum())
    first, last = int(line[0]), int(line[-1])
    if not torch.equal(line, torch.arange(first, last + 1).repeat_interleave(times)):
        return None
    part = between(layout, first, last + 1)
    return None if part is None else Channels(tuple(Segment(w, unit * times) for w, unit in part), axis)


def adapts(node: fx.Node, name: str, axis: int) -> bool:
    """Whether a shape that is written into a call leaves the axis to what the tensor has."""
    if name not in ("view", "reshape", "expand"):
        return True
    sizes: Any = node.args[1:]
    if len(sizes) == 1 and not isinstance(sizes[0], int):
        sizes = sizes[0]
    if isinstance(sizes, fx.Node):  # worked out from the tensor's shape
        return True
    return len(sizes) > axis and (isinstance(sizes[axis], fx.Node) or sizes[axis] == -1)

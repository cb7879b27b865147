"""Which tensors are alive at each operation of a forward pass, in the order of the exported graph.

A tensor is alive from the operation that makes it to the last that reads it. Views and what writes over its input make
none: a batch norm, an activation or a dropout whose input nothing else reads is part of the operation before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpnas.elastic import Activation
from fpnas.elastic.dims import Dim, resolve
from fpnas.elastic.norm import BatchNorm
from fpnas.elastic.submodules import Condition, Part
from fpnas.space import Option

BATCH_NORMS = (BatchNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

_IN_PLACE_LAYERS = (
    *(*BATCH_NORMS, Activation, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Hardsigmoid, nn.Hardswish, nn.Tanh),
    *(nn.ELU, nn.LeakyReLU, nn.PReLU, nn.Mish),
)
_IN_PLACE_FUNCTIONS = frozenset[Any](
    {
        *(F.relu, F.relu6, F.silu, F.gelu, F.sigmoid, F.hardsigmoid, F.hardswish, F.tanh, F.elu, F.leaky_relu, F.mish),
        *(torch.relu, torch.sigmoid, torch.tanh, Tensor.relu, Tensor.sigmoid, Tensor.tanh, F.hardtanh, F.batch_norm),
    }
)

Place = tuple[str, int, int]
"""Of an operation: the path of the part that calls it, which call of that part it is in, and which of the call's."""


@dataclass(frozen=True)
class Multiple:
    """Of a width a tensor's elements are `times` as many, as the layers at these paths read or make it."""

    times: Fraction
    paths: tuple[str, ...]

    def also(self, other: Multiple) -> Multiple:
        """With what another tensor in the same memory says."""
        return Multiple(self.times, tuple(dict.fromkeys((*self.paths, *other.paths))))


@dataclass
class Stored:
    """A tensor of a pass: its elements, and the widths of which these are a constant multiple.

    `maker` is the layer that made it.
    """

    numel: int
    widths: dict[Dim, Multiple] = field(default_factory=dict[Dim, Multiple])
    maker: nn.Module | None = None

    def of_width(self, dim: Dim, arch: Mapping[str, Option], *paths: str) -> None:
        """Its elements are a multiple of a width."""
        self.adopt(dim, Multiple(Fraction(self.numel, int(resolve(dim, arch))), paths))

    def adopt(self, dim: Dim, multiple: Multiple) -> None:
        """As `of_width`, the multiple known."""
        self.widths[dim] = self.widths[dim].also(multiple) if dim in self.widths else multiple


@dataclass
class Operation:
    """An operation of one forward pass.

    Args:
        place: where it is.
        conditions: under which it runs, in this form: also whether the structures around it make their sums.
        layer: the layer that it is; None for a function.
        reads: its inputs.
        writes: its outputs.
        alive: both, and what later operations still read; each once.
    """

    place: Place
    conditions: tuple[Condition, ...]
    layer: nn.Module | None
    reads: list[Stored]
    writes: list[Stored]
    alive: list[Stored] = field(default_factory=list[Stored])


@dataclass
class Frame:
    """A call of a module in progress; `part` is None of a module within one that is taken whole."""

    module: nn.Module
    part: Part | None
    number: int
    operations: int = 0


@dataclass
class Event:
    frame: Frame
    conditions: tuple[Condition, ...]
    layer: nn.Module | None
    function: Any
    reads: list[int]
    writes: list[int]


def scheduled(
    events: Sequence[Event], stored: Mapping[int, Stored]
) -> tuple[list[Operation], list[tuple[nn.Module, nn.Module]]]:
    """Operations with what is alive, those that write over their input left out; batch norms with what they follow."""
    last = {read: number for number, event in enumerate(events) for read in event.reads}
    place: dict[int, int] = {}  # of what was written over: whose memory it has
    folded: list[tuple[nn.Module, nn.Module]] = []
    left: list[tuple[int, Event]] = []

    def root(key: int) -> int:
        return place.get(key, key)

    for number, event in enumerate(events):
        reads, writes = [*dict.fromkeys(map(root, event.reads))], event.writes
        if _in_place(event) and len(reads) == len(writes) == 1 and last[reads[0]] == number:
            (read,), (written,) = reads, writes
            if isinstance(event.layer, BATCH_NORMS):
                maker = stored[read].maker
                if maker is not None:
                    folded.append((event.layer, maker))
            place[written] = read
            last[read] = last.get(written, number)
            for dim, multiple in stored[written].widths.items():
                stored[read].adopt(dim, multiple)
        else:
            left.append((number, event))
    made: dict[int, int] = {}
    operations: list[Operation] = []
    counts: dict[tuple[str, int], int] = {}
    for number, event in left:
        reads, writes = [*dict.fromkeys(map(root, event.reads))], [*dict.fromkeys(map(root, event.writes))]
        for key in (*reads, *writes):
            made.setdefault(key, number)
        alive = [*dict.fromkeys((*reads, *writes, *(key for key in made if last.get(key, -1) > number)))]
        path = event.frame.part.path if event.frame.part else ""
        within = counts.get((path, event.frame.number), 0)
        counts[path, event.frame.number] = within + 1
        own, outs = [stored[key] for key in reads], [stored[key] for key in writes]
        where = (path, event.frame.number, within)
        operations.append(Operation(where, event.conditions, event.layer, own, outs, [stored[key] for key in alive]))
    return operations, folded


def _in_place(event: Event) -> bool:
    return isinstance(event.layer, _IN_PLACE_LAYERS) or event.function in _IN_PLACE_FUNCTIONS

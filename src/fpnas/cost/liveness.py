"""Which tensors are alive at each operation of a forward pass, in the order of the exported graph.

A tensor is alive from the operation that makes it to the last that reads it. Views make none, nor do operations that
work number by number, such as activations and sums, where nobody else reads the input: they write over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from fpnas.cost.runtime import Kept, kept
from fpnas.cost.written import BATCH_NORMS, Event, Place, Stored, activation_conditions, as_written, kernel_conditions
from fpnas.elastic.submodules import Condition


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
class Schedule:
    """A forward pass in order.

    Attributes:
        operations: those that need new memory, with what is alive. One that writes over its input never needs more
            than the one before.
        folded: batch norms with the layers that they follow.
        records: what a runtime keeps a record of.
    """

    operations: list[Operation]
    folded: list[tuple[nn.Module, nn.Module]]
    records: list[Kept]


def scheduled(events: Sequence[Event], stored: dict[int, Stored]) -> Schedule:
    """The events as operations."""
    steps = as_written(events, stored)
    last = {read: number for number, event in enumerate(steps) for read in event.reads}
    place: dict[int, int] = {}  # of what was written over: whose memory it has
    folded: list[tuple[nn.Module, nn.Module]] = []
    records: list[Kept | None] = []
    left: list[tuple[int, Event, Place]] = []
    counts: dict[tuple[str, int], int] = {}

    def roots(keys: Sequence[int]) -> list[int]:
        return [*dict.fromkeys(place.get(key, key) for key in keys)]

    for number, event in enumerate(steps):
        path = event.frame.part.path if event.frame.part else ""
        call = f"{path}.{event.step}" if event.step else path, event.frame.number
        counts[call] = counts.get(call, -1) + 1
        where = (*call, counts[call])
        dying = [read for read in roots(event.reads) if last[read] == number]
        if event.step == "pad" and dying:
            records.append(kept(event, where, False))
            continue
        size = stored[event.writes[0]].numel
        below = next((read for read in dying if stored[read].numel == size), None) if event.over else None
        within = below is not None and len(event.writes) == 1
        records.append(kept(event, where, within))
        if below is None or not within:
            left.append((number, event, where))
            continue
        (written,) = event.writes
        maker = stored[below].maker
        if isinstance(event.layer, BATCH_NORMS) and maker is not None:
            folded.append((event.layer, maker))
        place[written] = below
        last[below] = last.get(written, number)
        for dim, multiple in stored[written].widths.items():
            stored[below].adopt(dim, multiple)
    made: dict[int, int] = {}
    operations: list[Operation] = []
    for number, event, where in left:
        reads, writes = roots(event.reads), roots(event.writes)
        for key in (*reads, *writes):
            made.setdefault(key, number)
        keys = [*dict.fromkeys((*reads, *writes, *(key for key in made if last.get(key, -1) > number)))]
        alive = [stored[key] for key in keys]
        own = (*event.around, *kernel_conditions(event.layer), *activation_conditions(event.layer))
        conditions = tuple(dict.fromkeys((*own, *(each for held in alive for each in held.conditions))))
        ins, outs = [stored[key] for key in reads], [stored[key] for key in writes]
        operations.append(Operation(where, conditions, event.layer, ins, outs, alive))
    return Schedule(operations, folded, [each for each in records if each is not None])

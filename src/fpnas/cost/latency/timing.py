"""Times operations: each warm, several times, in turn with many others; the median. The clock is handed in.

Within a round each operation runs once. Between two of its runs others pass through the caches, so it finds its
weights where a network would find them, far off, and its input, written just before, near. A machine that slows down
for a while slows one round of many operations, which the medians leave out, and not all runs of a few.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only_

from fpnas.cost.latency.operations import Operation
from fpnas.cost.latency.standalone import Runnable

Timer = Callable[[Callable[[], object]], float]
"""Runs what it is given and says how many seconds it took."""

CHUNK = 64
"""Operations in memory at a time, and in a round."""


@dataclass(frozen=True)
class Prepared:
    """Operations that are ready to run.

    Args:
        runnables: one for each operation.
        idle: what starting any of them takes by itself, to be subtracted; it is itself the runnable of an operation
            that is nothing else.
        copies: how often each runs its operation at a time.
    """

    runnables: Sequence[Runnable]
    idle: Runnable | None = None
    copies: int = 1


Prepare = Callable[[Sequence[Operation]], Prepared]
"""Makes operations ready in the runtime where they are timed."""


@torch.no_grad()
def measure(
    operations: Sequence[Operation],
    timer: Timer,
    *,
    batch_size: int,
    device: torch.device,
    rounds: int = 9,
    told: Callable[[int], None] | None = None,
    prepare: Prepare | None = None,
) -> dict[str, float]:
    """The latency of each operation in ms, by name.

    Args:
        operations: to time.
        timer: the clock, which also waits for the device.
        batch_size: images a forward pass.
        device: where they run.
        rounds: timed runs of each, after two that aren't.
        told: called with the number of operations done so far.
        prepare: makes them ready in another runtime than torch.
    """
    found: dict[str, float] = {}
    for start in range(0, len(operations), CHUNK):
        chunk = operations[start : start + CHUNK]
        ready = (
            Prepared([operation.build(batch_size, device) for operation in chunk])
            if prepare is None
            else prepare(chunk)
        )
        runnables = [*ready.runnables, *([] if ready.idle is None else [ready.idle])]
        seconds: list[list[float]] = [[] for _ in runnables]
        for number in range(-2, rounds):
            for (function, inputs), row in zip(runnables, seconds, strict=True):
                # As the operation before it in a network would leave its output.
                tree_map_only_(Tensor, lambda tensor: tensor.mul_(1), inputs)
                took = timer(lambda function=function, inputs=inputs: function(*inputs))
                if number >= 0:
                    row.append(took)
        ms = [1e3 * statistics.median(row) for row in seconds]
        for operation, runnable, took in zip(chunk, ready.runnables, ms, strict=False):
            starting = 0.0 if ready.idle is None or runnable is ready.idle else ms[-1]
            found[operation.name] = max(0.0, took - starting) / (1 if runnable is ready.idle else ready.copies)
        if told is not None:
            told(len(found))
    return found


@torch.no_grad()
def measure_whole(networks: Sequence[Runnable], timer: Timer, *, rounds: int = 15) -> list[float]:
    """The ms of whole networks, in turn, each run once before it is timed: one network serves many images."""
    seconds: list[list[float]] = [[] for _ in networks]
    for _ in range(rounds):
        for (function, inputs), row in zip(networks, seconds, strict=True):
            function(*inputs)
            row.append(timer(lambda function=function, inputs=inputs: function(*inputs)))
    return [1e3 * statistics.median(row) for row in seconds]

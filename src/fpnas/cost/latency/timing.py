"""Times operations: each warm, several times, in turn with many others; the median. The clock is handed in.

Within a round each operation runs once. Between two of its runs others pass through the caches, so it finds its
weights where a network would find them, far off, and its input, written just before, near. A machine that slows down
for a while slows one round of many operations, which the medians leave out, and not all runs of a few.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only_

from fpnas.cost.latency.operations import Operation

Timer = Callable[[Callable[[], object]], float]
"""Runs what it is given and says how many seconds it took."""

CHUNK = 64
"""Operations in memory at a time, and in a round."""


@torch.no_grad()
def measure(
    operations: Sequence[Operation],
    timer: Timer,
    *,
    batch_size: int,
    device: torch.device,
    rounds: int = 9,
    told: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """The latency of each operation in ms, by name.

    Args:
        operations: to time.
        timer: the clock, which also waits for the device.
        batch_size: images a forward pass.
        device: where they run.
        rounds: timed runs of each, after two that aren't.
        told: called with the number of operations done so far.
    """
    found: dict[str, float] = {}
    for start in range(0, len(operations), CHUNK):
        chunk = operations[start : start + CHUNK]
        runnables = [operation.build(batch_size, device) for operation in chunk]
        seconds: list[list[float]] = [[] for _ in chunk]
        for number in range(-2, rounds):
            for (function, inputs), row in zip(runnables, seconds, strict=True):
                # As the operation before it in a network would leave its output.
                tree_map_only_(Tensor, lambda tensor: tensor.mul_(1.0), inputs)
                took = timer(lambda function=function, inputs=inputs: function(*inputs))
                if number >= 0:
                    row.append(took)
        found |= {op.name: 1e3 * statistics.median(row) for op, row in zip(chunk, seconds, strict=True)}
        if told is not None:
            told(len(found))
    return found

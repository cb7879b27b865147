"""Slow and obvious: a distribution over a small space as a plain dict from codes to probability.

Written from the definition: P(A) is the product over the cells, and each cell is a softmax over the product of its
choices' options, the last choice varying fastest. No tensors in it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch

from fpnas import ArchDistribution, Choice, SearchSpace

Codes = tuple[int, ...]

# Three groups that take turns, one choice with a single option, 144 architectures.
SPACE = SearchSpace(
    [
        Choice("a.x", (1, 2, 3)),
        Choice("b.x", ("p", "q")),
        Choice("a.y", (0.5, 1.0)),
        Choice("a.solo", (7,)),
        Choice("b.y", (1, 2, 3, 4)),
        Choice("c", (0, 3, 5)),
    ]
)
PARTITIONS = {
    "FD": ((0,), (1,), (2,), (3,), (4,), (5,)),
    "JD": ((0, 2, 3), (1, 4), (5,)),
    "partial": ((4,), (2, 0), (1,), (3,), (5,)),
    "across groups": ((5, 1), (3, 4, 0), (2,)),
    "one table": ((0, 1, 2, 3, 4, 5),),
}


def every_codes(space: SearchSpace = SPACE) -> list[Codes]:
    """All architectures of a space."""
    return list(itertools.product(*(range(len(choice.options)) for choice in space.choices)))


def with_random_logits(
    partition: Sequence[Sequence[int]], seed: int = 0, scale: float = 1.0, space: SearchSpace = SPACE
) -> ArchDistribution:
    """A distribution with normal logits, in the padding too: these must not matter."""
    distribution = ArchDistribution(space, partition)
    with torch.no_grad():
        distribution.logits.normal_(0.0, scale, generator=torch.Generator().manual_seed(seed))
    return distribution


def enumerated(distribution: ArchDistribution) -> dict[Codes, float]:
    """The probability of every architecture."""
    space, logits = distribution.space, distribution.logits.tolist()
    probability = dict.fromkeys(every_codes(space), 1.0)
    for cell, row in zip(distribution.partition, logits, strict=True):
        options = list(itertools.product(*(range(len(space.choices[index].options)) for index in cell)))
        weights = [math.exp(row[position]) for position in range(len(options))]
        of = {option: weight / sum(weights) for option, weight in zip(options, weights, strict=True)}
        for codes in probability:
            probability[codes] *= of[tuple(codes[index] for index in cell)]
    return probability

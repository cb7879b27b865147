"""`Racing`: architectures scored chunk by chunk of a validation batch; those that can't matter stop early (ours).

An architecture matters by its importance weight, exp(l_k / T) over that of the best. After n images of the batch, with
m to come, let d be the differences of an image's log-likelihood to the leader's. If those of the images to come are
drawn like those seen, and their sum is near normal, the whole difference is with probability 1 - risk at most

    sum(d) + m mean(d) + t s sqrt(m (n + m) / n),        s the standard deviation of d, t Student's quantile at n - 1

(the prediction interval of a sum). Where that lies below T log(negligible), the architecture stops, and the predicted
difference, sum(d) + m mean(d), stands for its score: so a weight that is not below `negligible` of the leader's is
lost with probability `risk` at most, for each look at it. What runs to the end has exactly the score of its chunks.

A chunk has batch statistics of its own. So a race equals scoring the same chunks, not the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fpnas.errors import InputError
from fpnas.estimators import Temperature, divisor

LEAST = 8
"""Images of a chunk: fewer tell little of a spread, and their batch statistics little of the data."""


@dataclass(frozen=True)
class Racing:
    """How a race is run.

    Args:
        chunks: into so many parts of nearly equal size a batch is cut.
        temperature: of the likelihood that alpha is moved by; see `estimators.divisor`. Under "mean" weights are close
            and nothing ever stops.
        negligible: weights below this share of the leader's don't matter; at 0 nothing stops.
        risk: probability of losing one that does, a look.

    Raises:
        InputError: a number out of range.
    """

    chunks: int = 4
    temperature: Temperature = "product"
    negligible: float = 1e-3
    risk: float = 1e-3

    def __post_init__(self) -> None:
        if self.chunks < 1 or not 0 <= self.negligible < 1 or not 0 < self.risk < 0.5:
            got = f"{self.chunks} chunks, negligible {self.negligible:g}, risk {self.risk:g}"
            raise InputError("1 chunk or more, 0 <= negligible < 1, 0 < risk < 0.5", got, "correct them")
        divisor(self.temperature, 1)

    def check(self, batch_size: int) -> None:
        """`InputError` where chunks of such a batch are too small."""
        if batch_size < LEAST * self.chunks:
            expected = f"a batch of at least {LEAST * self.chunks} images for {self.chunks} chunks"
            raise InputError(expected, str(batch_size), "raise the batch size, or race in fewer chunks")

    def sizes(self, num_images: int) -> list[int]:
        """Images of each chunk."""
        return [len(part) for part in torch.arange(num_images).tensor_split(self.chunks)]


def race(judge: Callable[[int, int], Tensor], count: int, sizes: list[int], racing: Racing) -> Tensor:
    """Log-likelihoods (count,) in nats, summed over the batch; see the head of this file.

    Args:
        judge: (architecture, chunk) -> the log-likelihood of each of the chunk's images, (sizes[chunk],).
        count: how many architectures there are.
        sizes: images of each chunk.
        racing: how.
    """
    images = sum(sizes)
    limit = math.log(racing.negligible) * divisor(racing.temperature, images) if racing.negligible else -math.inf
    seen: dict[int, Tensor] = {number: torch.empty(0, dtype=torch.float64) for number in range(count)}
    stopped: list[tuple[int, int, float]] = []  # who, behind whom, by how many nats
    running = list(range(count))
    for chunk in range(len(sizes)):
        for number in running:
            seen[number] = torch.cat([seen[number], judge(number, chunk).cpu().double()])
        to_come = sum(sizes[chunk + 1 :])
        totals = {number: float(seen[number].sum()) for number in running}
        finite = [number for number in running if math.isfinite(totals[number])]
        if not to_come or not finite:
            continue
        leader = max(finite, key=lambda number: totals[number])
        for number in [n for n in running if n != leader]:
            gap, spread = predicted_gap(seen[number] - seen[leader], to_come, racing.risk)
            if gap + spread < limit or not math.isfinite(totals[number]):
                stopped.append((number, leader, gap))
                running.remove(number)
    scores = torch.full((count,), -math.inf, dtype=torch.float64)
    for number in running:
        scores[number] = seen[number].sum()
    for number, leader, gap in reversed(stopped):  # a leader that was stopped itself was so later
        scores[number] = scores[leader] + (gap if math.isfinite(gap) else -math.inf)
    return scores


def predicted_gap(differences: Tensor, to_come: int, risk: float) -> tuple[float, float]:
    """The whole batch's difference in nats as predicted from those of the images seen, and how far above it may lie."""
    n = len(differences)
    gap = float(differences.sum()) * (1 + to_come / n)
    spread = float(differences.std()) * math.sqrt(to_come * (n + to_come) / n)
    return gap, student(n - 1, risk) * spread


def student(freedom: int, risk: float) -> float:
    """The quantile of Student's t that is exceeded with probability `risk`, to a few per mille from 7 degrees on.

    The expansion of Cornish and Fisher, Abramowitz & Stegun 26.7.5.
    """
    z = float(torch.special.ndtri(torch.tensor(1 - risk, dtype=torch.float64)))
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))

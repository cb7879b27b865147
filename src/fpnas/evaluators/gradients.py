"""The importance-weighted gradient of the weights, in one pass and with the memory of one network.

    grad L(w) = sum_k q_k * grad_w(-log P(y|X,w,A_k)) / B,   q = softmax(log P(y|X,w,A_k) / temperature)

q is known only after all K forward passes. As in an online softmax, the gradients are accumulated with the running
maximum m of the scaled log-likelihoods taken out, exp(l_k - m) * g_k, rescaled when m grows, and divided by the sum at
the end. The result is exact; what is negligible beside the best so far is not even run backwards.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class OnlineWeights:
    """Accumulates a softmax-weighted sum of gradients in the parameters' `.grad`.

    Args:
        parameters: whose gradients are summed; cleared first.
        negligible: a sample whose weight is below this share of the greatest so far is left out, in the backward pass
            and in the sum alike; 0 leaves none out.
        pending: tensors whose gradients have yet to reach the parameters; may change meanwhile.
    """

    def __init__(self, parameters: Iterable[Tensor], negligible: float = 0.0, pending: Sequence[Tensor] = ()) -> None:
        self.parameters: Sequence[Tensor] = list(parameters)
        self.pending = pending
        self.negligible = negligible
        self.top = -math.inf
        self.total = 0.0
        self.weighted_loss = 0.0
        for parameter in self.parameters:
            parameter.grad = None

    def add(self, loss: Tensor, log_weight: float, count: int = 1) -> None:
        """Adds a sample: its loss (a scalar with its graph), the log of its unnormalized weight, its repeats."""
        if not math.isfinite(log_weight):
            return  # a network that diverged has no likelihood to be weighed by
        self.lift(log_weight)
        weight = count * math.exp(log_weight - self.top)
        if weight < self.negligible:
            return
        self.total += weight
        self.weighted_loss += weight * float(loss.detach())
        (loss * weight).backward()

    def lift(self, log_weight: float) -> None:
        """Takes `log_weight` out of all sums where it is above what was taken out so far."""
        if log_weight > self.top:
            factor = math.exp(self.top - log_weight)
            self.top = log_weight
            self.total *= factor
            self.weighted_loss *= factor
            self._scale(factor)

    def finish(self) -> float:
        """Divides by the sum of the weights; the weighted mean of the losses (NaN and no gradient if none counted)."""
        if not self.total:
            return math.nan
        self._scale(1 / self.total)
        return self.weighted_loss / self.total

    def _scale(self, factor: float) -> None:
        gradients = [parameter.grad for parameter in (*self.parameters, *self.pending) if parameter.grad is not None]
        if gradients and factor != 1.0:
            torch._foreach_mul_(gradients, factor)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]

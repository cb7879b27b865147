"""`ShortRun`: one network in a short training, with its optimizer and the images that it sees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fpnas.evaluators.proxy_images import ProxyImages
from fpnas.evaluators.ranks import sum_over_ranks


@dataclass
class ShortRun:
    """A network in training.

    Args:
        code: of its architecture.
        network: in training.
        optimizer: of its parameters.
        images: as it sees them.
    """

    code: tuple[int, ...]
    network: nn.Module
    optimizer: torch.optim.SGD
    images: ProxyImages

    @classmethod
    def of(
        cls, code: tuple[int, ...], network: nn.Module, images: ProxyImages, lr: float, weight_decay: float
    ) -> ShortRun:
        """With SGD, Nesterov momentum 0.9."""
        rule = torch.optim.SGD(network.parameters(), lr, 0.9, weight_decay=weight_decay, nesterov=True)
        return cls(code, network, rule, images)

    def descend(self, loss: Tensor, rate: float, clip: float) -> None:
        """One step against the gradient, summed over ranks, of norm `clip` at most."""
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad()
        loss.backward()
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        sum_over_ranks(parameters)
        # One that diverges stays so and has a likelihood of 0: nothing need wait for the device to ask.
        torch.nn.utils.clip_grad_norm_(parameters, clip)
        self.optimizer.step()

    def state(self) -> tuple[list[int], dict[str, Any], dict[str, Any]]:
        """Code, weights and momentum, for a checkpoint."""
        return list(self.code), self.network.state_dict(), self.optimizer.state_dict()


def rate_of(step: int, steps: int, most: float) -> float:
    """The learning rate of a step: a linear rise over a tenth of the steps, then a cosine."""
    done = (step + 1) / steps
    return most * min(1.0, 10 * done) * (1 + math.cos(math.pi * (done - 1 / steps))) / 2

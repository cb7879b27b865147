"""`ShortSGD`: the optimizer of trainings of a few dozen steps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from fpnas import parallel


class ShortSGD:
    """SGD with Nesterov momentum 0.9 over a set number of steps: the rate rises over a tenth of them, then falls to 0
    along a cosine. Gradients are summed over the ranks and clipped; a parameter without one stays as it is.

    Args:
        module: whose parameters move.
        lr: the greatest rate.
        weight_decay: of all parameters.
        clip: the gradient's greatest norm.
        steps: how many there will be.
    """

    def __init__(self, module: nn.Module, lr: float, weight_decay: float, clip: float, steps: int) -> None:
        self.lr, self.clip, self.steps, self.done = lr, clip, steps, 0
        self._parameters = list(module.parameters())
        self._optimizer = torch.optim.SGD(self._parameters, lr, 0.9, weight_decay=weight_decay, nesterov=True)

    def zero_grad(self) -> None:
        self._optimizer.zero_grad()

    def step(self) -> None:
        """The next one."""
        self.done += 1
        share = self.done / self.steps
        rate = self.lr * min(1.0, 10 * share) * (1 + math.cos(math.pi * (share - 1 / self.steps))) / 2
        self._optimizer.param_groups[0]["lr"] = rate
        parameters = [p for p in self._parameters if p.grad is not None]
        _sum_over_ranks(parameters)
        # One that diverges stays so and has a likelihood of 0: nothing need wait for the device to ask.
        torch.nn.utils.clip_grad_norm_(parameters, self.clip)
        self._optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {"done": self.done, "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.done = state["done"]
        self._optimizer.load_state_dict(state["optimizer"])


def _sum_over_ranks(parameters: list[nn.Parameter]) -> None:
    """Adds up their gradients over the ranks, in one exchange."""
    if parallel.world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = parallel.all_reduce_sum(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))

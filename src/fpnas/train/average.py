"""The exponential moving average of a network's weights and batch-norm statistics, with a warm-up.

theta' <- d_n theta' + (1 - d_n) theta after step n = 1, 2, ..., with d_n = min(decay, n / (n + 9)): while few steps are
behind it the average reaches back over a ninth of them, so that fresh weights don't weigh on a short training.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """A copy of `network` whose `update_parameters(network)` takes the next step; `.module` is the averaged network.

    Buffers of floats, such as a batch norm's running mean and variance, are averaged like weights; counts are copied.
    """

    @torch.no_grad()
    def average(averages: Sequence[Tensor], values: Sequence[Tensor], updates: Tensor | int) -> None:
        if averages[0].is_floating_point():  # torch hands over one type at a time
            get_ema_multi_avg_fn(decay_at(int(updates), decay))(list(averages), list(values), updates)
            return
        for old, new in zip(averages, values, strict=True):
            old.copy_(new)

    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)  # pyright: ignore[reportArgumentType]


def decay_at(updates: int, decay: float) -> float:
    """d_n after `updates` steps."""
    return min(decay, updates / (updates + 9))

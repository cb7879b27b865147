"""Attention over channels: squeeze-excite and split attention (FP-NAS figure 2, after ResNeSt).

Both take the outputs of the parallel depthwise convolutions, r of them, and give one tensor of their shape. The gate's
inner width c is the block's width / 4 whatever r is (ours), so its FLOPs grow linearly in r - 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpnas.elastic.conv import Linear
from fpnas.elastic.dims import Dim, scaled


class SqueezeExcite(nn.Module):
    """r = 1: global average pool, linear to c, ReLU, linear back, sigmoid, times the input."""

    def __init__(self, channels: Dim, ratio: float = 0.25) -> None:
        super().__init__()
        inner = scaled(channels, ratio)
        self.reduce = Linear(channels, inner)
        self.head = Linear(inner, channels, mask=False)

    def forward(self, splits: Sequence[Tensor]) -> Tensor:
        x = splits[0]
        gate = self.head(F.relu(self.reduce(x.mean((2, 3)))))
        return x * self.gate(gate)[:, :, None, None]

    @staticmethod
    def gate(x: Tensor) -> Tensor:
        """From any number to one between 0 and 1."""
        return x.sigmoid()


class HardSqueezeExcite(SqueezeExcite):
    """Squeeze-excite whose gate is the piecewise linear hardsigmoid, for 8-bit integers."""

    @staticmethod
    def gate(x: Tensor) -> Tensor:
        return F.hardsigmoid(x)


class SplitAttention(nn.Module):
    """r > 1: pooled sum of the splits, linear to c, ReLU (ours, as in ResNeSt), r heads, softmax over them per channel.

    Args:
        channels: width C of each split, (N, C, H, W).
        splits: r.
        ratio: c / C.
    """

    def __init__(self, channels: Dim, splits: int, ratio: float = 0.25) -> None:
        super().__init__()
        inner = scaled(channels, ratio)
        self.reduce = Linear(channels, inner)
        self.heads = nn.ModuleList(Linear(inner, channels, mask=False) for _ in range(splits))

    def forward(self, splits: Sequence[Tensor]) -> Tensor:
        # The pooled sum is the sum of the pooled: no full-size sum is made.
        pooled = splits[0].mean((2, 3))
        for x in splits[1:]:
            pooled = pooled + x.mean((2, 3))
        inner = F.relu(self.reduce(pooled))
        gates = torch.stack([head(inner) for head in self.heads]).softmax(dim=0)[..., None, None]
        total = splits[0] * gates[0]
        for index in range(1, len(self.heads)):
            total = torch.addcmul(total, splits[index], gates[index])
        return total

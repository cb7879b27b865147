"""The space's widths, and its block in plain torch: the peers' supernets are made of it."""

from __future__ import annotations

from torch import Tensor, nn

KERNELS, EXPANSIONS = (3, 5), (1, 3, 6)
ROWS = ((16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 40, 2), (40, 40, 1), (40, 80, 2))
"""Input width, output width and stride of each MBConv layer."""

STEM, HEAD = ROWS[0][0], 256


class ConvNorm(nn.Module):
    """Convolution, batch norm and, where asked for, ReLU."""

    def __init__(
        self, ins: int, outs: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(ins, outs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outs)
        self.act = nn.ReLU() if act else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        return y if self.act is None else self.act(y)


class MBConv(nn.Module):
    """Expansion, depthwise convolution, projection; a residual where shapes match."""

    def __init__(self, ins: int, outs: int, stride: int, kernel: int, expansion: int) -> None:
        super().__init__()
        hidden = ins * expansion
        self.expand = ConvNorm(ins, hidden)
        self.depthwise = ConvNorm(hidden, hidden, kernel, stride, groups=hidden)
        self.project = ConvNorm(hidden, outs, act=False)
        self.residual = stride == 1 and ins == outs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y

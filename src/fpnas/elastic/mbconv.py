"""The inverted residual block with channel attention, and the searchable one that can be skipped."""

from __future__ import annotations

from torch import Tensor, nn

from fpnas.elastic.attention import HardSqueezeExcite, SplitAttention, SqueezeExcite
from fpnas.elastic.base import ElasticStructure
from fpnas.elastic.conv import Conv2d, DepthwiseConv2d
from fpnas.elastic.dims import Derived, Dim, scaled, values_of
from fpnas.elastic.norm import Activation, BatchNorm2d
from fpnas.elastic.soft import fit_channels
from fpnas.elastic.switch import Switch


def conv_norm(
    in_channels: Dim, out_channels: Dim, stride: int = 1, act: Dim | None = None, kernel: int = 1
) -> nn.Module:
    """Convolution, batch norm and, where given, an activation."""
    layers = nn.Sequential()
    # A soft pick's mask belongs behind the last of them.
    layers.add_module("conv", Conv2d(in_channels, out_channels, kernel, stride, bias=False, mask=False))
    layers.add_module("norm", BatchNorm2d(out_channels, mask=act is None))
    if act is not None:
        layers.add_module("act", Activation(act, out_channels, in_place=True))
    return layers


class MBConv(ElasticStructure):
    """1x1 expansion, r parallel depthwise convolutions, channel attention over them, 1x1 projection, residual.

    The residual is there where the shapes allow it: stride 1 and equal channels under the present pick.

    Args:
        in_channels: width of the input.
        out_channels: width of the output.
        kernel_size: of the depthwise convolutions.
        stride: of the depthwise convolutions.
        expansion: the hidden width is in_channels * expansion, rounded.
        act: as `Activation` takes it.
        splits: 0 no attention, 1 squeeze-excite, r > 1 split attention over r depthwise convolutions.
        expand: leave the expansion convolution out where this is False (then expansion must be 1).
        hard_gate: the gate of squeeze-excite is a hardsigmoid.
    """

    mixes = True

    def __init__(
        self,
        in_channels: Dim,
        out_channels: Dim,
        kernel_size: Dim,
        stride: int,
        expansion: Dim,
        act: Dim,
        splits: int = 0,
        expand: bool = True,
        hard_gate: bool = False,
    ) -> None:
        super().__init__(in_channels=in_channels, out_channels=out_channels)
        self.stride = stride
        hidden = scaled(in_channels, expansion)
        self.expand = conv_norm(in_channels, hidden, act=act) if expand else None
        # Separate convolutions: quicker on a CPU than one of r * hidden channels (benchmarks/split_convolutions.py).
        self.depthwise = nn.ModuleList(
            nn.Sequential(
                DepthwiseConv2d(hidden, kernel_size, stride, bias=False, mask=False),
                BatchNorm2d(hidden, mask=False),
                Activation(act, hidden, in_place=True),
            )
            for _ in range(max(1, splits))
        )
        self.attention = None
        if splits:
            squeeze_excite = HardSqueezeExcite if hard_gate else SqueezeExcite
            self.attention = squeeze_excite(hidden) if splits == 1 else SplitAttention(hidden, splits)
        self.project = conv_norm(hidden, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        hidden = x if self.expand is None else self.expand(x)
        splits = [depthwise(hidden) for depthwise in self.depthwise]
        y = self.project(splits[0] if self.attention is None else self.attention(splits))
        if self.mixture is not None:
            same = self.mixture.of(Derived(_equal, (self.dims["in_channels"], self.dims["out_channels"]))).get(True)
            return y if self.stride > 1 or same is None else y + fit_channels(x, y.shape[1]) * same.to(y)
        residual = self.stride == 1 and self.values["in_channels"] == self.values["out_channels"]
        return x + y if residual else y

    @property
    def sums(self) -> tuple[Dim, Dim] | None:
        ins, outs = self.dims["in_channels"], self.dims["out_channels"]
        return (Derived(_equal, (ins, outs)), outs) if self.stride == 1 else None


def searchable_mbconv(
    in_channels: Dim,
    out_channels: Dim,
    kernel_size: Dim,
    stride: int,
    expansion: Dim,
    act: Dim,
    splits: Dim = 0,
    hard_gate: bool = False,
) -> nn.Module:
    """An `MBConv` for each split count, which share no weights, and a bypass where the kernel size is 0.

    The bypass is the identity where the shapes are equal, else a 1x1 convolution with the stride, batch norm and ReLU
    (as in the FBNetV2 release). With expansion 1 alone the block has no expansion convolution (as in MobileNetV2).
    """

    bypass = conv_norm(in_channels, out_channels, stride, act="relu")
    if stride == 1:
        # A switch of its own keeps the widths out of the outer condition: cost tables grow with what a condition reads.
        shapes = Derived(_shapes, (in_channels, out_channels))
        paths: dict[str, nn.Module] = {"equal": nn.Identity(), "different": bypass}
        bypass = Switch(shapes, {name: paths[name] for name in values_of(shapes)})
    expand = values_of(expansion) != (1,)
    branches: dict[str, nn.Module] = {
        f"split{split}": MBConv(
            in_channels, out_channels, kernel_size, stride, expansion, act, split, expand, hard_gate
        )
        for split in values_of(splits)
    }
    if 0 in values_of(kernel_size):
        branches["bypass"] = bypass
    return Switch(Derived(_path, (kernel_size, splits)), branches)


def _path(kernel: int, split: int) -> str:
    return f"split{split}" if kernel else "bypass"


def _equal(ins: int, outs: int) -> bool:
    return ins == outs


def _shapes(ins: int, outs: int) -> str:
    return "equal" if ins == outs else "different"

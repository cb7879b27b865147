"""Elastic convolutions and linear layers: the first c channels, one weight for each kernel size.

Slicing the first channels computes what FBNetV2's channel masks do, at the sampled architecture's cost. Under a soft
pick (`soft`) the masks themselves are laid over the output, unless `mask` is off since the layer behind it does so.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpnas.elastic.base import ElasticLayer, Values, plain_layer
from fpnas.elastic.dims import Dim, largest, values_of
from fpnas.elastic.soft import Mixture
from fpnas.elastic.weight_gradients import conv2d

NARROW = 16
"""Input channels below which a strided 1x1 convolution on a CPU takes its input already strided.

oneDNN of torch 2.13 writes past its memory in the weight gradient of such a convolution, for channels-last input of
fewer channels than a vector register of the processor holds (8 with AVX2, 16 with AVX-512).
"""


class _Convolution(ElasticLayer):
    """What convolutions share: a weight for each kernel size above 0, of which the first channels run.

    Under a soft pick these sizes also have the weight of size 0, whose bypass runs elsewhere.
    """

    mixes = True
    axes = 2
    group_width = 0
    """Output channels of a group; 0 without groups."""

    def __init__(self, stride: int, padding: int | None, bias: bool, mask: bool, **dims: Dim) -> None:
        super().__init__(**dims)
        self.stride, self.padding, self.mask = stride, padding, mask
        outs, ins = self._channels({name: largest(dim) for name, dim in dims.items() if name != "kernel_size"})
        sizes = sorted(size for size in values_of(dims["kernel_size"]) if size > 0)
        self.weights = nn.ParameterDict({str(k): nn.Parameter(torch.empty(outs, ins, *[k] * self.axes)) for k in sizes})
        self.bias = nn.Parameter(torch.zeros(outs)) if bias else None

    @property
    def makes(self) -> Dim:
        return self._channels(self.dims)[0]

    @abstractmethod
    def _channels(self, of: Mapping[str, Any]) -> tuple[Any, Any]:
        """Of named channels those out, and those in that an output channel reads."""

    def _slices(self) -> dict[str, Tensor]:
        outs, ins = self._channels(self.taken)
        slices = {"weight": self.slice_of(self.weights[str(self.values["kernel_size"])], outs, ins)}
        return slices if self.bias is None else {**slices, "bias": self.slice_of(self.bias, outs)}

    def _groups(self, weight: Tensor) -> int:
        return len(weight) // self.group_width if self.group_width else 1

    def padding_of(self, kernel_size: int) -> int:
        """Of each side."""
        return kernel_size // 2 if self.padding is None else self.padding

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        stride, padding = self.stride, self.padding_of(weight.shape[-1])
        groups = self._groups(weight)
        if self.axes == 1:
            return F.conv1d(x, weight, bias, stride, padding, 1, groups)
        if (
            stride > 1
            and weight.shape[-1] == 1
            and groups == 1
            and not padding
            and weight.shape[1] < NARROW
            and x.is_cpu
        ):
            x, stride = x[:, :, ::stride, ::stride], 1
        return conv2d(x, weight, bias, stride, padding, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self._convolved(x, **self._slices()) if self.mixture is None else self._mixed(x, self.mixture)

    def _mixed(self, x: Tensor, mixture: Mixture) -> Tensor:
        """All kernel sizes at their largest width, summed by the sizes' weights."""
        run = {k: weight for k, weight in mixture.of(self.dims["kernel_size"]).items() if k > 0}
        total = torch.stack(list(run.values())).sum().clamp_min(1e-12)
        outputs = [self._convolved(x, self.weights[str(k)]) for k in run]
        y = outputs[0]
        if len(outputs) > 1:
            y = torch.stack([y * (w / total).to(y) for y, w in zip(outputs, run.values(), strict=True)]).sum(dim=0)
        if self.bias is not None:
            y = y + self.bias.view(-1, *[1] * self.axes)
        return y * mixture.mask(self._channels(self.dims)[0], y, 1) if self.mask else y

    def extract(self) -> nn.Module:
        slices = self._slices()
        outs, ins, k = slices["weight"].shape[:3]
        kind, groups = nn.Conv1d if self.axes == 1 else nn.Conv2d, self._groups(slices["weight"])
        options = {"groups": groups, "bias": "bias" in slices}
        return plain_layer(kind, slices, ins * groups, outs, k, self.stride, self.padding_of(k), **options)

    def num_params(self, values: Values) -> int:
        return self.flops(values, 1) + (0 if self.bias is None else self._channels(values)[0])

    def flops(self, values: Values, positions: int) -> int:
        outs, ins = self._channels(values)
        return ins * outs * values["kernel_size"] ** self.axes * positions


class _Full(_Convolution):
    """Each output channel reads all input channels."""

    def __init__(
        self,
        in_channels: Dim,
        out_channels: Dim,
        kernel_size: Dim = 1,
        stride: int = 1,
        padding: int | None = None,
        bias: bool = True,
        mask: bool = True,
    ) -> None:
        dims = {"in_channels": in_channels, "out_channels": out_channels, "kernel_size": kernel_size}
        super().__init__(stride, padding, bias, mask, **dims)

    def _channels(self, of: Mapping[str, Any]) -> tuple[Any, Any]:
        return of["out_channels"], of["in_channels"]


class Conv2d(_Full):
    """A convolution: (N, in, H, W) -> (N, out, H / stride, W / stride).

    Args:
        in_channels: width of the input.
        out_channels: width of the output.
        kernel_size: odd; a weight of its own for each. 0 stands for a bypass, which a Switch takes instead.
        stride: in both directions.
        padding: of each side; kernel_size // 2 by default, which keeps the size at stride 1.
        bias: whether it has one.
        mask: whether a soft pick's mask is laid over the output; not needed where the layer behind does so.
    """


class Conv1d(_Full):
    """A convolution over a sequence: (N, in, L) -> (N, out, L / stride); arguments as those of `Conv2d`."""

    axes = 1


class DepthwiseConv2d(_Convolution):
    """A depthwise convolution: (N, C, H, W) -> (N, C, H / stride, W / stride); arguments as those of `Conv2d`."""

    group_width = 1

    def __init__(
        self,
        channels: Dim,
        kernel_size: Dim,
        stride: int = 1,
        padding: int | None = None,
        bias: bool = True,
        mask: bool = True,
    ) -> None:
        super().__init__(stride, padding, bias, mask, channels=channels, kernel_size=kernel_size)

    def _channels(self, of: Mapping[str, Any]) -> tuple[Any, Any]:
        return of["channels"], 1


class GroupedConv2d(_Convolution):
    """The first groups of a convolution, each of fixed width: (N, in, H, W) -> (N, out, H / stride, W / stride).

    Args:
        in_channels: width of the input, in whole groups; `joined` widths may be.
        out_channels: width of the output; as many groups.
        group_in: input channels of a group.
        group_out: output channels of a group.
        kernel_size: as the other arguments, that of `Conv2d`.

    Example:
        32 groups of 4 channels, or 16: `c = Choice("width", (64, 128))`, `GroupedConv2d(c, c, 4, 4, 3)`.
    """

    def __init__(
        self,
        in_channels: Dim,
        out_channels: Dim,
        group_in: int,
        group_out: int,
        kernel_size: Dim = 1,
        stride: int = 1,
        padding: int | None = None,
        bias: bool = True,
        mask: bool = True,
    ) -> None:
        self.group_in, self.group_width = group_in, group_out
        dims = {"in_channels": in_channels, "out_channels": out_channels, "kernel_size": kernel_size}
        super().__init__(stride, padding, bias, mask, **dims)

    def _channels(self, of: Mapping[str, Any]) -> tuple[Any, Any]:
        return of["out_channels"], self.group_in


class Linear(ElasticLayer):
    """A linear layer: (..., in) -> (..., out)."""

    channel_axis = -1
    mixes = True

    def __init__(self, in_features: Dim, out_features: Dim, bias: bool = True, mask: bool = True) -> None:
        super().__init__(in_features=in_features, out_features=out_features)
        self.mask = mask
        self.weight = nn.Parameter(torch.empty(largest(out_features), largest(in_features)))
        self.bias = nn.Parameter(torch.empty(largest(out_features))) if bias else None

    @property
    def makes(self) -> Dim:
        return self.dims["out_features"]

    def _slices(self) -> dict[str, Tensor]:
        outs, ins = self.taken["out_features"], self.taken["in_features"]
        slices = {"weight": self.slice_of(self.weight, outs, ins)}
        return slices if self.bias is None else {**slices, "bias": self.slice_of(self.bias, outs)}

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, **self._slices())
        if self.mixture is not None and self.mask:
            return y * self.mixture.mask(self.dims["out_features"], y, -1)
        return y

    def extract(self) -> nn.Module:
        slices = self._slices()
        outs, ins = slices["weight"].shape
        return plain_layer(nn.Linear, slices, ins, outs, bias="bias" in slices)

    def num_params(self, values: Values) -> int:
        return (values["in_features"] + (self.bias is not None)) * values["out_features"]

    def flops(self, values: Values, positions: int) -> int:
        return values["in_features"] * values["out_features"] * positions

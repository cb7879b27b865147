"""Elastic convolutions and linear layers: the first c channels, one weight for each kernel size (METHOD 3.3).

Slicing the first channels computes what FBNetV2's channel masks do, at the sampled architecture's cost. Under a soft
pick (`soft`) the masks themselves are laid over the output, unless `mask` is off since the layer behind it does so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import skip_init

from fpnas.elastic.base import ElasticLayer, Values
from fpnas.elastic.dims import Dim, largest, values_of


def _weights(kernel_size: Dim, *channels: int) -> nn.ParameterDict:
    """A weight for each kernel size above 0; size 0 stands for a bypass, which a Switch takes instead."""
    sizes = sorted(size for size in values_of(kernel_size) if size > 0)
    return nn.ParameterDict({str(k): nn.Parameter(torch.empty(*channels, k, k)) for k in sizes})


def _plain(kind: type[nn.Module], weight: Tensor, *sizes: Any, bias: Tensor | None = None, **options: Any) -> nn.Module:
    """A torch layer holding copies of the tensors; its own initialisation, which draws random numbers, is left out."""
    layer = skip_init(kind, *sizes, bias=bias is not None, device=weight.device, dtype=weight.dtype, **options)
    with torch.no_grad():
        cast(Tensor, layer.weight).copy_(weight)
        if bias is not None:
            cast(Tensor, layer.bias).copy_(bias)
    return layer


def _mixed(kernels: Mapping[int, Tensor], weights: nn.ParameterDict, x: Tensor, stride: int, groups: int = 1) -> Tensor:
    """The convolutions of all kernel sizes above 0, at their largest width, summed by the kernels' weights.

    Size 0 is a bypass that runs elsewhere, so the weights are those given that it doesn't.
    """
    run = {k: weight for k, weight in kernels.items() if k > 0}
    total = torch.stack(list(run.values())).sum().clamp_min(1e-12)
    outputs = [F.conv2d(x, weights[str(k)], None, stride, k // 2, 1, groups) for k in run]
    if len(outputs) == 1:
        return outputs[0]
    return torch.stack([y * (w / total).to(y) for y, w in zip(outputs, run.values(), strict=True)]).sum(dim=0)


class Conv2d(ElasticLayer):
    """A convolution without bias, padded to keep the size at stride 1: (N, in, H, W) -> (N, out, H/s, W/s)."""

    mixes = True

    def __init__(
        self, in_channels: Dim, out_channels: Dim, kernel_size: Dim = 1, stride: int = 1, mask: bool = True
    ) -> None:
        super().__init__(in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size)
        self.stride, self.mask = stride, mask
        self.weights = _weights(kernel_size, largest(out_channels), largest(in_channels))

    def _weight(self) -> Tensor:
        value = self.values
        return self.weights[str(value["kernel_size"])][: value["out_channels"], : value["in_channels"]]

    def forward(self, x: Tensor) -> Tensor:
        if self.mixture is not None:
            y = _mixed(self.mixture.of(self.dims["kernel_size"]), self.weights, x, self.stride)
            return y * self.mixture.mask(self.dims["out_channels"], y, 1) if self.mask else y
        return F.conv2d(x, self._weight(), None, self.stride, self.values["kernel_size"] // 2)

    def extract(self) -> nn.Module:
        weight = self._weight()
        out_channels, in_channels, k, _ = weight.shape
        return _plain(nn.Conv2d, weight, in_channels, out_channels, k, self.stride, k // 2)

    def num_params(self, values: Values) -> int:
        return values["in_channels"] * values["out_channels"] * values["kernel_size"] ** 2

    def flops(self, values: Values, positions: int) -> int:
        return self.num_params(values) * positions


class DepthwiseConv2d(ElasticLayer):
    """A depthwise convolution without bias: (N, C, H, W) -> (N, C, H/stride, W/stride)."""

    mixes = True

    def __init__(self, channels: Dim, kernel_size: Dim, stride: int = 1, mask: bool = True) -> None:
        super().__init__(channels=channels, kernel_size=kernel_size)
        self.stride, self.mask = stride, mask
        self.weights = _weights(kernel_size, largest(channels), 1)

    def _weight(self) -> Tensor:
        return self.weights[str(self.values["kernel_size"])][: self.values["channels"]]

    def forward(self, x: Tensor) -> Tensor:
        value = self.values
        if self.mixture is not None:
            y = _mixed(self.mixture.of(self.dims["kernel_size"]), self.weights, x, self.stride, groups=x.shape[1])
            return y * self.mixture.mask(self.dims["channels"], y, 1) if self.mask else y
        return F.conv2d(x, self._weight(), None, self.stride, value["kernel_size"] // 2, 1, value["channels"])

    def extract(self) -> nn.Module:
        weight = self._weight()
        channels, _, k, _ = weight.shape
        return _plain(nn.Conv2d, weight, channels, channels, k, self.stride, k // 2, groups=channels)

    def num_params(self, values: Values) -> int:
        return values["channels"] * values["kernel_size"] ** 2

    def flops(self, values: Values, positions: int) -> int:
        return self.num_params(values) * positions


class Linear(ElasticLayer):
    """A linear layer with bias: (..., in) -> (..., out)."""

    mixes = True

    def __init__(self, in_features: Dim, out_features: Dim, mask: bool = True) -> None:
        super().__init__(in_features=in_features, out_features=out_features)
        self.mask = mask
        self.weight = nn.Parameter(torch.empty(largest(out_features), largest(in_features)))
        self.bias = nn.Parameter(torch.empty(largest(out_features)))

    def _slices(self) -> tuple[Tensor, Tensor]:
        outs, ins = self.values["out_features"], self.values["in_features"]
        return self.weight[:outs, :ins], self.bias[:outs]

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, *self._slices())
        if self.mixture is not None and self.mask:
            return y * self.mixture.mask(self.dims["out_features"], y, -1)
        return y

    def extract(self) -> nn.Module:
        weight, bias = self._slices()
        return _plain(nn.Linear, weight, weight.shape[1], weight.shape[0], bias=bias)

    def num_params(self, values: Values) -> int:
        return (values["in_features"] + 1) * values["out_features"]

    def flops(self, values: Values, positions: int) -> int:
        return values["in_features"] * values["out_features"] * positions

"""Elastic convolutions and linear layers: the first c channels, one weight for each kernel size.

Slicing the first channels computes what FBNetV2's channel masks do, at the sampled architecture's cost. Under a soft
pick (`soft`) the masks themselves are laid over the output, unless `mask` is off since the layer behind it does so.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpnas.elastic.base import ElasticLayer, Values, plain_layer
from fpnas.elastic.dims import Dim, largest, values_of

NARROW = 16
"""Input channels below which a strided 1x1 convolution on a CPU takes its input already strided.

oneDNN of torch 2.13 writes past its memory in the weight gradient of such a convolution, for channels-last input of
fewer channels than a vector register of the processor holds (8 with AVX2, 16 with AVX-512).
"""


def _weights(kernel_size: Dim, axes: int, *channels: int) -> nn.ParameterDict:
    """A weight for each kernel size above 0; size 0 stands for a bypass, which a Switch takes instead."""
    sizes = sorted(size for size in values_of(kernel_size) if size > 0)
    return nn.ParameterDict({str(k): nn.Parameter(torch.empty(*channels, *[k] * axes)) for k in sizes})


def _bias(wanted: bool, channels: Dim) -> nn.Parameter | None:
    return nn.Parameter(torch.zeros(largest(channels))) if wanted else None


def _mixed(
    kernels: Mapping[int, Tensor], weights: nn.ParameterDict, x: Tensor, stride: int, padding: int | None, groups: int
) -> Tensor:
    """The convolutions of all kernel sizes above 0, at their largest width, summed by the kernels' weights.

    Size 0 is a bypass that runs elsewhere, so the weights are those given that it doesn't.
    """
    run = {k: weight for k, weight in kernels.items() if k > 0}
    total = torch.stack(list(run.values())).sum().clamp_min(1e-12)
    pads = {k: k // 2 if padding is None else padding for k in run}
    outputs = [F.conv2d(x, weights[str(k)], None, stride, pads[k], 1, groups) for k in run]
    if len(outputs) == 1:
        return outputs[0]
    return torch.stack([y * (w / total).to(y) for y, w in zip(outputs, run.values(), strict=True)]).sum(dim=0)


class Conv2d(ElasticLayer):
    """A convolution: (N, in, H, W) -> (N, out, H/s, W/s), padded to keep the size at stride 1.

    Args:
        in_channels: width of the input.
        out_channels: width of the output.
        kernel_size: odd; a weight of its own for each.
        stride: in both directions.
        padding: of each side; kernel_size // 2 by default, which keeps the size at stride 1.
        bias: whether it has one.
        mask: whether a soft pick's mask is laid over the output; not needed where the layer behind does so.
    """

    mixes = True

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
        super().__init__(in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size)
        self.stride, self.padding, self.mask = stride, padding, mask
        self.weights = _weights(kernel_size, 2, largest(out_channels), largest(in_channels))
        self.bias = _bias(bias, out_channels)

    def _slices(self) -> dict[str, Tensor]:
        value = self.values
        weight = self.weights[str(value["kernel_size"])]
        slices = {"weight": self.slice_of(weight, value["out_channels"], value["in_channels"])}
        return slices if self.bias is None else {**slices, "bias": self.slice_of(self.bias, value["out_channels"])}

    def _padding(self) -> int:
        return self.values["kernel_size"] // 2 if self.padding is None else self.padding

    def forward(self, x: Tensor) -> Tensor:
        if self.mixture is not None:
            y = _mixed(self.mixture.of(self.dims["kernel_size"]), self.weights, x, self.stride, self.padding, 1)
            y = y if self.bias is None else y + self.bias[:, None, None]
            return y * self.mixture.mask(self.dims["out_channels"], y, 1) if self.mask else y
        slices, stride, padding = self._slices(), self.stride, self._padding()
        weight = slices["weight"]
        if stride > 1 and weight.shape[-1] == 1 and not padding and weight.shape[1] < NARROW and x.is_cpu:
            x, stride = x[:, :, ::stride, ::stride], 1
        return F.conv2d(x, weight, slices.get("bias"), stride, padding)

    def extract(self) -> nn.Module:
        slices, padding = self._slices(), self._padding()
        outs, ins, k, _ = slices["weight"].shape
        return plain_layer(nn.Conv2d, slices, ins, outs, k, self.stride, padding, bias="bias" in slices)

    def num_params(self, values: Values) -> int:
        return self.flops(values, 1) + (0 if self.bias is None else values["out_channels"])

    def flops(self, values: Values, positions: int) -> int:
        return values["in_channels"] * values["out_channels"] * values["kernel_size"] ** 2 * positions


class DepthwiseConv2d(ElasticLayer):
    """A depthwise convolution: (N, C, H, W) -> (N, C, H/stride, W/stride); arguments as those of `Conv2d`."""

    mixes = True

    def __init__(
        self,
        channels: Dim,
        kernel_size: Dim,
        stride: int = 1,
        padding: int | None = None,
        bias: bool = True,
        mask: bool = True,
    ) -> None:
        super().__init__(channels=channels, kernel_size=kernel_size)
        self.stride, self.padding, self.mask = stride, padding, mask
        self.weights = _weights(kernel_size, 2, largest(channels), 1)
        self.bias = _bias(bias, channels)

    def _slices(self) -> dict[str, Tensor]:
        channels = self.values["channels"]
        slices = {"weight": self.slice_of(self.weights[str(self.values["kernel_size"])], channels)}
        return slices if self.bias is None else {**slices, "bias": self.slice_of(self.bias, channels)}

    def _padding(self) -> int:
        return self.values["kernel_size"] // 2 if self.padding is None else self.padding

    def forward(self, x: Tensor) -> Tensor:
        if self.mixture is not None:
            kernels = self.mixture.of(self.dims["kernel_size"])
            y = _mixed(kernels, self.weights, x, self.stride, self.padding, x.shape[1])
            y = y if self.bias is None else y + self.bias[:, None, None]
            return y * self.mixture.mask(self.dims["channels"], y, 1) if self.mask else y
        slices = self._slices()
        return F.conv2d(
            x, slices["weight"], slices.get("bias"), self.stride, self._padding(), 1, self.values["channels"]
        )

    def extract(self) -> nn.Module:
        slices, padding = self._slices(), self._padding()
        channels, _, k, _ = slices["weight"].shape
        options = {"groups": channels, "bias": "bias" in slices}
        return plain_layer(nn.Conv2d, slices, channels, channels, k, self.stride, padding, **options)

    def num_params(self, values: Values) -> int:
        return self.flops(values, 1) + (0 if self.bias is None else values["channels"])

    def flops(self, values: Values, positions: int) -> int:
        return values["channels"] * values["kernel_size"] ** 2 * positions


class Conv1d(ElasticLayer):
    """A convolution over a sequence with bias: (N, in, L) -> (N, out, L / stride), padded to keep the length at 1."""

    def __init__(self, in_channels: Dim, out_channels: Dim, kernel_size: Dim = 1, stride: int = 1) -> None:
        super().__init__(in_channels=in_channels, out_channels=out_channels, kernel_size=kernel_size)
        self.stride = stride
        self.weights = _weights(kernel_size, 1, largest(out_channels), largest(in_channels))
        self.bias = nn.Parameter(torch.zeros(largest(out_channels)))

    def _slices(self) -> dict[str, Tensor]:
        value = self.values
        outs, weight = value["out_channels"], self.weights[str(value["kernel_size"])]
        return {"weight": self.slice_of(weight, outs, value["in_channels"]), "bias": self.slice_of(self.bias, outs)}

    def forward(self, x: Tensor) -> Tensor:
        slices = self._slices()
        return F.conv1d(x, slices["weight"], slices["bias"], self.stride, self.values["kernel_size"] // 2)

    def extract(self) -> nn.Module:
        slices = self._slices()
        outs, ins, k = slices["weight"].shape
        return plain_layer(nn.Conv1d, slices, ins, outs, k, self.stride, k // 2)

    def num_params(self, values: Values) -> int:
        return self.flops(values, 1) + values["out_channels"]

    def flops(self, values: Values, positions: int) -> int:
        return values["in_channels"] * values["out_channels"] * values["kernel_size"] * positions


class Linear(ElasticLayer):
    """A linear layer: (..., in) -> (..., out)."""

    channel_axis = -1
    mixes = True

    def __init__(self, in_features: Dim, out_features: Dim, bias: bool = True, mask: bool = True) -> None:
        super().__init__(in_features=in_features, out_features=out_features)
        self.mask = mask
        self.weight = nn.Parameter(torch.empty(largest(out_features), largest(in_features)))
        self.bias = nn.Parameter(torch.empty(largest(out_features))) if bias else None

    def _slices(self) -> dict[str, Tensor]:
        outs, ins = self.values["out_features"], self.values["in_features"]
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

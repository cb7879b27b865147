"""Depthwise convolutions with a backward pass that is quick on a CPU (ours).

In float32 and channels last, oneDNN has no routine of its own for the weight gradient of a depthwise kernel of more
than three columns, or of more rows than the image has, and takes several times as long as for others. Here the kernel's
columns are taken three at a time, each part the gradient of a narrower kernel over a shifted image, for a few images at
a time that stay in the processor's cache; and the input's gradient at stride 1 is a forward pass with the weight turned
around. The sums are the same, in another order. Only first derivatives go this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MethodType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

AT_ONCE = 2 << 20
"""Bytes of the input that a weight's gradient takes at a time, for each thread: about what a core's cache holds."""

COLUMNS = 3
"""Of a depthwise kernel, for which oneDNN has a routine of its own."""

ELEMENTS = 1 << 15
"""Of the input, below which the calls take longer than what they save."""


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, groups: int) -> Tensor:
    """`torch.nn.functional.conv2d`, with another backward pass where that is quicker.

    Args:
        x: (N, C, H, W).
        weight: (out, C / groups, kH, kW).
        bias: (out,), or None.
        stride, padding: in both directions.
        groups: of channels.

    Example:
        >>> x, weight = torch.rand(2, 8, 6, 6), torch.rand(8, 1, 5, 5, requires_grad=True)
        >>> conv2d(x, weight, None, 1, 2, 8).shape
        torch.Size([2, 8, 6, 6])
    """
    if _is_slow(x, weight, groups):
        return cast("Tensor", _Depthwise.apply(x, weight, bias, stride, padding))
    return F.conv2d(x, weight, bias, stride, padding, 1, groups)


def quicken(network: nn.Module) -> None:
    """Has a plain network's depthwise convolutions learn by `conv2d`; what they compute, and their type, stay."""
    for layer in network.modules():
        if type(layer) is not nn.Conv2d or not 1 < layer.groups == layer.in_channels == layer.out_channels:
            continue
        zeros = layer.padding_mode == "zeros" and not isinstance(layer.padding, str) and layer.dilation == (1, 1)
        if zeros and layer.padding[0] == layer.padding[1] and layer.stride[0] == layer.stride[1]:
            layer.forward = MethodType(_forward, layer)


def _forward(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return conv2d(x, layer.weight, layer.bias, layer.stride[0], cast("int", layer.padding[0]), layer.groups)


def _is_slow(x: Tensor, weight: Tensor, groups: int) -> bool:
    """Whether torch would be slow in computing the weight's gradient of such a convolution."""
    if groups == 1 or not (x.is_cpu and weight.requires_grad and torch.is_grad_enabled() and x.numel() >= ELEMENTS):
        return False
    outs, ins, rows, columns = weight.shape
    slow = ins == 1 and outs == groups and (columns > COLUMNS or x.shape[2] < rows)
    single = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return slow and single and x.is_contiguous(memory_format=torch.channels_last) and not torch.compiler.is_compiling()


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution, and its three gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.has_bias = stride, padding, bias is not None
        return F.conv2d(x, weight, bias, stride, padding, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        into_x, into_weight = ctx.needs_input_grad[:2]
        of_x = input_gradient(x, weight, gradient, ctx.stride, ctx.padding) if into_x else None
        kernel = weight.shape[2:]
        of_weight = weight_gradient(x, gradient, kernel, ctx.stride, ctx.padding) if into_weight else None
        of_bias = gradient.sum((0, 2, 3)) if ctx.has_bias and ctx.needs_input_grad[2] else None
        return of_x, of_weight, of_bias, None, None


def input_gradient(x: Tensor, weight: Tensor, gradient: Tensor, stride: int, padding: int) -> Tensor:
    """(N, C, H, W): of the input of a depthwise convolution.

    Args:
        x: its input.
        weight: (C, 1, kH, kW).
        gradient: of its output, (N, C, H', W').
        stride, padding: in both directions.
    """
    if stride == 1 and 2 * padding + 1 == weight.shape[2] == weight.shape[3]:
        return F.conv2d(gradient, weight.flip(2, 3), None, 1, padding, 1, len(weight))
    return _gradients(gradient, x, weight, stride, (padding, padding), [True, False, False])[0]


def weight_gradient(x: Tensor, gradient: Tensor, kernel: Sequence[int], stride: int, padding: int) -> Tensor:
    """(C, 1, kH, kW): of the weight of a depthwise convolution, a few images and columns at a time.

    Args:
        x: its input, (N, C, H, W).
        gradient: of its output, (N, C, H', W').
        kernel: (kH, kW).
        stride, padding: in both directions.
    """
    many = max(1, AT_ONCE * torch.get_num_threads() // (x[0].numel() * x.element_size()))
    parts = [
        _of_columns(a, b, kernel, stride, padding) for a, b in zip(x.split(many), gradient.split(many), strict=True)
    ]
    return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]


def _of_columns(x: Tensor, gradient: Tensor, kernel: Sequence[int], stride: int, padding: int) -> Tensor:
    """The gradient of all images that are given, by parts of the kernel."""
    channels, high, wide = x.shape[1:]
    rows, columns = kernel
    reach = [(size - 1) * stride for size in gradient.shape[2:]]
    # oneDNN pads rows itself, but for images of fewer rows than the kernel, and where a step leaves a part of the pad.
    laid = padding if high < rows or padding % stride else 0
    below = reach[0] + rows - padding - high if laid else 0
    found: list[Tensor] = []
    for first in range(0, columns, COLUMNS):
        width = min(COLUMNS, columns - first)
        shape = (channels, 1, rows, width)
        left = padding - first  # cut off where it is negative, as on the right
        if not -wide < left < reach[1] + width:  # these columns meet padding alone
            found.append(x.new_zeros(shape))
            continue
        shifted = F.pad(x, (left, reach[1] + width - left - wide, laid, below))
        weight = x.new_empty(1).expand(shape)  # of which only the shape counts
        found.append(_gradients(gradient, shifted, weight, stride, (padding - laid, 0), [False, True, False])[1])
    return torch.cat(found, 3)


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: Sequence[int], wanted: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Torch's own: of input, weight and bias, those that are wanted."""
    how = [stride, stride], list(padding), [1, 1], False, [0, 0], len(weight)
    return torch.ops.aten.convolution_backward(gradient, x, weight, None, *how, wanted)

"""The elastic counterpart of a layer that was followed, and how it takes that layer's weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from fpnas.elastic.base import ElasticLayer, ElasticModule
from fpnas.elastic.conv import Conv2d, DepthwiseConv2d, GroupedConv2d, Linear
from fpnas.elastic.dims import Dim, choices_in, scaled
from fpnas.elastic.follow.choices import Choices, in_block
from fpnas.elastic.follow.walk import Followed, is_depthwise, why_not_elastic
from fpnas.elastic.norm import BatchNorm, BatchNorm1d, BatchNorm2d, LayerNorm
from fpnas.elastic.tokens import DotProductAttention
from fpnas.space import Choice


def counterpart(followed: Followed, choices: Choices, kernels: Sequence[int]) -> ElasticModule | None:
    """None where none of its arguments hangs on a choice."""
    layer = followed.layer
    ins, outs = choices.dim(followed.ins), choices.dim(followed.outs)
    if isinstance(layer, nn.Conv2d) and not why_not_elastic(layer):
        return _convolution(followed.name, layer, ins, outs, kernels)
    if not choices_in(ins) and not choices_in(outs):
        return None
    if isinstance(layer, DotProductAttention):
        head_dim: int = layer.values["head_dim"]
        return DotProductAttention(scaled(ins, 1 / head_dim), head_dim, layer.causal)
    if isinstance(layer, nn.Linear):
        return Linear(ins, outs, "bias" in dict(layer.named_parameters()))
    if isinstance(layer, nn.LayerNorm):
        return LayerNorm(outs, layer.eps)
    assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d), "a layer of another kind holds its widths"
    assert layer.momentum is not None
    kind = BatchNorm1d if isinstance(layer, nn.BatchNorm1d) else BatchNorm2d
    return kind(outs, layer.eps, layer.momentum)


def _convolution(name: str, layer: nn.Conv2d, ins: Dim, outs: Dim, kernels: Sequence[int]) -> ElasticLayer | None:
    size, stride, padding = layer.kernel_size[0], layer.stride[0], cast(tuple[int, int], layer.padding)[0]
    kernel: Dim = size
    keep = None if padding == size // 2 else padding
    if is_depthwise(layer) and keep is None and size % 2 and set(kernels) - {size}:
        kernel = Choice(f"{in_block(name)}_kernel", tuple(sorted({size, *kernels})))
    if not any(choices_in(dim) for dim in (ins, outs, kernel)):
        return None
    bias = layer.bias is not None
    if is_depthwise(layer):
        return DepthwiseConv2d(outs, kernel, stride, keep, bias)
    if layer.groups > 1:
        per_group = layer.in_channels // layer.groups, layer.out_channels // layer.groups
        return GroupedConv2d(ins, outs, *per_group, kernel, stride, keep, bias)
    return Conv2d(ins, outs, kernel, stride, keep, bias)


def take_weights(elastic: ElasticModule, plain: nn.Module) -> None:
    """Copies the weights of the plain layer, whose sizes are the elastic one's largest."""
    given = {**dict(plain.named_parameters()), **dict(plain.named_buffers())}
    if isinstance(elastic, Conv2d | DepthwiseConv2d | GroupedConv2d):
        weight = given["weight"]
        for key, parameter in elastic.weights.items():
            _tensor(parameter).copy_(_resized(weight, int(key)))
        if elastic.bias is not None:
            elastic.bias.copy_(given["bias"])
    else:
        assert isinstance(elastic, Linear | BatchNorm | LayerNorm | DotProductAttention)
        elastic.load_state_dict(given)


def _tensor(parameter: object) -> Tensor:
    assert isinstance(parameter, Tensor)
    return parameter


def _resized(weight: Tensor, size: int) -> Tensor:
    """The middle of a kernel, or the kernel with zeros around it."""
    margin = (size - weight.shape[-1]) // 2
    return F.pad(weight, [margin] * 4)  # a negative margin cuts

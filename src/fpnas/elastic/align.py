"""Candidates that begin as one function (ours): fresh weights of branches and kernels, made alike before training.

Branches of a switch share no weights. With weights drawn apart, each hands the layers behind it features
of its own, and those layers see another input at every step: after 480 steps the weights of `tiny` rank architectures
hardly better than chance (benchmarks/supernet_ranking.py). So weights are drawn once and copied: kernels are one
kernel, padded with zeros, and branches start as the first of them. Training moves them apart as far as it pays.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fpnas.elastic.base import ElasticLayer
from fpnas.elastic.conv import Conv2d, DepthwiseConv2d
from fpnas.elastic.mbconv import MBConv
from fpnas.elastic.switch import Switch


@torch.no_grad()
def align(module: nn.Module) -> None:
    """Makes what a choice exchanges begin alike; changes weights in place and draws nothing.

    * Within a convolution all kernel sizes begin as the smallest, in their centre.
    * The parallel convolutions of an `MBConv` begin as the first.
    * Layers of a switch's branches begin as those of the same place and kind in the first branch that has such, as far
      as widths overlap.
    * A 1x1 convolution that bypasses an `MBConv` begins as what that computes in a pixel without its nonlinearities.
    """
    members = list(module.modules())
    for layer in members:
        if isinstance(layer, Conv2d | DepthwiseConv2d):
            _copy(layer, layer)
    for switch in members:
        if isinstance(switch, Switch):
            firsts: dict[tuple[str, type], ElasticLayer] = {}
            for branch in switch.branches.values():
                for place, layer in branch.named_modules():
                    if isinstance(layer, ElasticLayer):
                        _copy(firsts.setdefault((place, type(layer)), layer), layer)
            _align_bypass(list(switch.branches.values()))
    for block in members:
        if isinstance(block, MBConv):
            first, *others = block.depthwise
            for other in others:
                other.load_state_dict(first.state_dict())


def _align_bypass(branches: list[nn.Module]) -> None:
    block = next((branch for branch in branches if isinstance(branch, MBConv)), None)
    if block is None:
        return
    outer, inner = (None if part is None else _matrix(part) for part in (block.project, block.expand))
    depthwise = next(layer for layer in block.depthwise[0].modules() if isinstance(layer, DepthwiseConv2d))
    kernel = next(iter(depthwise.weights.values()))[:, 0]
    centre = kernel[:, kernel.shape[1] // 2, kernel.shape[2] // 2]
    assert outer is not None
    linear = outer * centre if inner is None else outer @ (centre[:, None] * inner)
    for branch in branches:
        for layer in () if isinstance(branch, MBConv) else branch.modules():
            if isinstance(layer, Conv2d) and [*layer.weights] == ["1"] and _matrix(layer).shape == linear.shape:
                weight = _matrix(layer)
                weight.copy_(linear * (weight.std() / linear.std().clamp_min(1e-12)))


def _matrix(module: nn.Module) -> Tensor:
    """The weight of a 1x1 convolution, or of the first in a chain: (out, in), a view."""
    layer = next(layer for layer in module.modules() if isinstance(layer, Conv2d))
    return next(iter(layer.weights.values()))[:, :, 0, 0]


def _copy(source: ElasticLayer, target: ElasticLayer) -> None:
    """Lays the source's weights into the target's, where the two overlap."""
    if isinstance(source, Conv2d | DepthwiseConv2d) and isinstance(target, Conv2d | DepthwiseConv2d):
        weight = next(iter(source.weights.values()))  # of the smallest kernel
        for wider in target.weights.values():
            _embed(weight, wider)
        return
    if source is not target:
        theirs = dict(target.named_parameters())
        for name, weight in source.named_parameters():
            if name in theirs and weight.dim() == theirs[name].dim():
                _embed(weight, theirs[name])


def _embed(small: Tensor, large: Tensor) -> None:
    """Channels from the first on, positions around the centre; positions beyond become 0."""
    if small is large:
        return
    index = [slice(min(a, b)) for a, b in zip(small.shape[:2], large.shape[:2], strict=False)]
    cut, into = list(index), list(index)
    for a, b in zip(small.shape[2:], large.shape[2:], strict=True):
        cut.append(slice(max(0, (a - b) // 2), max(0, (a - b) // 2) + min(a, b)))
        into.append(slice(max(0, (b - a) // 2), max(0, (b - a) // 2) + min(a, b)))
    values = small[tuple(cut)].clone()
    large[tuple(index)] = 0
    large[tuple(into)] = values

"""Fresh weights from a generator, for elastic layers and their plain counterparts alike.

A slice of a layer that was initialised at its largest size has the wrong scale for its own fan, so a network that is
trained from scratch is initialised anew after extraction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fpnas.elastic.base import ElasticLayer
from fpnas.elastic.conv import DepthwiseConv2d, GroupedConv2d
from fpnas.elastic.norm import BatchNorm, LayerNorm
from fpnas.elastic.whole import Whole

_NORMS = (
    BatchNorm | LayerNorm | nn.LayerNorm | nn.GroupNorm | nn.modules.batchnorm._NormBase  # pyright: ignore[reportPrivateUsage]
)
_RECURRENT = nn.RNNCellBase | nn.RNNBase
_BY_FAN = ElasticLayer | nn.modules.conv._ConvNd | nn.Linear | nn.Embedding  # pyright: ignore[reportPrivateUsage]


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator, elastic_only: bool = False) -> None:
    """Draws every weight anew: Kaiming normal (fan out) for convolutions, N(0, 0.01) for linear layers and embeddings,
    uniform within 1 / sqrt(hidden size) for torch's recurrent layers; norms become the identity, biases 0.

    Args:
        module: anything; changed in place. Layers of kinds not named above, and parameters that a module holds itself,
            are left alone.
        generator: a CPU generator; equal states give equal weights on every device.
        elastic_only: leave torch's own layers as they are.
    """
    for layer in module.modules():
        if elastic_only and not isinstance(layer, ElasticLayer):
            continue
        if isinstance(layer, Whole):
            continue  # what it holds is of its own kind
        if isinstance(layer, _NORMS):
            _reset(layer)
        elif isinstance(layer, _RECURRENT):
            for parameter in layer.parameters(recurse=False):
                _fill_uniform(parameter, layer.hidden_size**-0.5, generator)
        elif isinstance(layer, _BY_FAN):
            _initialise_by_fan(layer, generator)


def _initialise_by_fan(layer: nn.Module, generator: torch.Generator) -> None:
    for name, parameter in layer.named_parameters():
        if parameter.dim() > 2:
            grouped = isinstance(layer, DepthwiseConv2d | GroupedConv2d)
            groups = len(parameter) // layer.group_width if grouped else getattr(layer, "groups", 1)
            fan_out = parameter.numel() / parameter.shape[1] / groups
            _fill(parameter, (2.0 / fan_out) ** 0.5, generator)
        elif parameter.dim() == 2:
            _fill(parameter, 0.01, generator)
        elif name == "bias":
            parameter.zero_()


def _reset(norm: nn.Module) -> None:
    for name, value in [*norm.named_parameters(recurse=False), *norm.named_buffers(recurse=False)]:
        value.fill_(1 if name in ("weight", "running_var") else 0)


def _fill(parameter: Tensor, std: float, generator: torch.Generator) -> None:
    if parameter.is_meta:  # a supernet without memory, made to count its costs
        return
    parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)


def _fill_uniform(parameter: Tensor, bound: float, generator: torch.Generator) -> None:
    if parameter.is_meta:
        return
    parameter.copy_((torch.rand(parameter.shape, generator=generator) * 2 - 1) * bound)

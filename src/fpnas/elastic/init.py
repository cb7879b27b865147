"""Fresh weights from a generator, for elastic layers and their plain counterparts alike.

A slice of a layer that was initialised at its largest size has the wrong scale for its own fan, so a network that is
trained from scratch is initialised anew after extraction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fpnas.elastic.base import ElasticLayer
from fpnas.elastic.conv import DepthwiseConv2d


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator, elastic_only: bool = False) -> None:
    """Draws every weight anew: Kaiming normal (fan out) for convolutions, N(0, 0.01) for linear layers.

    Args:
        module: anything; changed in place. Layers of kinds not named above are left alone.
        generator: a CPU generator; equal states give equal weights on every device.
        elastic_only: leave torch's own layers as they are.
    """
    for layer in module.modules():
        if elastic_only and not isinstance(layer, ElasticLayer):
            continue
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_parameters()
        own = layer.named_parameters() if isinstance(layer, ElasticLayer) else layer.named_parameters(recurse=False)
        for name, parameter in own:
            if parameter.dim() == 4:
                groups = len(parameter) if isinstance(layer, DepthwiseConv2d) else getattr(layer, "groups", 1)
                fan_out = parameter.numel() / parameter.shape[1] / groups
                _fill(parameter, (2.0 / fan_out) ** 0.5, generator)
            elif parameter.dim() == 2 and name == "weight":
                _fill(parameter, 0.01, generator)
            elif name == "bias":
                parameter.zero_()


def _fill(parameter: Tensor, std: float, generator: torch.Generator) -> None:
    if parameter.is_meta:  # a supernet without memory, made to count its costs
        return
    parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)

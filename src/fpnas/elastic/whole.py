"""A plain module that a supernet calls as it is, whatever its `forward` does."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from torch import nn

from fpnas.elastic.base import ElasticLayer, Values


class Whole(ElasticLayer):
    """Calls a module that `torch.fx` can't follow; the extracted network holds a copy of that module.

    Its multiply-adds are those that a forward pass was seen to do, so they mustn't depend on choices.

    Args:
        module: with whatever arguments it takes; keeps its weights when the supernet draws those of its layers.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any, **options: Any) -> Any:
        return self.module(*inputs, **options)

    def extract(self) -> nn.Module:
        return deepcopy(self.module)

    def num_params(self, values: Values) -> int:
        del values
        return sum(parameter.numel() for parameter in self.module.parameters())

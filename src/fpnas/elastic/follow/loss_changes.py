"""How much each channel of a network matters to the loss, from a few examples: a Taylor expansion of first order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpnas.elastic.checks import evaluating
from fpnas.elastic.follow.walk import Network
from fpnas.errors import InputError

Batches = Iterable[tuple[Tensor, Tensor]]
"""Inputs as the network takes them, and labels (N,)."""


def loss_changes(module: nn.Module, network: Network, batches: Batches) -> dict[str, Tensor]:
    """Layer -> about how much the cross-entropy of an example changes where a channel that it makes is 0, (channels,).

    That is |activation x gradient|, the product summed over places, its size averaged over examples (Molchanov et al.
    2017, "Pruning Convolutional Neural Networks for Resource Efficient Inference").

    Args:
        module: that was followed; it runs in eval mode, and its weights stay as they are.
        network: what was found.
        batches: at least one.

    Raises:
        InputError: there is none.
    """
    found: dict[str, Tensor] = {}
    made: list[tuple[str, Tensor]] = []

    def keep(name: str) -> Callable[..., Tensor]:
        def hook(layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
            del layer, inputs
            made.append((name, output))
            return output.clone()  # what follows may write into it

        return hook

    hooks = [followed.layer.register_forward_hook(keep(followed.name)) for followed in network.layers]
    first = {followed.name for followed in network.layers if isinstance(followed.layer, _MAPS)}
    count = 0
    try:
        with torch.enable_grad(), evaluating(module):
            for inputs, labels in batches:
                made.clear()
                logits = module(inputs.clone().requires_grad_())  # there are gradients even where weights are frozen
                loss = F.cross_entropy(logits, labels, reduction="sum")
                gradients = torch.autograd.grad(loss, [output for _, output in made], materialize_grads=True)
                count += len(inputs)
                for (name, output), gradient in zip(made, gradients, strict=True):
                    change = (output.detach() * gradient).movedim(1 if name in first else -1, 1)
                    total = change.reshape(*change.shape[:2], -1).sum(-1).abs().sum(0).double().cpu()
                    found[name] = found[name] + total if name in found else total
    finally:
        for hook in hooks:
            hook.remove()
    if not count:
        raise InputError("batches to sort channels by", "none", "give a few")
    return {name: total / count for name, total in found.items()}


_MAPS = nn.Conv2d | nn.BatchNorm1d | nn.BatchNorm2d
"""Layers whose channels are the second axis; of others they are the last."""

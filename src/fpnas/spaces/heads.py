"""The two ends of a network that exists, fitted to other data: its classes, and the channels of its images."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from fpnas.errors import InputError, reason
from fpnas.streams import generator


def with_classes(module: nn.Module, num_classes: int, shape: tuple[int, ...], seed: int, name: str) -> nn.Module:
    """A copy with as many logits as there are classes; the network's own head where it has so many.

    Else the last linear layer, or 1x1 convolution, whose outputs are the logits is exchanged for one with weights drawn
    by `seed`: a deviation of 0.01 and no bias, so that all classes are about as probable at first.

    Args:
        module: in eval mode.
        num_classes: how many logits it should have.
        shape: of an image, (C, H, W).
        seed: of the new head.
        name: of the network, for errors.

    Raises:
        InputError: it doesn't run on such an image, or has no such layer.
    """
    copy = deepcopy(module).eval()
    now = num_logits(copy, shape, name)
    if now == num_classes:
        return copy
    heads = [
        (path, layer)
        for path, layer in copy.named_modules()
        if (isinstance(layer, nn.Linear) and layer.out_features == now)
        or (isinstance(layer, nn.Conv2d) and layer.out_channels == now and set(layer.kernel_size) == {1})
    ]
    if not heads or not heads[-1][0]:
        got = f"{name}, whose {now} logits come of another layer"
        raise InputError("a network whose logits come of a linear layer", got, f"give one of {num_classes} classes")
    path, old = heads[-1]
    copy.set_submodule(path, _fresh(old, num_classes, seed))
    if num_logits(copy, shape, name) != num_classes:
        got = f"{name}, whose logits aren't those of its last layer {path!r}"
        raise InputError("a network whose logits come of its last layer", got, f"give one of {num_classes} classes")
    return copy


def with_channels(module: nn.Module, in_channels: int) -> nn.Module:
    """A network that takes images of so many channels: in a copy's first convolution each has the weights that the
    network's own channels have together, divided by their number."""
    first = next(((path, layer) for path, layer in module.named_modules() if isinstance(layer, nn.Conv2d)), None)
    if first is None or first[1].in_channels == in_channels or first[1].groups > 1:
        return module
    copy = deepcopy(module)
    layer = copy.get_submodule(first[0])
    assert isinstance(layer, nn.Conv2d)
    total = layer.weight.detach().sum(1, keepdim=True)
    layer.weight = nn.Parameter((total / in_channels).repeat(1, in_channels, 1, 1))
    layer.in_channels = in_channels
    return copy


def num_logits(module: nn.Module, shape: tuple[int, ...], name: str) -> int:
    """How many logits a network makes of an image of `shape`, (C, H, W); errors call it `name`.

    Raises:
        InputError: it doesn't run on such an image, or makes something else.
    """
    example = next(iter(module.parameters()), torch.zeros(()))
    try:
        with torch.no_grad():
            logits: Any = module(torch.zeros(1, *shape, dtype=example.dtype, device=example.device))
    except Exception as error:  # whatever a network raises
        got = f"{name}, which fails ({reason(error)})"
        raise InputError(f"a network that takes images of shape {shape}", got, "give --image-size") from error
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        got = f"{type(logits).__name__} from {name}"
        raise InputError("a network that makes logits of shape (N, classes)", got, "give another network")
    return logits.shape[1]


def _fresh(old: nn.Linear | nn.Conv2d, classes: int, seed: int) -> nn.Module:
    like: Any = {"bias": old.bias is not None, "device": old.weight.device, "dtype": old.weight.dtype}
    new = (
        nn.Linear(old.in_features, classes, **like)
        if isinstance(old, nn.Linear)
        else nn.Conv2d(old.in_channels, classes, 1, **like)
    )
    with torch.no_grad():
        nn.init.normal_(new.weight, std=0.01, generator=generator(seed, "head"))
        if new.bias is not None:
            new.bias.zero_()
    return new

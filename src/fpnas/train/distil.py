"""Distillation (Hinton et al., 2015): a network learns from a teacher's logits beside the labels.

A teacher is any callable from normalized images (n, C, H, W) to logits (n, classes). It sees what the network sees,
crops and mixes included (Beyer et al., 2022).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpnas.data import Normalization
from fpnas.errors import InputError

Teacher = Callable[[Tensor], Tensor]


def distillation_loss(logits: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """T^2 KL(softmax(taught / T) || softmax(logits / T)), mean over the images, in nats.

    T^2 keeps the gradient's size whatever T is.
    """
    learnt, wanted = (F.log_softmax(values / temperature, dim=1) for values in (logits, taught))
    return temperature**2 * F.kl_div(learnt, wanted, reduction="batchmean", log_target=True)


class AtSize(nn.Module):
    """A teacher on images brought to the `size` that it was trained at, in pixels a side."""

    def __init__(self, teacher: nn.Module, size: int) -> None:
        super().__init__()
        self.teacher, self.size = teacher, size

    def forward(self, images: Tensor) -> Tensor:
        size = (self.size, self.size)
        return self.teacher(F.interpolate(images, size=size, mode="bilinear", antialias=True))


class Renormalized(nn.Module):
    """A teacher on images normalized as it knows them: by its `own` mean and deviation, where a network gets `given`.

    Both have a number for each channel of images whose pixels are from 0 to 1.
    """

    def __init__(self, teacher: nn.Module, given: Normalization, own: Normalization) -> None:
        super().__init__()
        self.teacher = teacher
        both = torch.tensor((given, own), dtype=torch.float64).view(2, 2, 1, -1, 1, 1)
        (mean, std), (own_mean, own_std) = both
        self.scale = nn.Buffer((std / own_std).float())
        self.shift = nn.Buffer(((mean - own_mean) / own_std).float())

    def forward(self, images: Tensor) -> Tensor:
        return self.teacher(images * self.scale + self.shift)


@torch.no_grad()
def taught_logits(teacher: Teacher, images: Tensor, shape: torch.Size) -> Tensor:
    """The teacher's logits, or `InputError` where they aren't of the network's `shape`."""
    logits = teacher(images)
    if logits.shape != shape:
        expected, got = f"a teacher's logits of shape {tuple(shape)}", str(tuple(logits.shape))
        raise InputError(expected, got, "use a teacher of the same classes")
    return logits.to(images.device).float()


def teacher_digest(teacher: Teacher) -> str:
    """What settings call a teacher: a hash of a module's state, a function's name."""
    if not isinstance(teacher, nn.Module):
        return str(getattr(teacher, "__qualname__", type(teacher).__qualname__))
    hasher = hashlib.blake2b(digest_size=16)
    state: dict[str, Any] = teacher.state_dict()
    for name, value in state.items():
        if isinstance(value, Tensor):
            hasher.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
            hasher.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()

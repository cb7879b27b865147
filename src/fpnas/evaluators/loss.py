"""Losses of labels: torch's cross entropy or one of a user's own, as a mean to learn by and as a sum to judge by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from fpnas.errors import InputError

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (n, classes), labels (n,)) -> a mean over the images, or a loss for each, (n,); lower is better."""

Metric = Literal["accuracy", "balanced_accuracy"]
"""By which networks are compared: each image counts the same, or each class."""


def balanced_weights(labels: Int64[Tensor, " n"], num_classes: int) -> Float64[Tensor, " classes"]:
    """n / (classes * n_c): with these each class counts the same altogether; 0 for a class without images."""
    counts = torch.bincount(labels.cpu(), minlength=num_classes).double()
    return torch.where(counts > 0, counts.sum() / (counts.count_nonzero() * counts.clamp(min=1)), 0)


def mean_loss(own: Loss | None, logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """The mean over the images, with its graph; a loss of one's own knows of no smoothing.

    Raises:
        InputError: one's own gives neither a number nor one for each image.
    """
    if own is None:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    return _checked(own(logits, labels), len(labels)).mean()


def summed_loss(
    own: Loss | None, logits: Float[Tensor, "n classes"], labels: Int64[Tensor, " n"], weights: Tensor | None = None
) -> float:
    """The sum over the images, in nats of the cross entropy; with `weights`, (classes,), each times that of its class.

    Raises:
        InputError: one's own gives neither a number nor one for each image, or only a number where classes are weighed.
    """
    if own is None and weights is None:
        return float(F.cross_entropy(logits, labels, reduction="sum"))
    losses = F.cross_entropy(logits, labels, reduction="none") if own is None else own(logits, labels)
    losses = _checked(losses, len(labels))
    if weights is None:
        return float(losses.mean()) * len(labels)
    if losses.ndim == 0:
        raise InputError("a loss for each image, to weigh classes", "one number", "leave its mean out")
    return float((losses.double().cpu() * weights[labels.cpu()]).sum())


def loss_name(own: Loss) -> str:
    """What settings call a loss: a function's name, or a module as torch prints it."""
    return repr(own) if isinstance(own, nn.Module) else str(getattr(own, "__qualname__", type(own).__qualname__))


def _checked(losses: Tensor, images: int) -> Tensor:
    if losses.shape not in ((), (images,)):
        got = f"a tensor of shape {tuple(losses.shape)}"
        raise InputError(f"a loss that gives a number, or one for each of {images} images", got, "average the rest")
    return losses

"""Class weights: how much an image of each class counts in a training's loss, as torch's `cross_entropy(weight=)`."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Literal, get_args

import torch
from torch import Tensor

from fpnas.data import Data
from fpnas.errors import InputError, unknown_name
from fpnas.evaluators.loss import balanced_weights

Balanced = Literal["balanced"]
ClassWeights = Balanced | Mapping[str, float]
"""What a user gives: the word "balanced", or a weight for each class by its name."""

LEAST, GREATEST = 1e-6, 1e6
_NAMED = 5


def weight_tensor(given: ClassWeights, data: Data) -> Tensor:
    """A weight for each class, (num_classes,) float64, scaled so that the training images' mean weight is 1.

    Torch's mean divides by the sum of the images' weights, so the scale changes nothing there; where labels are mixed,
    torch divides by the number of images, and the scale keeps the loss as large as it is without weights.

    Args:
        given: "balanced": n / (classes * n_c), where n_c of the n training images are of the class, so that each class
            counts the same altogether; a class without training images gets 0, as no image has it. Or a weight for
            each class, by name.
        data: has the classes and the training images.

    Raises:
        InputError: an unknown word, a class without a weight, a weight for no class, or one out of range.

    Example:
        >>> labels = torch.tensor([0, 0, 0, 1])
        >>> rows = fpnas.data.TensorData.of("rows", torch.randn(4, 3), labels, (torch.randn(2, 3), torch.arange(2)))
        >>> [round(float(weight), 3) for weight in weight_tensor("balanced", rows)]
        [0.667, 2.0]
    """
    if isinstance(given, str):
        if given not in get_args(Balanced):
            raise unknown_name("kind of class weights", given, get_args(Balanced), ", or give a weight for each class")
        return balanced_weights(data.train.labels, data.num_classes)
    for name, value in given.items():
        if name not in data.classes:
            raise unknown_name("class", name, data.classes)
        if isinstance(value, bool) or not isinstance(value, Real) or not LEAST <= value <= GREATEST:
            expected, got = f"class weights from {LEAST:g} to {GREATEST:g}", f"{value!r:.40} for {name!r:.80}"
            raise InputError(expected, got, "correct it")
    missing = [name for name in data.classes if name not in given]
    if missing:
        names = ", ".join(repr(name) for name in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        raise InputError(f"a weight for each of {data.num_classes} classes", f"none for {names:.200}{more}", "add it")
    counts = torch.bincount(data.train.labels.cpu(), minlength=data.num_classes).double()
    weights = torch.tensor([given[name] for name in data.classes], dtype=torch.float64)
    return weights * (counts.sum() / (weights * counts).sum())

"""`TensorData`: a table, token sequences or any other tensors with a class each, for a search as `ImageData` is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fpnas.data.images import STD_FLOOR
from fpnas.data.labelled import Examples, HeldoutFrom, TwoSets, check_labels, numbered_classes
from fpnas.data.splits import stratified_split
from fpnas.errors import InputError


@dataclass(frozen=True, eq=False)
class TensorSet(Examples):
    """Examples and their labels; `images` is (N, ...), float32 or int64, `labels` (N,) int64, not negative.

    Raises:
        InputError: a wrong type or shape, no example, unequal counts, a number that isn't finite, or a negative label.
    """

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if images.dtype not in (torch.float32, torch.int64) or images.ndim < 2 or images.numel() == 0:
            got = f"{images.dtype} of shape {tuple(images.shape)}"
            raise InputError("examples as float32 or int64 of shape (N, ...)", got, "convert them first")
        check_labels(labels, len(images), "example")
        if images.is_floating_point() and not bool(images.isfinite().all()):
            raise InputError("finite numbers", "NaN or infinity", "fill in or drop what is missing")


@dataclass(frozen=True, eq=False)
class TensorData(TwoSets[TensorSet]):
    """A data set of tensors: floats, such as the columns of a table, or integers, such as tokens. Made with `of`.

    Attributes:
        mean: of the training examples, of one example's shape; 0 for integers.
        std: likewise the standard deviation; 1 for integers.

    Raises:
        InputError: fewer than two classes, a label beyond them, or examples of another shape or type than the rest.
    """

    mean: Tensor
    std: Tensor

    def __post_init__(self) -> None:
        train, heldout = self.train.images, self.heldout.images
        if train.shape[1:] != heldout.shape[1:] or train.dtype != heldout.dtype:
            first, second = (f"{part.dtype} of shape {tuple(part.shape[1:])}" for part in (train, heldout))
            got = f"{first} in training and {second} held out"
            raise InputError("examples of one shape and type", got, "make them alike")
        self.check_classes("examples")

    @classmethod
    def of(
        cls,
        name: str,
        images: Tensor,
        labels: Tensor,
        heldout: tuple[Tensor, Tensor] | None = None,
        *,
        classes: tuple[str, ...] | None = None,
        fraction: float = 0.2,
        seed: int = 0,
    ) -> TensorData:
        """Makes sets of tensors; floats get the training examples' mean 0 and standard deviation 1, column by column.

        Args:
            name: what reports call it.
            images: (N, ...), floats or integers.
            labels: (N,), the class of each, from 0 up.
            heldout: images and labels that a search never sees; by default `fraction` of those given, class by class.
            classes: the classes' names; by default their numbers.
            fraction: what is held out.
            seed: of that.

        Raises:
            InputError: the tensors don't fit together.
        """
        source: HeldoutFrom = "split" if heldout is None else "test"
        train = TensorSet(_plain(images), labels.long())
        if heldout is None:
            kept, held = stratified_split(train.labels, fraction, seed)
            train, rest = train.subset(kept), train.subset(held)
        else:
            rest = TensorSet(_plain(heldout[0]), heldout[1].long())
        names = classes or numbered_classes(train.labels, "number them anew, or give all classes' names")
        mean, std = torch.zeros(train.images.shape[1:]), torch.ones(train.images.shape[1:])
        if train.images.is_floating_point():
            exact = train.images.double()
            mean = exact.mean(0).float()
            std = exact.std(0, unbiased=False).clamp(min=STD_FLOOR).float()
        return cls(name, train, rest, names, source, mean, std)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of one example."""
        return tuple(self.train.images.shape[1:])

    @property
    def input_dtype(self) -> torch.dtype | None:
        """torch.int64 for integers; None for floats."""
        return None if self.train.images.is_floating_point() else torch.int64

    def describe(self) -> dict[str, Any]:
        """The shape of one example."""
        return {"input_shape": list(self.input_shape)}

    def settings(self) -> dict[str, Any]:
        """What a run records of its data, plain JSON; another run's data differ in one of these."""
        return {
            "data": self.name,
            "data_digest": self.digest,
            "image_size": None,
            "input_shape": list(self.input_shape),
            "data_classes": list(self.classes),
        }

    def normalize(self, images: Tensor) -> Tensor:
        """(images - mean) / std for floats, on their device; integers as they are."""
        if not images.is_floating_point():
            return images
        return (images - self.mean.to(images.device)) / self.std.to(images.device)


def _plain(images: Tensor) -> Tensor:
    return images.float() if images.is_floating_point() else images.long()

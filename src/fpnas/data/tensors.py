"""`TensorData`: a table, token sequences or any other tensors with a class each, for a search as `ImageData` is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fpnas.data.images import MIN_STD
from fpnas.data.labelled import Data, HeldoutFrom, LabelledSet, check_groups, check_labels, numbered_classes
from fpnas.data.splits import stratified_split
from fpnas.errors import InputError


@dataclass(frozen=True, eq=False)
class TensorSet(LabelledSet):
    """Examples and their labels; `inputs` is (N, ...), float32 or int64, `labels` (N,) int64, not negative.

    Raises:
        InputError: a wrong type or shape, no example, unequal counts, a number that isn't finite, or a negative label.
    """

    def __post_init__(self) -> None:
        inputs = self.inputs
        if inputs.dtype not in (torch.float32, torch.int64) or inputs.ndim < 2 or inputs.numel() == 0:
            got = f"{inputs.dtype} of shape {tuple(inputs.shape)}"
            raise InputError("examples as float32 or int64 of shape (N, ...)", got, "convert them first")
        check_labels(self.labels, len(inputs), "example")
        check_groups(self.groups, len(inputs))
        if inputs.is_floating_point() and not bool(inputs.isfinite().all()):
            raise InputError("finite numbers", "NaN or infinity", "fill in or drop what is missing")


@dataclass(frozen=True, eq=False)
class TensorData(Data):
    """A data set of tensors: floats, such as the columns of a table, or integers, such as tokens. Made with `of`.

    Attributes:
        mean: of the training examples, of one example's shape; 0 for integers.
        std: likewise the standard deviation; 1 for integers.

    Raises:
        InputError: fewer than two classes, a label beyond them, or examples of another shape or type than the rest.
    """

    train: TensorSet
    heldout: TensorSet
    mean: Tensor
    std: Tensor

    def __post_init__(self) -> None:
        train, heldout = self.train.inputs, self.heldout.inputs
        if train.shape[1:] != heldout.shape[1:] or train.dtype != heldout.dtype:
            first, second = (f"{part.dtype} of shape {tuple(part.shape[1:])}" for part in (train, heldout))
            got = f"{first} in training and {second} held out"
            raise InputError("examples of one shape and type", got, "make them alike")
        self.check_classes("examples")

    @classmethod
    def of(
        cls,
        name: str,
        inputs: Tensor,
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
            inputs: (N, ...), floats or integers.
            labels: (N,), the class of each, from 0 up.
            heldout: inputs and labels that a search never sees; by default `fraction` of those given, class by class.
            classes: the classes' names; by default their numbers.
            fraction: what is held out.
            seed: of that.

        Raises:
            InputError: the tensors don't fit together.

        Example:
            >>> rows, labels = torch.randn(40, 3), torch.arange(40) % 4
            >>> len(TensorData.of("rows", rows, labels).heldout)
            8
        """
        source: HeldoutFrom = "split" if heldout is None else "test"
        train = TensorSet(_plain(inputs), labels.long())
        if heldout is None:
            kept, held = stratified_split(train.labels, fraction, seed)
            train, rest = train.subset(kept), train.subset(held)
        else:
            rest = TensorSet(_plain(heldout[0]), heldout[1].long())
        names = classes or numbered_classes(train.labels, "number them anew, or give all classes' names")
        mean, std = torch.zeros(train.inputs.shape[1:]), torch.ones(train.inputs.shape[1:])
        if train.inputs.is_floating_point():
            exact = train.inputs.double()
            mean = exact.mean(0).float()
            std = exact.std(0, unbiased=False).clamp(min=MIN_STD).float()
        return cls(name, train, rest, names, source, mean, std)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return tuple(self.train.inputs.shape[1:])

    @property
    def input_dtype(self) -> torch.dtype | None:
        return None if self.train.inputs.is_floating_point() else torch.int64

    def describe(self) -> dict[str, Any]:
        return {"input_shape": list(self.input_shape)}

    def settings(self) -> dict[str, Any]:
        return {
            "data": self.name,
            "data_digest": self.digest,
            "image_size": None,
            "input_shape": list(self.input_shape),
            "data_classes": list(self.classes),
        }

    def normalize(self, inputs: Tensor) -> Tensor:
        """(inputs - mean) / std for floats, on their device; integers as they are."""
        if not inputs.is_floating_point():
            return inputs
        return (inputs - self.mean.to(inputs.device)) / self.std.to(inputs.device)


def _plain(inputs: Tensor) -> Tensor:
    return inputs.float() if inputs.is_floating_point() else inputs.long()

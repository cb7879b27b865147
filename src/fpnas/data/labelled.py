"""What a search and a training ask of data: `Data` and `LabelledSet`, of which there are images and tensors."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Int64
from torch import Tensor

from fpnas.errors import InputError

HeldoutFrom = Literal["test", "val", "split"]
"""Where the held-out examples come from: the data's own test or validation part, or a seeded split of the rest."""

Normalization = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel."""

S = TypeVar("S", bound="LabelledSet")


@dataclass(frozen=True, eq=False)
class LabelledSet:
    """Examples with their labels.

    Attributes:
        inputs: (N, ...), before `Data.normalize`.
        labels: (N,) int64, from 0 up.
        groups: (N,) int64; examples of one group, such as photographs of one object, are on one side of every split.
            By default each is by itself.
    """

    # Plain types: users make these, and the checks of a set say more than a type checker in their place would.
    inputs: Tensor
    labels: Tensor
    groups: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def add_to(self, hasher: hashlib.blake2b) -> None:
        """Hashes the examples and their labels."""
        typed = self.inputs.dtype != torch.uint8
        for tensor in (self.inputs, self.labels):
            hasher.update(f"{tensor.dtype if typed else ''}{tuple(tensor.shape)}".encode())
            hasher.update(tensor.cpu().contiguous().numpy().data)

    def subset(self: S, indices: Int64[Tensor, " k"]) -> S:
        """The examples at `indices`, in their order; a copy."""
        # index_select copies whole examples; inputs[indices] does the same 20 times slower.
        indices = indices.to(self.labels.device)
        groups = None if self.groups is None else self.groups.index_select(0, indices)
        return type(self)(self.inputs.index_select(0, indices), self.labels.index_select(0, indices), groups)


@dataclass(frozen=True, eq=False)
class Data(ABC):
    """A training and a held-out set.

    Attributes:
        name: what reports call it.
        train: the examples to learn from; a search cuts its two halves from them.
        heldout: the examples that a search never sees.
        classes: the classes' names, in the order of the labels.
        heldout_from: where the held-out examples come from.
    """

    name: str
    train: LabelledSet
    heldout: LabelledSet
    classes: tuple[str, ...]
    heldout_from: HeldoutFrom

    @property
    def num_classes(self) -> int:
        """How many classes there are, whether or not each has examples."""
        return len(self.classes)

    @cached_property
    def digest(self) -> str:
        """A hash of all examples and labels, equal for equal data; of streamed images, of their names and labels."""
        hasher = hashlib.blake2b(digest_size=16)
        self.train.add_to(hasher)
        self.heldout.add_to(hasher)
        return hasher.hexdigest()

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """Of one example, as a network takes it."""

    @property
    @abstractmethod
    def input_dtype(self) -> torch.dtype | None:
        """Of the examples as a network takes them; None for floats, of whatever precision the network has."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The facts of the input that go into arch.json."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What a run records of its data, plain JSON; another run's data differ in one of these."""

    @abstractmethod
    def normalize(self, inputs: Tensor) -> Tensor:
        """What a network takes, from inputs of a set."""

    def normalized_by(self, normalization: Normalization | None) -> Data:
        """The same data for a network that wants its inputs brought to a mean and a standard deviation of its own; the
        data themselves where there are none to want, or they are no images."""
        del normalization
        return self

    def check_classes(self, what: str) -> None:
        """Raises `InputError` where there are fewer than two classes, or a label beyond them; `what` are examples."""
        if self.num_classes < 2:
            raise InputError("at least two classes", str(self.num_classes), f"give {what} of several classes")
        top = max(int(self.train.labels.max()), int(self.heldout.labels.max()))
        if top >= self.num_classes:
            known = f"labels below {self.num_classes}, the number of classes of '{self.name}'"
            raise InputError(known, str(top), f"check the labels of the training and of the held-out {what}")


def check_groups(groups: Tensor | None, count: int) -> None:
    """Raises `InputError` unless there is a group for each of `count` examples, where there are groups."""
    if groups is not None and (groups.dtype != torch.int64 or groups.shape != (count,)):
        got = f"{groups.dtype} of shape {tuple(groups.shape)}"
        raise InputError(f"groups as int64 of shape ({count},)", got, "give each example the number of its group")


def check_labels(labels: Tensor, count: int, what: str) -> None:
    """Raises `InputError` unless there is a class, from 0 up, for each of `count` examples; `what` is one of them."""
    if labels.dtype != torch.int64 or labels.shape != (count,):
        got = f"{labels.dtype} of shape {tuple(labels.shape)}"
        raise InputError(f"labels as int64 of shape ({count},)", got, f"give each {what} one label")
    if int(labels.min()) < 0:
        raise InputError("labels from 0 up", str(int(labels.min())), "number the classes from 0")


def numbered_classes(labels: Tensor, fix: str) -> tuple[str, ...]:
    """Names for classes that have none: 0 up to the greatest of the training labels, each of which must be there.

    Raises:
        InputError: some are missing, as where labels were given a number that stands for "none"; `fix` says what to do.
    """
    top = int(labels.max()) if len(labels) else -1
    present = set(labels.unique().tolist())
    missing = list(islice((label for label in range(top + 1) if label not in present), 6))  # a label may be huge
    if missing:
        shown = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        raise InputError(f"training examples of each class from 0 to {top}", f"none of {shown}", fix)
    return tuple(map(str, range(top + 1)))

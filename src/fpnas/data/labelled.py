"""What a search and a training ask of data, `Data` and `LabelledSet`, and what all kinds of it check and hash alike.

Examples are called images throughout, whatever they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from fpnas.errors import InputError

HeldoutFrom = Literal["test", "val", "split"]
"""Where the held-out images come from: the data's own test or validation images, or a seeded split of the rest."""


@runtime_checkable
class LabelledSet(Protocol):
    """Examples with their labels.

    Attributes:
        images: (N, ...), before `normalize`.
        labels: (N,) int64, from 0 up.
    """

    @property
    def images(self) -> Tensor: ...
    @property
    def labels(self) -> Tensor: ...
    def __len__(self) -> int: ...
    def subset(self, indices: Int64[Tensor, " k"]) -> LabelledSet:
        """The examples at `indices`, in their order."""
        ...


class Data(Protocol):
    """A training and a held-out set.

    Attributes:
        name: what reports call it.
        train: what is learnt from.
        heldout: what a search never sees.
        heldout_from: where the held-out examples come from.
        num_classes: how many classes there are.
        digest: a `content_digest` of all examples.
        input_shape: of one example, as a network takes it.
        input_dtype: of the examples as a network takes them; None for floats, of whatever precision the network has.
    """

    @property
    def name(self) -> str: ...
    @property
    def train(self) -> LabelledSet: ...
    @property
    def heldout(self) -> LabelledSet: ...
    @property
    def heldout_from(self) -> HeldoutFrom: ...
    @property
    def num_classes(self) -> int: ...
    @cached_property
    def digest(self) -> str: ...
    @property
    def input_shape(self) -> tuple[int, ...]: ...
    @property
    def input_dtype(self) -> torch.dtype | None: ...

    def describe(self) -> dict[str, Any]:
        """The facts of the input that go into arch.json."""
        ...

    def settings(self) -> dict[str, Any]:
        """What a run records of its data, plain JSON; another run's data differ in one of these."""
        ...

    def normalize(self, images: Tensor) -> Tensor:
        """What a network takes, from images of a set."""
        ...


E = TypeVar("E", bound="Examples")


@dataclass(frozen=True, eq=False)
class Examples:
    """What `ImageSet` and `TensorSet` have in common."""

    # Plain types: users make these, and the checks of a set say more than a type checker in their place would.
    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self: E, indices: Int64[Tensor, " k"]) -> E:
        """The examples at `indices`, in their order; a copy."""
        # index_select copies whole images; images[indices] does the same 20 times slower.
        indices = indices.to(self.labels.device)
        return type(self)(self.images.index_select(0, indices), self.labels.index_select(0, indices))


@dataclass(frozen=True, eq=False)
class TwoSets(Generic[E]):
    """What `ImageData` and `TensorData` have in common.

    Attributes:
        name: what reports call it.
        train: the examples to learn from; a search cuts its two halves from them.
        heldout: the examples that a search never sees.
        classes: the classes' names, in the order of the labels.
        heldout_from: what the held-out examples are.
    """

    name: str
    train: E
    heldout: E
    classes: tuple[str, ...]
    heldout_from: HeldoutFrom

    @cached_property
    def digest(self) -> str:
        """A content_digest of all examples and labels: equal for equal data, wherever it came from."""
        return content_digest(self.train, self.heldout, typed=self.train.images.dtype != torch.uint8)

    @property
    def num_classes(self) -> int:
        """How many classes there are, whether or not each has examples."""
        return len(self.classes)

    def check_classes(self, what: str) -> None:
        """Raises `InputError` where there are fewer than two classes, or a label beyond them; `what` are examples."""
        if self.num_classes < 2:
            raise InputError("at least two classes", str(self.num_classes), f"give {what} of several classes")
        top = max(int(self.train.labels.max()), int(self.heldout.labels.max()))
        if top >= self.num_classes:
            known = f"labels below {self.num_classes}, the number of classes of '{self.name}'"
            raise InputError(known, str(top), f"check the labels of the training and of the held-out {what}")


def check_labels(labels: Tensor, count: int, what: str) -> None:
    """Raises `InputError` unless there is a class, from 0 up, for each of `count` images; `what` is one of them."""
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


def content_digest(train: LabelledSet, heldout: LabelledSet, typed: bool = False) -> str:
    """A hash of all images and labels, and of their types where there may be several (`typed`)."""
    hasher = hashlib.blake2b(digest_size=16)
    for part in (train, heldout):
        for tensor in (part.images, part.labels):
            hasher.update(f"{tensor.dtype if typed else ''}{tuple(tensor.shape)}".encode())
            hasher.update(tensor.cpu().contiguous().numpy().data)
    return hasher.hexdigest()

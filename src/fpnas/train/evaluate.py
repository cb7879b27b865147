"""How accurate a plain network is on held-out images: altogether, class by class, and where it is wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpnas.data import Data, ImageData, in_turn
from fpnas.data.thumbnail import thumbnail
from fpnas.train.intervals import of_mean, wilson

Interval = tuple[float, float]

LARGEST_MATRIX = 1000
"""Classes up to which the confusion matrix is written out: a million counts."""
MISTAKES = 12


@dataclass(frozen=True)
class ClassAccuracy:
    """What a network does with one class, in percent; None where there is nothing to divide by.

    Args:
        name: the class.
        num_images: held-out images of it.
        num_predicted: images that the network takes for it.
        recall: how many of its images are recognised; None where it has none.
        recall_interval: 95 %, Wilson's.
        precision: how many of the images taken for it are of it; None where none is.
        precision_interval: likewise.
        f1: harmonic mean of the two; None where neither an image nor a prediction is of it.
    """

    name: str
    num_images: int
    num_predicted: int
    recall: float | None
    recall_interval: Interval | None
    precision: float | None
    precision_interval: Interval | None
    f1: float | None


@dataclass(frozen=True)
class Mistake:
    """A held-out image that is taken for another class: its index, both classes, and the network's probability."""

    index: int
    label: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class Accuracy:
    """What a network does with `num_images` held-out images. Percent, with 95 % intervals; classes by `per_class`.

    Args:
        accuracy: top-1, in percent.
        loss: mean cross entropy in nats.
        num_images: how many there are.
        classes: their names.
        labels: (num_images,), the class of each image.
        predicted: (num_images,), the class that the network takes it for.
        probability: (num_images,), by its softmax.

    Example:
        >>> found = fpnas.evaluate("runs/photos")
        >>> found.balanced_accuracy, found.balanced_accuracy_interval
        (76.91, (72.03, 81.12))
    """

    accuracy: float
    loss: float
    num_images: int
    classes: tuple[str, ...] = field(repr=False)
    labels: Tensor = field(repr=False, compare=False)
    predicted: Tensor = field(repr=False, compare=False)
    probability: Tensor = field(repr=False, compare=False)

    @cached_property
    def accuracy_interval(self) -> Interval:
        """Wilson's."""
        right = (self.labels == self.predicted).sum().view(1)
        return _percent(wilson(right, torch.tensor([self.num_images]))[0])

    @cached_property
    def balanced_accuracy(self) -> float:
        """Mean of the recalls of the classes that have images: each class counts the same."""
        right, images = self._of_classes_with_images()
        return 100 * float((right.double() / images).mean())

    @property
    def differs_when_balanced(self) -> bool:
        """Whether accuracy and balanced accuracy differ in a tenth of a percent: then both are worth saying."""
        return f"{self.accuracy:.1f}" != f"{self.balanced_accuracy:.1f}"

    @cached_property
    def balanced_accuracy_interval(self) -> Interval:
        """Wilson's, for as many images as the recalls' variances stand for; see `intervals.of_mean`."""
        return _percent(of_mean(*self._of_classes_with_images()))

    @property
    def macro_f1(self) -> float:
        """Mean of the classes' F1, of those that have images or are answered with."""
        known = [each.f1 for each in self.per_class if each.f1 is not None]
        return sum(known) / len(known)

    @cached_property
    def confusion(self) -> Tensor:
        """(classes, classes) int64: how many images of class i are taken for class j."""
        classes = len(self.classes)
        return torch.bincount(self.labels * classes + self.predicted, minlength=classes**2).view(classes, classes)

    @cached_property
    def per_class(self) -> tuple[ClassAccuracy, ...]:
        """Each class, in their order."""
        right, images, predicted = self._counts()
        recalls, precisions = wilson(right, images), wilson(right, predicted)
        return tuple(
            ClassAccuracy(
                name,
                num_images=of_it,
                num_predicted=taken,
                recall=100 * both / of_it if of_it else None,
                recall_interval=_percent(recalls[number]) if of_it else None,
                precision=100 * both / taken if taken else None,
                precision_interval=_percent(precisions[number]) if taken else None,
                f1=200 * both / (of_it + taken) if of_it + taken else None,
            )
            for number, (name, both, of_it, taken) in enumerate(
                zip(self.classes, right.tolist(), images.tolist(), predicted.tolist(), strict=True)
            )
        )

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """The `MISTAKES` most confident ones, the most confident first."""
        wrong = (self.labels != self.predicted).nonzero()[:, 0]
        order = self.probability[wrong].argsort(descending=True, stable=True)[:MISTAKES]
        return tuple(
            Mistake(index, *(self.classes[int(of[index])] for of in (self.labels, self.predicted)), probability=p)
            for index, p in zip(wrong[order].tolist(), self.probability[wrong[order]].tolist(), strict=True)
        )

    def to_json(self) -> dict[str, Any]:
        """As `fpnas evaluate --json` prints it; "confusion" is None for more than `LARGEST_MATRIX` classes."""
        return {
            "accuracy": self.accuracy,
            "accuracy_interval": self.accuracy_interval,
            "balanced_accuracy": self.balanced_accuracy,
            "balanced_accuracy_interval": self.balanced_accuracy_interval,
            "macro_f1": self.macro_f1,
            "loss": self.loss,
            "num_images": self.num_images,
            "per_class": [asdict(each) for each in self.per_class],
            "confusion": self.confusion.tolist() if len(self.classes) <= LARGEST_MATRIX else None,
            "mistakes": [asdict(each) for each in self.mistakes],
        }

    def _counts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of each class: images recognised, images, images taken for it."""
        sets = self.labels[self.labels == self.predicted], self.labels, self.predicted
        right, images, predicted = (torch.bincount(each, minlength=len(self.classes)) for each in sets)
        return right, images, predicted

    def _of_classes_with_images(self) -> tuple[Tensor, Tensor]:
        right, images, _ = self._counts()
        return right[images > 0], images[images > 0]


@torch.no_grad()
def accuracy(model: nn.Module, data: Data, batch_size: int = 512, device: str = "cpu") -> Accuracy:
    """Evaluates `model` on the held-out images of `data`; its mode is restored afterwards."""
    training = model.training
    model.eval()
    correct, loss, total = 0, 0.0, len(data.heldout)
    outputs = data.num_classes
    known: list[Tensor] = []
    predicted: list[Tensor] = []
    probability: list[Tensor] = []
    for inputs, labels in in_turn(data.heldout, batch_size, device):
        logits = model(data.normalize(inputs))
        taken, outputs = logits.argmax(dim=1), logits.shape[1]
        correct += int((taken == labels).sum())
        loss += float(F.cross_entropy(logits, labels, reduction="sum"))
        known.append(labels.cpu())
        predicted.append(taken.cpu())
        probability.append(logits.float().softmax(dim=1).amax(dim=1).nan_to_num().cpu())
    model.train(training)
    beyond = tuple(f"output {number}" for number in range(data.num_classes, outputs))  # of no class: a network may
    return Accuracy(
        100 * correct / total,
        loss / total,
        total,
        data.classes + beyond,
        torch.cat(known),
        torch.cat(predicted),
        torch.cat(probability),
    )


def evaluation_record(found: Accuracy, data: Data) -> dict[str, Any]:
    """evaluation.json of a training's folder: `found`, and of mistakes with images a small picture for the report."""
    record: dict[str, Any] = {**found.to_json(), "data": data.name, "heldout_from": data.heldout_from}
    if isinstance(data, ImageData):
        for mistake in record["mistakes"]:
            mistake["image"] = thumbnail(data.heldout.subset(torch.tensor([mistake["index"]])).inputs[0])
    return record


def _percent(interval: Tensor) -> Interval:
    low, high = (100 * interval).tolist()
    return low, high

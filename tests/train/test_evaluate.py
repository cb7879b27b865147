"""Every number of an evaluation, recomputed by scikit-learn and SciPy, and what it says of few, no and many classes."""

from __future__ import annotations

import base64
import io
import json
import warnings
from typing import Any

import helpers_run as h
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import fpnas
from fpnas.data import TensorData
from fpnas.data.thumbnail import thumbnail
from fpnas.train import Accuracy, accuracy, evaluation_record
from fpnas.train.intervals import of_mean, wilson

metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn: pip install 'fpnas[digits]'")
stats = pytest.importorskip("scipy.stats", reason="needs SciPy, which scikit-learn brings")
brentq = pytest.importorskip("scipy.optimize", reason="needs SciPy, which scikit-learn brings").brentq


class Told(nn.Module):
    """Answers with the logits that an example is."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def told(logits: Tensor, labels: Tensor, classes: int) -> Accuracy:
    """The evaluation of a network that gives these logits for the held-out examples."""
    names = tuple(f"class {number}" for number in range(classes))
    data = TensorData.of("told", torch.randint(9, (2 * classes, classes)), torch.arange(2 * classes) % classes)
    heldout = fpnas.data.TensorSet(logits, labels)
    plain = TensorData("told", data.train, data.heldout, names, "test", data.mean, data.std)
    object.__setattr__(plain, "heldout", heldout)
    object.__setattr__(plain, "mean", torch.zeros(classes))
    object.__setattr__(plain, "std", torch.ones(classes))
    return accuracy(Told(), plain, batch_size=37)


def made(images: list[int], seed: int = 0, bias: float = 1.5) -> tuple[Tensor, Tensor]:
    """Logits that lean to the right class, and labels: so many of each class, in random order."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(images)), torch.tensor(images))
    labels = labels[torch.randperm(len(labels), generator=g)]
    logits = torch.randn(len(labels), len(images), generator=g)
    logits[torch.arange(len(labels)), labels] += bias
    return logits, labels


def by_scipy(right: float, images: float) -> Any:
    """Wilson's interval in percent."""
    found = stats.binomtest(int(right), int(images)).proportion_ci(0.95, method="wilson")
    return pytest.approx((100 * found.low, 100 * found.high))


CASES = {
    "unequal": [120, 60, 31, 7, 2],
    "a class with one image": [40, 1, 9],
    "two classes": [5, 3],
    "an empty class": [30, 0, 12, 8],
    "thousand classes": [1 + number % 4 for number in range(1000)],
}


@pytest.mark.parametrize("bias", [0.0, 1.5, 50.0], ids=["chance", "good", "perfect"])
@pytest.mark.parametrize("images", CASES.values(), ids=CASES)
def test_every_number_is_scikit_learns(images: list[int], bias: float) -> None:
    logits, labels = made(images, bias=bias)
    found = told(logits, labels, len(images))
    true, taken = labels.numpy(), logits.argmax(dim=1).numpy()
    right = int((true == taken).sum())
    assert found.accuracy == pytest.approx(100 * metrics.accuracy_score(true, taken))
    assert found.accuracy_interval == by_scipy(right, len(true))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that are predicted and have no images
        assert found.balanced_accuracy == pytest.approx(100 * metrics.balanced_accuracy_score(true, taken))
        assert found.macro_f1 == pytest.approx(100 * metrics.f1_score(true, taken, average="macro"))
    numbers = list(range(len(images)))
    matrix = metrics.confusion_matrix(true, taken, labels=numbers)
    assert torch.equal(found.confusion, torch.from_numpy(matrix))
    columns = metrics.precision_recall_fscore_support(true, taken, labels=numbers, zero_division=np.nan)
    assert [each.name for each in found.per_class] == [f"class {number}" for number in numbers]
    for number, each in enumerate(found.per_class):
        precision, recall, f1, support = (column[number] for column in columns)
        assert each.num_images == support == images[number]
        assert each.num_predicted == matrix[:, number].sum()
        for value, wanted in ((each.precision, precision), (each.recall, recall), (each.f1, f1)):
            assert value == (None if np.isnan(wanted) else pytest.approx(100 * wanted))
        hits = matrix[number, number]
        assert each.recall_interval == (by_scipy(hits, support) if support else None)
        assert each.precision_interval == (by_scipy(hits, each.num_predicted) if each.num_predicted else None)
    low, high = found.balanced_accuracy_interval
    assert 0 <= low <= found.balanced_accuracy + 1e-9
    assert found.balanced_accuracy - 1e-9 <= high <= 100
    assert low < found.balanced_accuracy - 1e-6 or right == 0
    assert high > found.balanced_accuracy + 1e-6 or right == len(true)


def test_the_interval_of_the_balanced_accuracy_by_hand() -> None:
    """3 of 4 and 10 of 10: two more images each, as right as classes usually are; then Wilson's for n = p q / Var."""
    usual = (4 / 6 + 11 / 12) / 2
    p = [(3 + 2 * usual) / 6, (10 + 2 * usual) / 12]
    variance = (p[0] * (1 - p[0]) / 4 + p[1] * (1 - p[1]) / 10) / 2**2
    images = sum(p) / 2 * (1 - sum(p) / 2) / variance
    ends = [brentq(lambda q, e=end: e * (0.875 - q) - 1.959964 * (q * (1 - q) / images) ** 0.5, *where)
            for end, where in ((1, (1e-9, 0.875)), (-1, (0.875, 1 - 1e-9)))]  # fmt: skip
    logits, labels = torch.zeros(14, 2), torch.tensor([0] * 4 + [1] * 10)
    logits[torch.arange(14), labels] = 1.0
    logits[0] = torch.tensor([0.0, 1.0])
    found = told(logits, labels, 2)
    assert found.balanced_accuracy == 87.5
    assert found.balanced_accuracy_interval == pytest.approx([100 * end for end in ends])


def test_of_one_class_it_is_wilsons() -> None:
    for right in (0, 3, 20):
        k, n = torch.tensor([right]), torch.tensor([20])
        torch.testing.assert_close(of_mean(k, n), wilson(k, n)[0])


@pytest.mark.parametrize(
    ("truth", "images"),
    [
        ([0.9, 0.6, 0.7], [200, 30, 8]),
        ([0.97, 0.95, 0.5, 0.8], [100, 40, 5, 3]),
        ([0.8] * 6, [400, 20, 20, 20, 2, 1]),
        ([0.8] * 100, [5] * 100),
        ([0.99] * 10, [50] * 10),
    ],
)
def test_the_interval_of_the_balanced_accuracy_holds_its_level(truth: list[float], images: list[int]) -> None:
    """Of 2,000 draws of images: the share whose interval holds the mean of the true recalls."""
    rng = np.random.default_rng(0)
    counts = torch.tensor(images)
    ends = [of_mean(torch.from_numpy(rng.binomial(images, truth)), counts).tolist() for _ in range(2000)]
    held = sum(low <= np.mean(truth) <= high for low, high in ends) / 2000
    assert 0.925 <= held <= 0.99


def test_mistakes_are_the_most_confident_ones() -> None:
    logits, labels = made([50, 30, 20], bias=0.5)
    found = told(logits, labels, 3)
    shares = logits.double().softmax(dim=1)
    wrong = [n for n in range(100) if int(logits[n].argmax()) != int(labels[n])]
    wanted = sorted(wrong, key=lambda n: -float(shares[n].max()))[:12]
    assert len(wrong) > 12
    assert [mistake.index for mistake in found.mistakes] == wanted
    for mistake in found.mistakes:
        label, taken = int(labels[mistake.index]), int(logits[mistake.index].argmax())
        assert (mistake.label, mistake.predicted) == (f"class {label}", f"class {taken}")
        assert mistake.probability == pytest.approx(float(shares[mistake.index].max()), rel=1e-5)
    assert told(*made([5, 5], bias=50.0), 2).mistakes == ()


def test_json_of_more_than_a_thousand_classes_leaves_the_matrix_out() -> None:
    logits, labels = made([1] * 1001)
    record = told(logits, labels, 1001).to_json()
    assert record["confusion"] is None
    assert len(record["per_class"]) == 1001
    assert told(*made([1] * 1000), 1000).to_json()["confusion"] is not None


def test_a_network_may_have_more_outputs_than_there_are_classes() -> None:
    data = h.made_up()
    found = accuracy(nn.Sequential(nn.Flatten(), nn.Linear(64, 6)), data)
    assert [each.name for each in found.per_class] == [*"abcd", "output 4", "output 5"]
    assert found.per_class[5].recall is None


def test_the_record_holds_small_pictures_of_the_mistakes() -> None:
    data = h.made_up(size=32)
    record = evaluation_record(accuracy(nn.Sequential(nn.Flatten(), nn.Linear(1024, 4)), data), data)
    json.dumps(record, allow_nan=False)
    assert record["mistakes"]
    for mistake in record["mistakes"]:
        kind, _, content = mistake["image"].partition(",")
        assert kind == "data:image/png;base64"
        picture = Image.open(io.BytesIO(base64.b64decode(content)))
        assert torch.equal(torch.from_numpy(np.array(picture)), data.heldout.inputs[mistake["index"], 0])


def test_a_thumbnail_of_a_photograph_is_small() -> None:
    rough = torch.randint(0, 256, (3, 14, 14), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    photo = rough.repeat_interleave(16, 1).repeat_interleave(16, 2)
    text = thumbnail(photo)
    assert text is not None
    assert text.startswith("data:image/jpeg;base64,")
    assert len(text) < 12_000
    assert Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2]))).size == (96, 96)
    assert thumbnail(photo[:2]) is None

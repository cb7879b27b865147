"""`TensorData`: tables and tokens as data of a search; what is wrong with them is said."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fpnas
from fpnas.data import TensorData, TensorSet
from fpnas.elastic import Embedding, Linear
from fpnas.errors import InputError

LABELS = torch.arange(40) % 4
TABLE = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 5 + 2
TOKENS = torch.randint(0, 9, (40, 6), generator=torch.Generator().manual_seed(0))


def test_a_table_is_brought_to_mean_0_and_deviation_1_by_its_training_rows() -> None:
    data = TensorData.of("table", TABLE, LABELS)
    assert (len(data.train), len(data.heldout), data.heldout_from) == (32, 8, "split")
    assert (data.input_shape, data.input_dtype, data.num_classes) == ((3,), None, 4)
    rows, held = data.train.inputs.double(), data.heldout.inputs
    expected = (held.double() - rows.mean(0)) / rows.std(0, unbiased=False)
    torch.testing.assert_close(data.normalize(held).double(), expected, rtol=0, atol=1e-5)
    normalized = data.normalize(data.train.inputs)
    assert normalized.mean(0).abs().max() < 1e-6
    assert (normalized.std(0, unbiased=False) - 1).abs().max() < 1e-6
    constant = TensorData.of("constant", torch.ones(40, 2), LABELS)
    assert not constant.normalize(constant.train.inputs).any()


def test_tokens_stay_as_they_are() -> None:
    data = TensorData.of("tokens", TOKENS.int(), LABELS, (TOKENS[:5], LABELS[:5]), classes=("a", "b", "c", "d"))
    assert data.input_dtype == torch.int64
    assert data.heldout_from == "test"
    assert torch.equal(data.normalize(data.train.inputs), TOKENS)
    assert data.describe() == {"input_shape": [6]}


def test_the_digest_tells_data_apart() -> None:
    pairs = [(TABLE, LABELS), (TABLE + 1, LABELS), (TABLE, LABELS.flip(0))]
    digests = {TensorData.of("any", *pair).digest for pair in pairs} | {TensorData.of("any", *pairs[0], seed=1).digest}
    assert len(digests) == 4
    assert TensorData.of("other name", TABLE, LABELS).digest in digests


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ((TABLE[:, 0], LABELS), "of shape"),
        ((TABLE[:0], LABELS[:0]), "of shape"),
        ((TABLE, LABELS[:-1]), "one label"),
        ((TABLE, LABELS - 1), "from 0 up"),
        ((TABLE.clone().index_fill(0, torch.tensor(3), torch.nan), LABELS), "fill in or drop"),
        ((TABLE, LABELS * 0), "two classes"),
        ((TABLE, LABELS, (TABLE[:, :2], LABELS)), "make them alike"),
        ((TABLE, LABELS, (TABLE, LABELS + 1)), "labels below 4"),
    ],
)
def test_what_is_wrong_is_said(tensors: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TensorData.of("wrong", *tensors)
    with pytest.raises(InputError, match="float32 or int64"):
        TensorSet(TABLE, LABELS)


@pytest.mark.parametrize("tokens", [False, True])
def test_a_search_on_tensors_counts_and_learns(tokens: bool) -> None:
    """One step: the codes' weights move, the score is the log-likelihood, the facts have the input's shape."""
    width = fpnas.Choice("width", (4, 8))
    first = [Embedding(9, width), torch.nn.Flatten(1, 1)] if tokens else [Linear(3, width)]
    module = torch.nn.Sequential(*first, torch.nn.ReLU(), Linear(width, 4))
    if tokens:
        module = torch.nn.Sequential(module, torch.nn.Flatten(), torch.nn.Linear(24, 4))
    data = TensorData.of("data", TOKENS if tokens else TABLE, LABELS)
    supernet = fpnas.Supernet(module, input_shape=data.input_shape, input_dtype=data.input_dtype)
    task = fpnas.SupernetEvaluator(supernet, data, batch_size=8)
    codes = torch.tensor([[0], [1], [1]])
    before = [p.detach().clone() for p in supernet.parameters()]
    assert task.train_step(codes, 0.0).loss is not None
    assert any(not torch.equal(a, b) for a, b in zip(before, supernet.parameters(), strict=True))
    score = task.score(codes)
    assert score.shape == (3,)
    assert score[1] == score[2] != score[0]
    facts = task.describe(supernet.space.decode([0]))
    assert facts["input_shape"] == list(data.input_shape)
    assert facts["flops"] == (6 * 4 * 4 + 24 * 4 if tokens else 3 * 4 + 4 * 4)
    assert task.settings()["image_size"] is None


def test_a_space_of_images_refuses_a_table() -> None:
    with pytest.raises(InputError, match=r"image size of .* got examples of shape \(3,\)"):
        fpnas.SupernetEvaluator(fpnas.spaces.tiny(num_classes=4), TensorData.of("table", TABLE, LABELS))

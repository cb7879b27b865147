"""The tests run with checked annotations: a tensor of the wrong shape or type is refused at the door.

Without this, the shapes in the signatures of the words, the maths and the costs would be comments. The networks aren't
checked, since `torch.fx` can't follow a decorated `forward`.
"""

from __future__ import annotations

import pickle

import pytest
import torch
from beartype.roar import BeartypeCallHintParamViolation
from jaxtyping import TypeCheckError

from fpnas import ArchDistribution, Choice, Flops, SearchSpace, Supernet
from fpnas.data import ImageSet, stratified_split
from fpnas.distribution import groups
from fpnas.elastic import Conv2d
from fpnas.estimators import architecture_loss, importance_weights

SPACE = SearchSpace([Choice("g.a", (1, 2, 3)), Choice("g.b", (1, 2))])


def test_a_wrong_shape_or_type_is_refused() -> None:
    distribution = ArchDistribution(SPACE)
    distribution.log_prob(torch.zeros(4, 2, dtype=torch.int64))
    for codes in (torch.zeros(2, dtype=torch.int64), torch.zeros(4, 2, dtype=torch.int32)):
        with pytest.raises(TypeCheckError):
            distribution.log_prob(codes)
    for loglik in (torch.zeros(2, 2), torch.zeros(3, dtype=torch.int64)):
        with pytest.raises(TypeCheckError):
            importance_weights(loglik)
    with pytest.raises(TypeCheckError):  # dimensions of one letter must agree
        architecture_loss(torch.zeros(3), torch.zeros(3), torch.zeros(4), beta=0.3)


def test_the_words_the_costs_and_the_data_are_checked_too() -> None:
    with pytest.raises(BeartypeCallHintParamViolation):  # no tensors: checked without jaxtyping
        SPACE.position(3)  # type: ignore[arg-type]
    flops = Flops(
        Supernet(torch.nn.Sequential(Conv2d(3, SPACE.choices[0], bias=False), Conv2d(SPACE.choices[0], 2, bias=False))),
        (3, 4, 4),
    )
    with pytest.raises(TypeCheckError):
        flops(torch.zeros(1, dtype=torch.int64))
    images = ImageSet(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 0, 1, 1]))
    with pytest.raises(TypeCheckError):
        stratified_split(images, "half", seed=0)  # type: ignore[arg-type]


def test_the_networks_are_not_decorated() -> None:
    assert not hasattr(Conv2d.forward, "__wrapped__")
    assert hasattr(ArchDistribution.log_prob, "__wrapped__")


def test_checked_classes_can_be_pickled() -> None:
    arch = SPACE.decode((2, 1))
    assert pickle.loads(pickle.dumps((SPACE, arch))) == (SPACE, arch)
    distribution = ArchDistribution(SPACE, groups(SPACE))
    codes = torch.tensor([[2, 1]])
    assert torch.equal(pickle.loads(pickle.dumps(distribution)).log_prob(codes), distribution.log_prob(codes))

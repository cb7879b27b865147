"""A network that exists learns the data before a search narrows it: `runner.tuned`, in its folder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import helpers_run as h
import pytest
import torch
from torch import nn

import fpnas
from fpnas.data import ImageData
from fpnas.errors import RunFolderError
from fpnas.evaluators import ProxyEvaluator
from fpnas.runner import tuned
from fpnas.runner.callbacks import Callback
from fpnas.spaces import Model


def network(classes: int = 7) -> Model:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, classes),
    )
    return Model("net", net.eval(), 16, ((0.5,), (0.5,)), pretrained=True)


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return fpnas.data.load("digits", image_size=16)


class StopAt(Callback):
    """Ends a run as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, step: dict[str, Any]) -> None:
        if step["step"] == self.step:
            raise KeyboardInterrupt


def weights(found: Model) -> dict[str, torch.Tensor]:
    return found.module.state_dict()


def test_it_learns_from_the_images_of_short_trainings_alone(digits: ImageData, tmp_path: Path) -> None:
    given = network()
    before = {name: value.clone() for name, value in weights(given).items()}
    found = tuned(given, digits, tmp_path / "run", how={"epochs": 2})
    assert {name: value.equal(before[name]) for name, value in weights(given).items()} == dict.fromkeys(before, True)
    judge = ProxyEvaluator(found.supernet(10, 1, 16, data=digits), digits, steps=1)
    settings = h.read(tmp_path / "run" / "whole" / "run.json")["settings"]
    assert settings["epochs"] == 2
    others = digits.train.subset(judge._train)  # pyright: ignore[reportPrivateUsage]
    learnt = replace(digits, train=others).normalized_by(((0.5,), (0.5,)))
    assert settings["data_digest"] == learnt.settings()["data_digest"]
    assert found.module[-1].out_features == 10
    known = found.supernet(10, 1, 16, data=digits)
    assert known.facts["weights"] != given.supernet(10, 1, 16, data=digits).facts["weights"], "another search"


def test_more_images_take_fewer_epochs(digits: ImageData, tmp_path: Path) -> None:
    tuned(network(), digits, tmp_path / "few")
    assert h.read(tmp_path / "few" / "whole" / "run.json")["settings"]["epochs"] == 6
    many = replace(digits, train=digits.train.subset(torch.arange(16000) % len(digits.train)))
    tuned(network(), many, tmp_path / "many")
    assert h.read(tmp_path / "many" / "whole" / "run.json")["settings"]["epochs"] == 1


def test_stopped_and_called_again_it_is_the_same(digits: ImageData, tmp_path: Path) -> None:
    unbroken = tuned(network(), digits, tmp_path / "unbroken", how={"epochs": 2})
    again = tuned(network(), digits, tmp_path / "unbroken", how={"epochs": 2})
    with pytest.raises(KeyboardInterrupt):
        tuned(network(), digits, tmp_path / "broken", how={"epochs": 2}, callbacks=[StopAt(20)], checkpoint_every=7)
    broken = tuned(network(), digits, tmp_path / "broken", how={"epochs": 2})
    for name, value in weights(unbroken).items():
        assert value.equal(weights(broken)[name])
        assert value.equal(weights(again)[name])


@pytest.mark.parametrize("inside", ["notes.txt", "run.json"])
def test_another_folder_stays_as_it_is(inside: str, digits: ImageData, tmp_path: Path) -> None:
    (tmp_path / inside).write_text("{}")
    with pytest.raises(RunFolderError, match="a new folder"):
        tuned(network(), digits, tmp_path, how={"epochs": 1})
    assert [path.name for path in tmp_path.iterdir()] == [inside]

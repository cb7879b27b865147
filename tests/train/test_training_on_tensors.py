"""A training on a table is the plain recipe on its rows; what is for images alone is refused and left out of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fpnas
from fpnas.data import TensorData
from fpnas.elastic import Linear
from fpnas.errors import InputError
from fpnas.runner import Progress

ROWS = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)) * 4 + 1
LABELS = (ROWS[:, 0] > 1).long() + (ROWS[:, 1] > 1).long()


def training(**fields: Any) -> fpnas.Training:
    width = fpnas.Choice("width", (4, 8))
    data = TensorData.of("rows", ROWS, LABELS)
    net = fpnas.Supernet(nn.Sequential(Linear(3, width), nn.ReLU(), Linear(width, 3)), input_shape=data.input_shape)
    arch = net.space.decode([1])
    return fpnas.Training(fpnas.from_scratch(net, arch), data, **{"epochs": 2, "batch_size": 16, **fields})


def test_it_learns() -> None:
    job = training(epochs=30)
    losses = [float(job.step().metrics["train_loss"]) for _ in range(job.steps_total)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert job.result().accuracy > 60


def test_a_resumed_run_is_the_unbroken_one_and_its_files_have_the_shape(tmp_path: Path) -> None:
    whole = fpnas.run(training(), tmp_path / "whole", progress=Progress())
    fpnas.run(training(), tmp_path / "parts", max_steps=3, progress=Progress())
    assert fpnas.run(training(), tmp_path / "parts", progress=Progress()) == whole
    arch = training().files()["arch.json"]
    known = {"space": "custom", "choices": {"width": 8}, "flops": 3 * 8 + 8 * 3, "params": 4 * 8 + 9 * 3}
    assert arch == {**known, "input_shape": [3], "num_classes": 3}


@pytest.mark.parametrize(
    "fields",
    [{"crop": "pad"}, {"flip": True}, {"randaugment": 5}, {"random_erasing": 0.1}, {"mixup": 0.2}, {"cutmix": 1.0}],
)
def test_recipes_for_images_are_refused(fields: dict[str, Any]) -> None:
    (name,) = fields
    with pytest.raises(InputError, match=f"without augmentation, got {name} for 'rows', whose examples are no images"):
        training(**fields)

"""Searches and trainings on streamed images: as on resident ones, and going on within an epoch as unbroken ones."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import helpers_run as h
import numpy as np
import pytest
import torch
from PIL import Image

import fpnas
from fpnas.cli import main
from fpnas.data import ImageData, StreamedSet
from fpnas.data.places import Places
from fpnas.evaluators import ProxyEvaluator, SupernetEvaluator
from fpnas.runner import Progress
from fpnas.train import accuracy

PLAIN: dict[str, Any] = {"epochs": 2, "batch_size": 12, "optimizer": "sgd", "label_smoothing": 0.05}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Sixty photographs with a brighter half, left or right, as JPEGs of 40 x 50 pixels."""
    rng = np.random.default_rng(0)
    for number in range(60):
        pixels = rng.integers(0, 120, (40, 50, 3), dtype=np.uint8)
        pixels[:, 25 * (number % 2) :][:, :25] += 120
        file = tmp_path / "photos" / ("left", "right")[number % 2] / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    return tmp_path / "photos"


def loaded(photos: Path, stream: bool, workers: int = 0) -> ImageData:
    data = fpnas.data.load(photos, 16, stream=stream, workers=workers)
    assert isinstance(data.train, StreamedSet) == stream
    return data


def network(data: ImageData) -> torch.nn.Module:
    supernet = fpnas.spaces.tiny(in_channels=3, num_classes=data.num_classes)
    return fpnas.from_scratch(supernet, supernet.arch)


def losses(job: Any, steps: int) -> list[float]:
    return [job.step().metrics["train_loss"] for _ in range(steps)]


@pytest.mark.parametrize("fields", [{}, {"crop": "pad", "flip": True, "mixup": 0.2}], ids=["plain", "augmented"])
def test_a_training_is_that_on_resident_images(photos: Path, fields: dict[str, Any]) -> None:
    jobs = []
    for stream in (False, True):
        data = loaded(photos, stream, workers=1)
        jobs.append(fpnas.Training(network(data), data, **{**PLAIN, **fields}))
    assert losses(jobs[0], 8) == losses(jobs[1], 8)
    first, second = (job.result() for job in jobs)
    assert (first.accuracy, first.loss) == (second.accuracy, second.loss)
    assert torch.equal(first.labels, second.labels)
    assert jobs[1].files()["evaluation.json"]["mistakes"] == jobs[0].files()["evaluation.json"]["mistakes"]


def test_a_search_is_that_on_resident_images(photos: Path) -> None:
    found: list[list[torch.Tensor]] = []
    for stream in (False, True):
        data = loaded(photos, stream, workers=1)
        supernet = fpnas.spaces.tiny(in_channels=3, num_classes=2)
        task = SupernetEvaluator(supernet, data, batch_size=8)
        codes = torch.tensor([[0] * len(task.space), [1] * len(task.space)])
        seen = [torch.tensor(task.train_step(codes, 0.1).loss) for _ in range(5)]
        found.append([*seen, task.score(codes), task.judge(codes)])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_short_trainings_are_those_on_resident_images_and_go_on_within_a_look(photos: Path) -> None:
    def judge(stream: bool, workers: int = 0) -> ProxyEvaluator:
        data = loaded(photos, stream, workers)
        return ProxyEvaluator(
            fpnas.spaces.tiny(in_channels=3, num_classes=2), data, flip=True, crop="pad", steps=7, batch_size=8
        )

    resident, streamed, gone_on = judge(False), judge(True, 1), judge(True, 1)
    codes = torch.tensor([[0] * len(resident.space), [1] * len(resident.space)])
    seen = [[task.train_step(codes, 0.0).loss for _ in range(3)] for task in (resident, streamed)]
    assert seen[0] == seen[1]
    gone_on.load_state_dict(copy.deepcopy(streamed.state_dict()))
    expected = resident.score(codes)
    assert torch.equal(streamed.score(codes), expected)
    assert torch.equal(gone_on.score(codes), expected)


def test_short_trainings_see_streamed_images_stretched_where_the_data_are(photos: Path) -> None:
    data = fpnas.data.load(photos, 32, fit="stretch", stream=True, workers=0)
    judge = ProxyEvaluator(fpnas.spaces.tiny(in_channels=3, num_classes=2), data, steps=2, batch_size=8)
    (images,) = judge._images.values()
    assert images.size == 16
    seen, _ = images.at(torch.arange(4))
    wanted = fpnas.data.load(photos, 16, fit="stretch").train.inputs[:4]
    assert torch.equal(seen, data.normalize(wanted))


def test_crops_of_the_photographs_learn_and_go_on_within_an_epoch(photos: Path) -> None:
    def training(workers: int) -> fpnas.Training:
        data = loaded(photos, stream=True, workers=workers)
        return fpnas.Training(network(data), data, crop="resized", crop_area=0.3, **{**PLAIN, "epochs": 3})

    unbroken = training(0)
    first = losses(unbroken, 12)
    begun, gone_on = training(1), training(2)
    assert losses(begun, 6) == first[:6]
    assert 6 % begun._order.steps_per_epoch != 0
    gone_on.load_state_dict(begun.state_dict())
    assert losses(gone_on, 6) == first[6:]
    for name, value in unbroken.network.state_dict().items():
        assert torch.equal(value, gone_on.network.state_dict()[name]), name


def test_the_commands_stream_where_they_are_asked_to(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    given = ["--data", str(photos), "--image-size", "16", "--stream", "--workers", "1", "--log", "none"]
    method = ["--method", "fpnas-posterior", "--batch-size", "8", "--epochs", "1"]
    assert main(["search", *given, *method, "--out", str(out)]) == 0
    assert h.read(out / "run.json")["data"]["stream"] is True
    read: list[int] = []
    item = Places.item
    monkeypatch.setattr(Places, "item", lambda places, number: read.append(number) or item(places, number))
    assert main(["train", str(out), "--epochs", "1", "--workers", "0", "--log", "none"]) == 0
    assert main(["evaluate", str(out), "--workers", "0"]) == 0
    assert len(read) > 60


def test_a_resident_run_says_nothing_of_streams(photos: Path, tmp_path: Path) -> None:
    """Its digest is that of its pixels, a stream's is one of names and labels: neither goes on as the other."""
    data = loaded(photos, stream=False)
    fpnas.run(fpnas.Training(network(data), data, **PLAIN), tmp_path / "run", max_steps=2, progress=Progress())
    again = loaded(photos, stream=True)
    with pytest.raises(fpnas.InputError, match="data_digest"):
        fpnas.run(fpnas.Training(network(again), again, **PLAIN), tmp_path / "run", progress=Progress())
    assert accuracy(network(again), again).num_images == len(again.heldout)

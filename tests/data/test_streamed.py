"""Streamed images: batches as resident ones have, whoever decodes them, from any step on; what is broken is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from pictures import encoded, pets, picture, refused
from PIL import Image
from torch import Tensor

from fpnas import parallel
from fpnas.data import Batches, Crops, EpochOrder, ImageData, StreamedSet, ahead, decoding, in_turn, load
from fpnas.data import streamed as streamed_sets
from fpnas.data.places import Places, Texts
from fpnas.data.streamed import Stream
from fpnas.errors import InputError


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photographs of 60 x 80 and 90 x 70 pixels."""
    pets(tmp_path / "pets", 50, "JPEG", "jpg", height=60, width=80)
    for number in range(0, 50, 7):
        (tmp_path / "pets" / "cat" / f"{number:05}x.jpg").write_bytes(encoded(picture(number, 90, 70), "JPEG"))
    return tmp_path / "pets"


def streamed(photos: Path, **options: object) -> ImageData:
    data = load(photos, 24, stream=True, **{"workers": 0, **options})  # pyright: ignore[reportArgumentType]
    assert isinstance(data.train, StreamedSet)
    assert isinstance(data.heldout, StreamedSet)
    return data


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_is_that_of_resident_images_bit_for_bit(photos: Path, workers: int) -> None:
    resident, stream = load(photos, 24), streamed(photos, workers=workers)
    assert (stream.mean, stream.std, stream.classes) == (resident.mean, resident.std, resident.classes)
    assert stream.input_shape == resident.input_shape == (3, 24, 24)
    order = EpochOrder(len(resident.train), 10, 3, "train")
    first, second = (Batches(data.train, "cpu").steps(order.batch) for data in (resident, stream))
    for step in range(2 * order.steps_per_epoch):
        for ours, theirs in zip(second(step), first(step), strict=True):
            assert torch.equal(ours, theirs)
    for ours, theirs in zip(in_turn(stream.heldout, 4), in_turn(resident.heldout, 4), strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])
    chosen = torch.tensor([5, 2, 5])
    assert torch.equal(stream.train.subset(chosen).inputs, resident.train.inputs[chosen])
    assert torch.equal(stream.train.resized(12).inputs, load(photos, 12).train.inputs)


def test_data_at_another_size_stretch_as_before_and_are_measured_by_a_sample(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed_sets, "sampled", lambda count: torch.arange(3))
    data = streamed(photos, fit="stretch")
    read: list[int] = []
    square = Stream.square
    monkeypatch.setattr(Stream, "square", lambda *given: read.append(given[1]) or square(*given))
    smaller = data.resized(12)
    assert len(read) == 3 < len(data.train)
    assert torch.equal(smaller.train.inputs, load(photos, 12, fit="stretch").train.inputs)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_step_has_its_batch_wherever_one_begins_and_whoever_decodes(photos: Path, workers: int) -> None:
    order = EpochOrder(40, 8, 0, "train")

    def drawn(count: int, steps: list[int]) -> list[tuple[Tensor, Tensor]]:
        train = streamed(photos, workers=count).train
        return list(map(Batches(train, "cpu").steps(order.batch, Crops(1, 0.3), order.epoch), steps))

    unbroken = drawn(0, list(range(12)))
    for (images, labels), (others, theirs) in zip(drawn(workers, list(range(7, 12))), unbroken[7:], strict=True):
        assert torch.equal(images, others)
        assert torch.equal(labels, theirs)
    again = drawn(workers, [3, 3, 2, 9])  # one step asked for twice, one gone back to, some passed over
    assert all(torch.equal(images, unbroken[step][0]) for (images, _), step in zip(again, [3, 3, 2, 9], strict=True))


def test_a_crop_depends_on_seed_epoch_and_image_alone(photos: Path) -> None:
    train = streamed(photos).train

    def first(seed: int, epoch: int, at: list[int]) -> Tensor:
        take = Batches(train, "cpu").steps(lambda step: torch.tensor(at), Crops(seed, 0.2), lambda step: epoch)
        return take(0)[0]

    images = first(0, 0, [4, 7, 9])
    assert torch.equal(images, first(0, 0, [7, 9, 4])[[2, 0, 1]])
    assert not torch.equal(images, first(0, 1, [4, 7, 9]))
    assert not torch.equal(images, first(1, 0, [4, 7, 9]))


@pytest.mark.parametrize(("width", "height"), [(80, 60), (300, 40), (40, 300)])
def test_crops_are_within_the_image_and_of_the_area_that_is_asked_for(width: int, height: int) -> None:
    boxes = np.array([Crops(0, 0.4).box(width, height, 0, number) for number in range(500)])
    wide, tall = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0
    assert boxes.max() <= 1 + 1e-9
    ratios = wide * width / (tall * height)
    assert ratios.min() >= 3 / 4 - 1e-9
    assert ratios.max() <= 4 / 3 + 1e-9
    if (width, height) == (80, 60):
        assert (wide * tall).min() >= 0.4
        assert (wide * tall).max() > 0.9
        assert boxes[:, 0].std() > 0.05


def test_crops_come_from_the_original_photograph(tmp_path: Path) -> None:
    """A wide image is red left and right of its central square: whole squares have none of it, crops do."""
    for number in range(10):
        pixels = np.zeros((32, 96, 3), np.uint8)
        pixels[:, :32, 0] = pixels[:, 64:, 0] = 255
        file = tmp_path / "wide" / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file)
    train = load(tmp_path / "wide", 16, stream=True, workers=0).train
    assert int(train.inputs.max()) == 0
    images, _ = Batches(train, "cpu").steps(lambda step: torch.arange(8), Crops(0, 0.1))(0)
    assert int(images[:, 0].max()) == 255
    assert int(images[:, 1:].max()) == 0


def test_a_part_of_a_large_jpeg_is_decoded_at_a_fraction_of_its_size(tmp_path: Path) -> None:
    """A ramp, so that whatever is decoded can be told: a pixel of the part has the value of its place."""
    ramp = np.broadcast_to(np.linspace(0, 255, 512).round().astype(np.uint8), (512, 512))
    file = tmp_path / "ramp.jpg"
    file.write_bytes(encoded(np.ascontiguousarray(ramp), "JPEG", quality=95))
    from fpnas.data.decode import decode_part

    part = decode_part(file, 1, 32, lambda width, height: (0.25, 0.5, 0.75, 1.0))
    expected = np.linspace(0.25, 0.75, 65)[1::2] * 255
    assert np.abs(part[0] - expected).max() < 3


def test_ranks_read_their_own_parts(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = EpochOrder(40, 10, 0, "train")
    read: list[int] = []
    whole = Places.item

    def noted(places: Places, number: int) -> object:
        read.append(number)
        return whole(places, number)

    train = streamed(photos).train
    assert isinstance(train, StreamedSet)
    together = Batches(train, "cpu").steps(order.batch, Crops(0, 0.3))(2)[0]
    parts: list[Tensor] = []
    monkeypatch.setattr(Places, "item", noted)
    for rank in range(2):
        monkeypatch.setattr(parallel, "share", lambda values, rank=rank: values.tensor_split(2)[rank])
        read.clear()
        own = Batches(train, "cpu").steps(lambda step: parallel.share(order.batch(step)), Crops(0, 0.3))
        parts.append(own(2)[0])
        assert read == train.numbers[order.batch(2).tensor_split(2)[rank]].tolist()
    assert torch.equal(torch.cat(parts), together)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("damage", ["gone", "truncated"])
def test_a_broken_image_is_named(photos: Path, damage: str, workers: int) -> None:
    train = streamed(photos, workers=workers).train
    assert isinstance(train, StreamedSet)
    file = Path(train.stream.places.files[int(train.numbers[5])])
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:900])
    batches = Batches(train, "cpu")
    for take in (batches.at, batches.steps(lambda step: torch.arange(4, 8)), batches.steps(lambda s: torch.arange(9))):
        with pytest.raises(InputError, match=rf"{file.name}.*skip-corrupt"):
            take(torch.arange(4, 8)) if take == batches.at else take(0)  # pyright: ignore[reportArgumentType]


def test_another_image_stands_in_for_a_broken_one_where_that_is_asked_for(photos: Path) -> None:
    train = streamed(photos, skip_corrupt=True).train
    assert isinstance(train, StreamedSet)
    whole = train.inputs
    for number in (0, 5):
        Path(train.stream.places.files[int(train.numbers[number])]).unlink()
    with pytest.warns(UserWarning, match="left out an image that can't be read: .*No such file"):
        images, labels = Batches(train, "cpu").at(torch.tensor([0, 3, 5, 6]))
    assert torch.equal(images, whole[[3, 3, 3, 6]])
    assert torch.equal(labels, train.labels[[3, 3, 3, 6]])
    with pytest.raises(InputError, match="can be read"):
        Batches(train, "cpu").at(torch.tensor([0, 5]))


def taken(photos: Path) -> ahead.Ahead:
    """Batches that one worker decodes."""
    train = streamed(photos, workers=1).train
    assert isinstance(train, StreamedSet)
    return ahead.Ahead(train, torch.device("cpu"), lambda step: torch.arange(6))


def test_a_worker_that_is_killed_ends_the_step_with_one_line(photos: Path) -> None:
    take = taken(photos)
    take(0)

    def go_on() -> None:
        os.kill(take._batches._workers[0].pid, signal.SIGKILL)  # pyright: ignore
        for step in range(1, 100):
            take(step)

    began = time.monotonic()
    with pytest.raises(InputError, match=r"expected workers that decode images, got DataLoader worker.*--workers"):
        go_on()
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("error", [ConnectionResetError(104, "Connection reset by peer"), EOFError()])
def test_a_pipe_to_a_worker_that_has_ended_is_one_line(photos: Path, error: Exception) -> None:
    take = taken(photos)
    take(0)

    def broken() -> Iterator[None]:
        raise error
        yield

    take._batches = broken()  # pyright: ignore
    with pytest.raises(InputError, match=r"got DataLoader worker that has ended .*--workers"):
        take(1)


def test_a_script_that_holds_batches_ends_at_once_and_says_nothing(photos: Path) -> None:
    script = f"""
import fpnas

data = fpnas.data.load({str(photos)!r}, 24, stream=True, workers=2)
take = fpnas.data.Batches(data.train, "cpu").steps(fpnas.data.EpochOrder(len(data.train), 8, 0, "train").batch)
take(0)
"""
    # Workers outlive SIGTERM by `GRACE` seconds, which is when this would end otherwise, with a traceback.
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == ended.stderr == ""


def test_a_worker_that_hangs_is_not_waited_for(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "TIMEOUT", 1)
    monkeypatch.setattr(ahead, "GRACE", 1)
    take = taken(photos)
    monkeypatch.setattr(Places, "item", lambda places, number: time.sleep(60))
    with pytest.raises(InputError, match="got DataLoader timed out after 1 seconds"):
        take(0)


def test_signals_leave_workers_alone_until_the_step_has_ended(photos: Path) -> None:
    take = taken(photos)
    take(0)
    worker = take._batches._workers[0].pid  # pyright: ignore
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker, number)
    time.sleep(0.2)
    for step in range(1, 8):
        take(step)


def test_torchs_own_random_numbers_are_left_alone(photos: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    for _ in in_turn(streamed(photos, workers=1).heldout, 5):
        pass
    assert torch.equal(torch.rand(2), expected)


def test_images_stream_beyond_what_memory_should_hold(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not isinstance(load(photos).train, StreamedSet)
    monkeypatch.setattr(decoding, "LARGEST_IN_MEMORY", 58 * 3 * 24**2)
    assert not isinstance(load(photos, 24).train, StreamedSet)
    monkeypatch.setattr(decoding, "LARGEST_IN_MEMORY", 58 * 3 * 24**2 - 1)
    assert isinstance(load(photos, 24).train, StreamedSet)
    assert not isinstance(load(photos, 24, stream=False).train, StreamedSet)


def test_size_mean_and_channels_come_from_a_sample(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load(photos, stream=True, workers=0)
    assert whole.image_size == 60
    monkeypatch.setattr(decoding, "SAMPLE", 20)
    some = load(photos, stream=True, workers=0)
    assert some.mean == pytest.approx(whole.mean, abs=0.02)
    assert some.mean != whole.mean
    (photos / "cat" / "00000.jpg").write_bytes(b"")
    refused(photos, r"00000\.jpg", stream=True)


def test_a_digest_tells_data_apart_wherever_they_lie(photos: Path, tmp_path: Path) -> None:
    digest = streamed(photos).digest
    photos.rename(tmp_path / "moved")
    assert streamed(tmp_path / "moved").digest == digest
    assert streamed(tmp_path / "moved", seed=1).digest != digest
    (tmp_path / "moved" / "dog" / "00001.jpg").rename(tmp_path / "moved" / "dog" / "1.jpg")
    assert streamed(tmp_path / "moved").digest != digest


def test_chosen_classes_and_groups_are_as_in_resident_data(photos: Path, tmp_path: Path) -> None:
    (photos / "fox").mkdir()
    for number in range(10):
        (photos / "fox" / f"{number}.jpg").write_bytes(encoded(picture(number, 60, 60), "JPEG"))
    rows = [f"{file.relative_to(photos)},{int(file.stem[:4]) // 2}" for file in sorted(photos.glob("*/*.jpg"))]
    (tmp_path / "groups.csv").write_text("\n".join(["image,group", *rows]))
    options = {"classes": 2, "classes_seed": 3}
    resident, stream = load(photos, 24, **options), streamed(photos, **options)
    assert torch.equal(stream.train.labels, resident.train.labels)
    assert stream.classes == resident.classes
    assert torch.equal(stream.train.inputs, resident.train.inputs)


def test_many_paths_take_little_more_than_their_letters() -> None:
    names = [f"folder/{number:06}-ü.jpg" for number in range(1000)]
    texts = Texts(names)
    assert list(texts) == names
    assert (len(texts), texts[17]) == (1000, names[17])
    assert texts._content.nbytes + texts._ends.nbytes < 1000 * (len(names[0]) + 1 + 9)

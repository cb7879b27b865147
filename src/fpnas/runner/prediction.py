"""`predict`: images in, classes out, by a run's network or by an exported file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fpnas.data import ImageSpec
from fpnas.data.decode import UnreadableImage, decode
from fpnas.data.images import resize_images
from fpnas.errors import InputError, RunFolderError
from fpnas.runner.files import ArchRecord, network_of_record, read_arch, trained_folder
from fpnas.shipping.check import Run
from fpnas.shipping.litert import litert_run
from fpnas.shipping.onnx import LARGEST_FILE, onnx_run, read_onnx_spec

_BATCH = 64


@dataclass(frozen=True)
class Guess:
    """A class and how probable the network takes it to be, 0 to 1."""

    label: int
    name: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """An image's most probable classes, the first the most probable."""

    image: str
    classes: tuple[Guess, ...]


def predict(source: str | Path, images: Iterable[str | Path], *, top: int = 3) -> list[Prediction]:
    """The most probable classes of image files.

    Args:
        source: the folder of a training, of a search with train/ in it, or an exported .onnx, .tflite or
            .safetensors.
        images: image files, of the formats that data may have; brought to the network's size and colours as those are.
        top: how many classes of each image, at most.

    Raises:
        InputError: an image that can't be read (nothing is predicted then), or a file that isn't what it should be.
        RunFolderError: there is no trained network.
    """
    if top < 1:
        raise InputError("1 class or more of each image", str(top), "correct --top")
    spec, run = _network(Path(source))
    paths = [Path(path) for path in images]
    if not paths:
        raise InputError("an image or more", "none", "name some")
    pixels = torch.cat([read_image(path, spec) for path in paths])
    probabilities = torch.cat([run(spec.normalize(part)).double().softmax(dim=1) for part in pixels.split(_BATCH)])
    values, labels = probabilities.topk(min(top, spec.num_classes))
    return [
        Prediction(
            str(path),
            tuple(Guess(label, spec.classes[label], value) for label, value in zip(row, shares, strict=True)),
        )
        for path, row, shares in zip(paths, labels.tolist(), values.tolist(), strict=True)
    ]


def read_image(path: Path, spec: ImageSpec) -> Tensor:
    """An image file as the readers of training images bring it: (1, C, H, W) uint8.

    Raises:
        InputError: it can't be read; the error names it.
    """
    try:
        pixels = decode(path, spec.in_channels, 2 * spec.image_size)
    except UnreadableImage as error:
        raise InputError("images that can be read", f"'{path}' ({error})", "mend it or leave it out") from error
    return resize_images(torch.from_numpy(np.array(pixels))[None], spec.image_size, spec.fit)


def _network(source: Path) -> tuple[ImageSpec, Run]:
    """What the network of a run or an exported file takes, and the network as a function."""
    if source.suffix == ".onnx" and not source.is_dir():
        content = _read_bytes(source)
        spec = read_onnx_spec(content)
        return spec, onnx_run(content, spec, threads=torch.get_num_threads())
    if source.suffix == ".tflite" and not source.is_dir():
        content = _read_bytes(source)
        spec = _recorded(read_arch(source.with_name(f"{source.name}.json")), source)
        return spec, litert_run(content, spec, threads=torch.get_num_threads())
    folder = trained_folder(source)
    record = read_arch(folder)
    spec = _recorded(record, folder)
    network = network_of_record(record, source)

    @torch.no_grad()
    def run(images: Tensor) -> Tensor:
        return network(images)

    return spec, run


def _recorded(record: ArchRecord, source: Path) -> ImageSpec:
    if record.images is None:
        fix = "export it with --data, which records them, and predict from the exported file"
        raise RunFolderError("a run that recorded its classes and normalization", f"{source} without", fix)
    return record.images


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"a file of at most {LARGEST_FILE} bytes", f"{path}, which is larger", "check what it is")
        return path.read_bytes()
    except OSError as error:
        got = f"{path!s:.200} ({error.strerror or error})"
        raise InputError(
            f"{'an ONNX' if path.suffix == '.onnx' else 'a LiteRT'} file that can be read", got, "check the path"
        ) from error

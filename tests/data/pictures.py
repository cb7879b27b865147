"""Little pictures and the files that hold them, made with Pillow and pyarrow and not with the library's own code."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fpnas.data import load
from fpnas.errors import InputError


def picture(seed: int, height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
    """Random pixels: (height, width, 3), or (height, width) for one channel."""
    shape = (height, width, 3) if channels == 3 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def stacked(seeds: Iterable[int]) -> torch.Tensor:
    """The pictures of these seeds as images of a set: (N, 3, 8, 8)."""
    return torch.from_numpy(np.stack([picture(seed).transpose(2, 0, 1) for seed in seeds]))


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The file of a picture."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write_parquet(
    path: Path,
    contents: Sequence[bytes | None],
    labels: Sequence[Any],
    names: Sequence[str] | None = ("cat", "dog"),
    image: str = "image",
    label: str = "label",
    group: int = 5,
) -> None:
    """A file as Hugging Face writes it: images as structs, the classes' names in the schema's metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": content, "path": f"{number}.png"} for number, content in enumerate(contents)]
    table = pa.table({"number": list(range(len(images))), image: images, label: list(labels)})
    if names is not None:
        features = {image: {"_type": "Image"}, label: {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=group)


def write_folder(
    folder: Path, contents: Sequence[bytes], labels: Sequence[int], names: Sequence[str], suffix: str = "png"
) -> None:
    """Class folders; the files' names are in the order of the contents."""
    for number, (content, label) in enumerate(zip(contents, labels, strict=True)):
        path = folder / names[label] / f"{number:05}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def pets(folder: Path, count: int = 12, kind: str = "PNG", suffix: str = "png", **shape: int) -> Path:
    """A folder with two classes of pictures, cat and dog in turn, without images of its own to hold out."""
    contents = [encoded(picture(seed, **shape), kind) for seed in range(count)]
    write_folder(folder, contents, [seed % 2 for seed in range(count)], ("cat", "dog"), suffix)
    return folder


def refused(data: str | Path, words: str, **options: Any) -> None:
    """Data that `load` refuses with a message that matches `words`."""
    with pytest.raises(InputError, match=words):
        load(data, **options)

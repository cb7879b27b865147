"""IDX files made by hand, from the format's description and not with the library's own code."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np


def idx_bytes(values: np.ndarray, kind: int = 0x08) -> bytes:
    """The IDX file of an array: two zeros, the type, the number of dimensions, each of them big-endian, the bytes."""
    header = bytes([0, 0, kind, values.ndim]) + b"".join(struct.pack(">I", size) for size in values.shape)
    return header + values.astype(np.uint8).tobytes()


def tiny_data(train: int = 20, test: int = 8, size: int = 6, classes: int = 3) -> dict[str, np.ndarray]:
    """A little data set: four arrays by the name of their file."""
    rng = np.random.default_rng(0)
    return {
        "train-images-idx3-ubyte": rng.integers(0, 256, (train, size, size)),
        "train-labels-idx1-ubyte": np.arange(train) % classes,
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (test, size, size)),
        "t10k-labels-idx1-ubyte": np.arange(test) % classes,
    }


def write_folder(folder: Path, data: dict[str, np.ndarray], packed: bool = False) -> None:
    """Writes the four files, gzipped if asked."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in data.items():
        content = idx_bytes(values)
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content, mtime=0) if packed else content)

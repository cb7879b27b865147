"""The IDX reader against files made by hand: sound ones, and every way in which one can be unsound."""

from __future__ import annotations

import gzip
import hashlib
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from handmade import idx_bytes, tiny_data, write_folder
from hypothesis import given, settings
from hypothesis import strategies as st

from fpnas.data.idx import content_sha256, read_idx
from fpnas.data.idx_folder import load_idx_folder, missing_files, read_idx_folder
from fpnas.errors import InputError

VALUES = np.arange(24).reshape(2, 3, 4)
SOUND = idx_bytes(VALUES)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(5,), (2, 3), (2, 3, 4), (2, 1, 3, 2)])
def test_reads_what_was_written(tmp_path: Path, shape: tuple[int, ...], packed: bool) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    path = tmp_path / ("f.gz" if packed else "f")
    path.write_bytes(gzip.compress(idx_bytes(values)) if packed else idx_bytes(values))
    read = read_idx(path)
    assert read.dtype == torch.uint8
    assert np.array_equal(read.numpy(), values)
    assert content_sha256(read) == hashlib.sha256(idx_bytes(values)).hexdigest()


def test_reads_gzip_in_several_members(tmp_path: Path) -> None:
    (tmp_path / "f.gz").write_bytes(gzip.compress(SOUND[:20], mtime=0) + gzip.compress(SOUND[20:]))
    assert np.array_equal(read_idx(str(tmp_path / "f.gz")).numpy(), VALUES)


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("f", b"", "whole header"),
        ("f", SOUND[:3], "whole header"),
        ("f", SOUND[:9], "whole header"),
        ("f", b"\x89PNG" + SOUND, "starts with 89 50 4e 47"),
        ("f", gzip.compress(SOUND, mtime=0), "starts with 1f 8b"),
        ("f", b"\0\0\x08\0" + SOUND, "1 to 4 dimensions"),
        ("f", b"\0\0\x08\x05" + SOUND, "1 to 4 dimensions"),
        ("f", idx_bytes(VALUES, kind=0x0D), "type 0d"),
        ("f", b"\0\0\x08\x01" + struct.pack(">I", 0), "with contents"),
        ("f", SOUND[:-1], r"24 bytes after the header .* got 23"),
        ("f", SOUND + b"x", r"24 bytes after the header .* got 25"),
        ("f.gz", b"", "whole header"),
        ("f.gz", SOUND, "sound gzip"),
        ("f.gz", gzip.compress(SOUND, mtime=0)[:-9], "ends early"),
        ("f.gz", gzip.compress(SOUND, mtime=0)[:12], "ends early"),
        ("f.gz", gzip.compress(SOUND[:-1], mtime=0), "got 23"),
        ("f.gz", gzip.compress(SOUND + b"x", mtime=0), "got more"),
        ("f.gz", gzip.compress(SOUND, mtime=0) + b"x", "sound gzip"),
        ("f.gz", flipped(gzip.compress(SOUND, mtime=0), -6), "sound gzip"),  # its checksum
        ("f.gz", flipped(gzip.compress(SOUND, mtime=0), 10), "sound gzip"),  # its first block
    ],
)
def test_names_the_unsound_file_and_what_is_wrong(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        read_idx(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@contextmanager
def taking_less_than(memory: int) -> Iterator[None]:
    """Fails where the block takes that many bytes at once (NumPy reports its arrays to tracemalloc)."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < memory


@pytest.mark.parametrize("packed", [False, True])
def test_takes_no_memory_for_what_a_header_merely_claims(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("f.gz" if packed else "f")
    for shape, message in [((2**32 - 1,) * 4, "at most 4294967296 bytes"), ((2**20, 2**10), "after the header")]:
        claim = b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + b"few"
        path.write_bytes(gzip.compress(claim, mtime=0) if packed else claim)
        with taking_less_than(2**20), pytest.raises(InputError, match=message):
            read_idx(path)


def test_a_gzip_bomb_is_unpacked_no_further_than_announced(tmp_path: Path) -> None:
    (tmp_path / "f.gz").write_bytes(gzip.compress(SOUND + bytes(2**26)))
    with taking_less_than(2**21), pytest.raises(InputError, match="got more"):
        read_idx(tmp_path / "f.gz")


def test_respects_a_smaller_limit(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(SOUND)
    assert read_idx(tmp_path / "f", limit=24).numel() == 24
    with pytest.raises(InputError, match="at most 23 bytes"):
        read_idx(tmp_path / "f", limit=23)


def test_what_is_not_there_or_not_readable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        read_idx(tmp_path / "absent")
    with pytest.raises(InputError, match="readable IDX file"):
        read_idx(tmp_path)


@settings(deadline=None, max_examples=80)
@given(content=st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: SOUND[:4] + tail))
def test_whatever_a_file_holds_it_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "any").write_bytes(content)
    (folder / "any.gz").write_bytes(gzip.compress(content, mtime=0))
    for name in ("any", "any.gz"):
        try:
            values = read_idx(folder / name)
        except InputError:
            continue
        assert idx_bytes(values.numpy()) == content


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("separator", ["-", "."])
def test_a_folder_of_four_files(tmp_path: Path, packed: bool, separator: str) -> None:
    data = tiny_data()
    write_folder(tmp_path, {name.replace("-idx", separator + "idx"): values for name, values in data.items()}, packed)
    train, test = load_idx_folder(str(tmp_path))
    assert train.images.shape == (20, 1, 6, 6)
    assert np.array_equal(train.images[:, 0].numpy(), data["train-images-idx3-ubyte"])
    assert np.array_equal(test.labels.numpy(), data["t10k-labels-idx1-ubyte"])


def test_says_which_files_are_missing(tmp_path: Path) -> None:
    data = tiny_data()
    del data["t10k-labels-idx1-ubyte"], data["train-images-idx3-ubyte"]
    write_folder(tmp_path, data)
    assert missing_files(tmp_path) == ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    with pytest.raises(InputError, match="without train-images-idx3-ubyte, t10k-labels-idx1-ubyte"):
        load_idx_folder(tmp_path)


def test_refuses_files_that_do_not_fit_together(tmp_path: Path) -> None:
    data = tiny_data()
    write_folder(tmp_path, data | {"t10k-labels-idx1-ubyte": np.zeros(7)})
    with pytest.raises(InputError, match="8 images and 7 labels of 't10k'"):
        read_idx_folder(tmp_path)
    write_folder(tmp_path, data | {"train-labels-idx1-ubyte": data["train-images-idx3-ubyte"]})
    with pytest.raises(InputError, match="1 dimensions, got 3"):
        read_idx_folder(tmp_path)

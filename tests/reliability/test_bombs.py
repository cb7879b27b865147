"""Small files that claim, or unpack to, more than memory holds are refused before memory is taken."""

from __future__ import annotations

import io
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fpnas.data import load
from fpnas.errors import InputError
from fpnas.npz import read_arrays
from fpnas.tables import load as load_table

pa = pytest.importorskip("pyarrow", reason="needs pyarrow")
pq = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")

HUGE = "(1000000000000,)"


def npz_that_lies(path: Path, name: str, shape: str, kind: str = "|u1", content: int = 64) -> Path:
    """One array whose header claims `shape`, with so many zeros behind it."""
    header = (f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}").ljust(117) + "\n"
    data = io.BytesIO(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + bytes(content))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.npy", data.getvalue())
    return path


def taken(read: Callable[[], object], match: str) -> float:
    """MiB by which the process's greatest memory grows while `read` is refused."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=match):
        read()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10


@pytest.mark.parametrize("shape", [HUGE, "(500000000,)", "(10, 10, 10, 10, 10, 10, 10, 10)"])
def test_arrays_that_claim_more_than_there_is(shape: str, tmp_path: Path) -> None:
    """10^12 rows; half a gigabyte, which would fit, in a file of a few bytes."""
    images = npz_that_lies(tmp_path / "i.npz", "train_images", shape)
    arch = npz_that_lies(tmp_path / "a.npz", "arch", shape, "<i8")
    assert taken(lambda: load(images), "bytes") < 50
    assert taken(lambda: read_arrays(arch, {"arch": "whole numbers"}), "bytes") < 50


def test_an_array_of_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "o.npz", train_images=np.array([print], dtype=object), arch=np.array([print], dtype=object))
    with pytest.raises(InputError, match="uint8 in 'train_images'"):
        load(tmp_path / "o.npz")
    with pytest.raises(InputError, match="whole numbers in 'arch'"):
        read_arrays(tmp_path / "o.npz", {"arch": "whole numbers"})


def test_a_parquet_of_labels_that_repeat_a_long_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand rows of one text of 100 kB: 100 MB, from a file of less than one."""
    monkeypatch.setattr("fpnas.data.readers.parquet.LARGEST_LABELS", 2**24)
    monkeypatch.setattr("fpnas.tables.columns.MAX_BYTES", 2**24)
    rows = 1000
    noise = np.random.default_rng(0).bytes(64)
    labels = pa.array(["x" * 100_000] * rows).dictionary_encode().cast(pa.string())
    pq.write_table(pa.table({"image": [noise] * rows, "label": labels}), tmp_path / "train.parquet")
    assert (tmp_path / "train.parquet").stat().st_size < 2**20
    assert taken(lambda: load(tmp_path), "GiB of labels") < 250
    pq.write_table(pa.table({"a": labels, "acc": np.zeros(rows)}), tmp_path / "table.parquet")
    assert taken(lambda: load_table(tmp_path / "table.parquet", metric=["acc"]), "unpacked") < 500


def test_a_parquet_with_more_rows_than_bytes(tmp_path: Path) -> None:
    rows = 100_000
    table = pa.table({"image": pa.array([b""] * rows), "label": pa.array(np.zeros(rows, dtype=np.int64))})
    pq.write_table(table, tmp_path / "train.parquet")
    assert (tmp_path / "train.parquet").stat().st_size < rows
    with pytest.raises(InputError, match="rows that hold images"):
        load(tmp_path)

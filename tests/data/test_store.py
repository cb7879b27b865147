"""Images of tables, written once so that each can be read by itself; whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from pictures import encoded, picture, refused, write_parquet

from fpnas.data import load, store
from fpnas.data.readers import parquet

pytest.importorskip("pyarrow", reason="pyarrow is not installed")


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty images in two files, and a cache of its own."""
    monkeypatch.setenv("FPNAS_DATA", str(tmp_path / "own"))
    contents = [encoded(picture(seed)) for seed in range(20)]
    for shard, part in enumerate((slice(0, 8), slice(8, 20))):
        file = tmp_path / "pets" / f"train-0000{shard}-of-00002.parquet"
        write_parquet(file, contents[part], [seed % 2 for seed in range(20)][part])
    return tmp_path / "pets"


def entries() -> list[Path]:
    return sorted(path for path in store.folder().iterdir() if path.is_dir())


def test_streamed_tables_are_the_same_data(table: Path) -> None:
    resident, stream = load(table), load(table, stream=True, workers=1)
    assert torch.equal(stream.train.inputs, resident.train.inputs)
    assert torch.equal(stream.heldout.labels, resident.heldout.labels)
    assert (stream.mean, stream.std) == (resident.mean, resident.std)
    assert [path.name for path in sorted(entries()[0].iterdir())] == ["images.bin", "spans.npz"]


def test_a_table_is_read_once(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(table, stream=True, workers=0)
    blocks = parquet._blocks

    def sampled(paths: tuple[Path, ...], image: str, indices: torch.Tensor) -> object:
        raise AssertionError("the table was read again")

    monkeypatch.setattr(parquet, "_blocks", sampled)
    assert load(table, stream=True, workers=0, seed=0).digest == first.digest
    monkeypatch.setattr(parquet, "_blocks", blocks)
    write_parquet(table / "train-00001-of-00002.parquet", [encoded(picture(7))], [0])
    assert len(load(table, stream=True, workers=0).train) == 7
    assert len(entries()) == 2


def test_a_row_that_is_no_image_is_named_as_in_the_table(table: Path) -> None:
    contents = [encoded(picture(seed)) for seed in range(12)]
    contents[5] = b"GIF89a"
    write_parquet(table / "train-00001-of-00002.parquet", contents, [seed % 2 for seed in range(12)])
    refused(table, r"train-00001-of-00002\.parquet, row 5' \(it is GIF", stream=True)


def test_what_the_disk_cannot_hold_is_refused(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(table)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: usage._replace(free=2))
    refused(table, r"images that fit into the 0\.0 GiB free.*FPNAS_DATA", stream=True)
    assert entries() == []


def test_a_damaged_entry_and_a_folder_that_cannot_be_written(table: Path, tmp_path: Path) -> None:
    load(table, stream=True, workers=0)
    (entries()[0] / "spans.npz").write_bytes(b"PK")
    refused(table, r"a sound file in the cache, got '.*spans\.npz'", stream=True)
    shutil.rmtree(tmp_path / "own")
    (tmp_path / "own").write_text("a file")
    refused(table, "a folder that can hold what is made of the data", stream=True)

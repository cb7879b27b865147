"""Data sets of the hub, with a little stand-in for the package `datasets` (too big a package to install for this): it
has just what `fpnas.data.readers.hub` uses, as that package documents it. The real one is not tested here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pictures import encoded, picture, refused, write_parquet

from fpnas.data import load

pytest.importorskip("pyarrow", reason="pyarrow is not installed")


class Split:
    """`datasets.Dataset`: `features.arrow_schema`, `cache_files`, `with_format("arrow")`, slices as arrow tables."""

    def __init__(self, path: Path, table: Any = None) -> None:
        import pyarrow.parquet as pq

        self.table: Any = pq.read_table(path) if table is None else table
        self.features = SimpleNamespace(arrow_schema=self.table.schema)
        self.cache_files = [{"filename": str(path)}]

    def with_format(self, kind: str) -> Split:
        assert kind == "arrow"
        return self

    def __getitem__(self, rows: slice) -> Any:
        return self.table[rows]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub with one data set, `someone/pets`; the folder that it is in."""

    def load_dataset(name: str) -> dict[str, Split]:
        if name != "someone/pets":
            raise FileNotFoundError(f"Couldn't find\n{name}")
        return {path.stem: Split(path) for path in sorted(tmp_path.glob("*.parquet"))}

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    contents = [encoded(picture(seed)) for seed in range(600)]
    write_parquet(tmp_path / "train.parquet", contents, [seed % 2 for seed in range(600)], group=100)
    write_parquet(tmp_path / "validation.parquet", contents[:4], [0, 1, 0, 1])
    return tmp_path


def test_a_data_set_of_the_hub_is_what_its_parquet_files_are(hub: Path) -> None:
    data, files = load("hf:someone/pets"), load(hub)
    assert (data.name, data.classes, data.heldout_from) == ("pets", ("cat", "dog"), "val")
    assert data.digest == files.digest
    assert load("hf:someone/pets", classes=2).digest == data.digest


def test_splits_of_other_names_are_passed_over(hub: Path) -> None:
    write_parquet(hub / "unsupervised.parquet", [encoded(picture(0))], [-1])
    assert load("hf:someone/pets").heldout_from == "val"


def test_images_may_be_files_in_the_cache_of_datasets(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    (hub / "0.png").write_bytes(encoded(picture(0)))
    rows: Any = [{"bytes": None, "path": str(hub / "0.png")}, {"bytes": encoded(picture(1)), "path": "1.png"}]
    table = pa.table({"image": rows * 6, "label": [0, 1] * 6})
    found = {"train": Split(hub / "train.parquet", table)}
    monkeypatch.setattr(sys.modules["datasets"], "load_dataset", lambda name: found)
    assert len(load("hf:someone/pets").train) == 10


def test_what_is_not_there(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused("hf:no/where", r"a data set of the Hugging Face hub, got 'no/where' .Couldn't find no/where")
    (hub / "train.parquet").unlink()
    refused("hf:someone/pets", "training images, got 'pets' with val alone")
    monkeypatch.setitem(sys.modules, "datasets", None)
    refused("hf:someone/pets", r"pip install 'fpnas\[hub\]'")

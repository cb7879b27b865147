"""Every reader of files of unknown origin, a sound file for each, and what must hold when one reads a damaged file."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import json
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import helpers_run as h
import numpy as np
import torch
from damage import Kind
from PIL import Image
from safetensors.torch import save

import fpnas
from fpnas.data.decode import UnreadableImage, decode, read_header
from fpnas.data.readers import class_folder, fashion_mnist
from fpnas.data.readers import npz as npz_reader
from fpnas.data.readers import parquet as parquet_reader
from fpnas.data.request import Request
from fpnas.data.spec import ImageSpec
from fpnas.errors import FpnasError
from fpnas.report.reading import read_run
from fpnas.runner import Progress, read_arch, read_latency_table, run_settings
from fpnas.runner.callbacks import steps_logged
from fpnas.runner.checkpoint import load_checkpoint
from fpnas.runner.files import read_weights
from fpnas.runner.watch import Follower
from fpnas.tables import accel, nasbench_macro
from fpnas.tables import load as load_table

LONGEST = 10
"""Seconds of the processor that a reader may take."""

Sound = Callable[[str], tuple[Path, bytes]]
"""The folder of a reader, sound, and the content of the file that is damaged in it."""


@dataclass(frozen=True)
class Reader:
    """A reader: how to make a sound folder for it, the file in it to damage, how to read, what damage suits it."""

    make: Callable[[Path], object]
    file: str
    read: Callable[[Path], object]
    kinds: tuple[Kind, ...] = ("bytes",)


def npz(**arrays: Any) -> Callable[[Path], object]:
    """Packed or not, as the number of arrays is odd or even: packed ones break in other ways."""
    write = np.savez_compressed if len(arrays) % 2 else np.savez
    return lambda folder: write(folder / "a.npz", **arrays)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


FASHION = {
    name: bytes(16) + pixels(2 * 28 * 28).tobytes() if "images" in name else bytes(8) + b"\0\1"
    for name in fashion_mnist.FILES
}


def fashion(folder: Path) -> None:
    (folder / "fashion-mnist").mkdir()
    for name, content in FASHION.items():
        (folder / "fashion-mnist" / name).write_bytes(gzip.compress(content, mtime=0))


def read_fashion(folder: Path) -> None:
    files = {name: hashlib.sha256(content).hexdigest() for name, content in FASHION.items()}
    with mock.patch.dict(os.environ, FPNAS_DATA=str(folder)), mock.patch.object(fashion_mnist, "FILES", files):
        fashion_mnist.read(Request("fashion-mnist"))


def images(folder: Path) -> None:
    image = Image.fromarray(pixels(9, 7, 3))
    for kind in ("png", "jpeg", "webp"):
        for name in ("cat", "dog"):
            (folder / name).mkdir(exist_ok=True)
            image.save(folder / name / f"a.{kind}")
    image.convert("P").save(folder / "cat" / "b.png", exif=Image.Exif())


def decoded(folder: Path) -> None:
    for path in sorted(folder.rglob("*.*")):
        try:
            read_header(path)
            decode(path, 3, enough=2)
            decode(path.read_bytes(), 1)
        except UnreadableImage as error:
            raise FpnasError(str(error)) from error


def parquet(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = io.BytesIO()
    Image.fromarray(pixels(4, 4)).save(content, "PNG")
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    table = pa.table({"image": [{"bytes": content.getvalue(), "path": "x"}] * 6, "label": [0, 1] * 3})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, folder / "train.parquet", row_group_size=4)


def read_parquet(folder: Path) -> None:
    parts = parquet_reader.read(Request(folder))
    list(parts.train.items(torch.arange(len(parts.train.labels))))  # pyright: ignore[reportAttributeAccessIssue]


OWN = "kernel,width,acc,ms\n" + "".join(f"{k},{w},{0.1 * k + w / 100},{k * w}\n" for k in (1, 3) for w in (8, 16))


def own_parquet(folder: Path) -> None:
    import pyarrow.parquet as pq
    from pyarrow import csv

    pq.write_table(csv.read_csv(io.BytesIO(OWN.encode())), folder / "t.parquet")


def own_table(name: str) -> Callable[[Path], object]:
    return lambda folder: load_table(folder / name, metric=["acc"], cost_columns=["ms"])


def macro_rows(folder: Path) -> None:
    entry = {"test_acc": [90.0, 91.0, 92.5], "params": 1000, "flops": 20000}
    (folder / "t.json").write_text(json.dumps({"00000000": entry, "01201201": entry}))


ACCEL = {
    "factors": np.array(["block0_e", "block0_k"]),
    "choices": np.array(["[1, 4]", "[3, 5]"]),
    "arch": np.array([[0, 1], [1, 0], [1, 1]]),
    "val_top1": np.array([50.0, 60.0, 70.0]),
    "macs_M": np.array([1.0, 2.0, 3.0]),
    "params_M": np.array([1.0, 2.0, 3.0]),
}
MACRO = {
    "arch": np.zeros((2, 8), dtype=np.int64),
    "test_acc": np.full((2, 3), 90.0),
    "params": np.array([1, 2]),
    "flops": np.array([3, 4]),
}
LATENCY = {"format": "fpnas-latency-1", "device": "x", "batch_size": 1, "threads": 2, "operations": {"a": 0.5, "b": 1}}


@functools.cache
def small_space() -> fpnas.Arch:
    with torch.device("meta"):
        return fpnas.spaces.tiny().arch


def arch(folder: Path) -> None:
    record = {"space": "tiny", "image_size": 16, "in_channels": 1, "num_classes": 2, "choices": dict(small_space())}
    spec = {"mean": [0.5], "std": [0.2], "classes": ["a", "b"], "fit": "crop"}
    (folder / "arch.json").write_text(json.dumps({**record, **spec}))


def read_arch_quickly(folder: Path) -> None:
    """As `read_arch`, without a supernet each time where the space is the usual one."""
    read_arch(folder)
    ImageSpec.from_json(json.loads((folder / "arch.json").read_bytes()))


def table_run(folder: Path) -> None:
    job = fpnas.methods.fpnas(h.TableEvaluator(2), fpnas.Budget(h.TableCost(), 60.0), **h.PINNED, epochs=2)
    fpnas.run(job, folder, progress=Progress(), checkpoint_every=2)


def read_logs(folder: Path) -> None:
    read_run(folder)
    Follower(folder / "metrics.jsonl").lines()
    steps_logged(folder / "metrics.jsonl")
    run_settings(folder)


READERS: dict[str, Reader] = {
    "npz": Reader(
        npz(train_images=pixels(4, 3, 3), train_labels=np.array([0, 1, 0, 1]), classes=np.array(["a", "b"])),
        "a.npz",
        lambda folder: npz_reader.read(Request(folder / "a.npz")),
        ("bytes", "arrays"),
    ),
    "fashion-mnist": Reader(fashion, "fashion-mnist/t10k-labels-idx1-ubyte.gz", read_fashion),
    "png": Reader(images, "cat/a.png", decoded),
    "palette": Reader(images, "cat/b.png", decoded),
    "jpeg": Reader(images, "dog/a.jpeg", decoded),
    "webp": Reader(images, "dog/a.webp", decoded),
    "class folder": Reader(images, "cat/a.png", lambda folder: class_folder.read(Request(folder))),
    "parquet": Reader(parquet, "train.parquet", read_parquet),
    "arch.json": Reader(arch, "arch.json", read_arch_quickly, ("bytes", "json")),
    **{
        name: Reader(table_run, name, read_logs, ("bytes", "json"))
        for name in ("run.json", "metrics.jsonl", "distribution.jsonl", "result.json")
    },
    "checkpoint": Reader(table_run, "checkpoint.pt", load_checkpoint),
    "latency": Reader(
        lambda folder: (folder / "l.json").write_text(json.dumps(LATENCY)),
        "l.json",
        lambda folder: read_latency_table(folder / "l.json"),
        ("bytes", "json"),
    ),
    "csv": Reader(lambda folder: (folder / "t.csv").write_text(OWN), "t.csv", own_table("t.csv")),
    "table parquet": Reader(own_parquet, "t.parquet", own_table("t.parquet")),
    "nas-bench-macro json": Reader(
        macro_rows,
        "t.json",
        lambda folder: nasbench_macro.read(folder / "t.json"),
        ("bytes", "json"),
    ),
    "nas-bench-macro npz": Reader(
        npz(**MACRO),
        "a.npz",
        lambda folder: nasbench_macro.recognises(folder / "a.npz") and nasbench_macro.read(folder / "a.npz"),
        ("bytes", "arrays"),
    ),
    "accel npz": Reader(
        npz(**ACCEL),
        "a.npz",
        lambda folder: accel.recognises(folder / "a.npz") and accel.read(folder / "a.npz"),
        ("bytes", "arrays"),
    ),
    "safetensors": Reader(
        lambda folder: (folder / "w.safetensors").write_bytes(save({"a": torch.zeros(3), "b": torch.ones(2, 2)})),
        "w.safetensors",
        lambda folder: read_weights(folder / "w.safetensors"),
    ),
}


def sound_files(place: Callable[[], Path]) -> Sound:
    """Makes each reader's folder in a `place` of its own when it is first asked for."""
    known: dict[str, tuple[Path, bytes]] = {}

    def of(name: str) -> tuple[Path, bytes]:
        if name not in known:
            folder = place()
            READERS[name].make(folder)
            known[name] = folder, (folder / READERS[name].file).read_bytes()
        return known[name]

    return of


@contextmanager
def in_time() -> Iterator[None]:
    """Fails after `LONGEST` seconds of the processor; a process that waits for its turn, or is stopped, uses none.

    One that waits for something that never comes is left to pytest's own time limit.
    """

    def late(*_: Any) -> None:
        raise AssertionError(f"it took more than {LONGEST} seconds")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def try_out(name: str, content: bytes, sound: Sound) -> None:
    """Reads the damaged file; afterwards all is as it was."""
    reader, (folder, whole) = READERS[name], sound(name)
    file = folder / reader.file
    file.write_bytes(content)
    names = sorted(path.name for path in folder.rglob("*"))
    try:
        with in_time(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(folder)
    except FpnasError:
        pass  # one clear line, which the command line prints
    finally:
        assert file.read_bytes() == content
        assert sorted(path.name for path in folder.rglob("*")) == names
        file.write_bytes(whole)

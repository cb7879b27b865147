"""What int8 costs: random networks of `tiny` and of `tiny-int8`, trained briefly, exported float and int8.

    python benchmarks/int8.py [--networks 3] [--train 6000] [--epochs 6] [--out FOLDER] [--results FILE.md]

Data: CIFAR-10 (JPEG copies). Each network is exported to ONNX, and to LiteRT where its packages are installed: then run
it with the Python of `make litert`'s environment. Accuracy, bytes and milliseconds are those that `fpnas export --int8`
measures on held-out images. Networks that lie trained in --out are not trained again.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import results_file
import torch

import fpnas
from fpnas.data import ImageData
from fpnas.space import Arch

ROOT = Path(__file__).resolve().parents[1]
CIFAR10 = Path(os.environ.get("FPNAS_SHARED", ROOT.parent / "shared")) / "data" / "cifar10"
SPACES = ("tiny", "tiny-int8")
TARGET = 8e6
HELDOUT = 2000
SUFFIXES = {"onnx": ".onnx", "litert": ".tflite"}


def images(train: int) -> ImageData:
    """So many training images and `HELDOUT` held-out ones."""
    whole = fpnas.data.load(CIFAR10, 32)
    parts = whole.train.subset(torch.arange(train)), whole.heldout.subset(torch.arange(HELDOUT))
    name = f"CIFAR-10 (JPEG copies), {train} training images"
    return ImageData.of(name, *parts, classes=whole.classes, heldout_from=whole.heldout_from)


def networks(space: str, count: int, data: ImageData) -> list[Arch]:
    """Random networks of half the target to the target; the same for the same count."""
    supernet = fpnas.spaces.SPACES[space](num_classes=data.num_classes)
    flops = fpnas.Flops(supernet, data.input_shape)
    draws, found = random.Random(0), []
    while len(found) < count:
        arch = supernet.space.decode([draws.randrange(size) for size in supernet.space.cardinalities])
        if TARGET / 2 <= flops.of(arch) <= TARGET:
            found.append(arch)
    return found


def rows(space: str, number: int, arch: Arch, data: ImageData, epochs: int, out: Path) -> list[dict[str, Any]]:
    """A row for each format."""
    place = out / f"{space}-{number}"
    supernet = fpnas.spaces.SPACES[space](num_classes=data.num_classes)
    network = fpnas.from_scratch(supernet, arch, number)
    fpnas.run(fpnas.Training(network, data, epochs=epochs, batch_size=64, seed=number), place)
    found: list[dict[str, Any]] = []
    for to in ("onnx", "litert") if find_spec("litert_torch") else ("onnx",):
        done = fpnas.export(place, to, place / f"int8{SUFFIXES[to]}", data=data, int8=True, overwrite=True)
        measured, how = done.facts["measured"], done.facts["quantisation"]
        found.append({"name": f"{space} {number}", "to": to, "files": measured["files"], **how})
    return found


def cells(row: dict[str, Any]) -> list[str]:
    exact, small = row["files"]["float"], row["files"]["int8"]
    loss = small["accuracy"] - exact["accuracy"]
    sizes = f"{exact['bytes'] / 1e3:.0f}", f"{small['bytes'] / 1e3:.0f}"
    times = f"{exact['ms_per_image']:.2f}", f"{small['ms_per_image']:.2f}"
    how = row["calibration"] + (f", {row['weights']}" if row["to"] == "onnx" else "")
    return [
        row["name"],
        row["to"],
        *(f"{exact['accuracy']:.2f}", f"{small['accuracy']:.2f}", f"{loss:+.2f}"),
        *(f"{small['agrees']:.1f}", *sizes, *times, how),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--train", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "int8")
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = images(asked.train)
    found = [
        row
        for space in SPACES
        for number, arch in enumerate(networks(space, asked.networks, data))
        for row in rows(space, number, arch, data, asked.epochs, asked.out)
    ]
    columns = ["network", "format", "float, %", "int8, %", "difference", "same class, %"]
    columns += ["float, kB", "int8, kB", "float, ms", "int8, ms", "calibration"]
    means: list[str] = []
    for space in SPACES:
        for to in dict.fromkeys(row["to"] for row in found):
            files = [row["files"] for row in found if row["to"] == to and row["name"].startswith(f"{space} ")]
            change = statistics.fmean(each["int8"]["accuracy"] - each["float"]["accuracy"] for each in files)
            means.append(f"* {space}, {to}: int8 less float {change:+.2f} points on average of {len(files)}.")
    lines = [
        *results_file.head(
            "What int8 costs",
            f"{data.name}, {HELDOUT} held-out ones, 32 px; random networks of {TARGET / 2e6:g} to {TARGET / 1e6:g} M"
            f" multiply-adds, {asked.epochs} epochs",
            "Milliseconds: one image, one thread; other programs ran meanwhile, so only the ratio in a row means much",
        ),
        *results_file.table(columns, map(cells, found)),
        "",
        *means,
    ]
    print("\n".join(lines))
    results_file.write(asked.results, lines)


if __name__ == "__main__":
    main()

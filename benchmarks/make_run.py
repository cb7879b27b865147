"""The main job, `make run`: does the network that FP-NAS finds beat random ones of its budget?

Searches `tiny` on Fashion-MNIST under a FLOPs target, trains the found network from scratch, trains three random
architectures whose FLOPs lie within 5 % of the found one's by the same recipe, and prints one table. The search sees
each training image at least once, half of them for the weights and half for alpha; each training sees all of them.
Accuracy is the last epoch's on the test images, which the search never sees. At last the first seed's found network is
exported to ONNX, and names a few test images. All of it goes on where it was left. A seed's search lies in
seedN/search, the trainings in sub-folders of it, so that `fpnas report` and its kin know them.

    python benchmarks/make_run.py [--out runs/make-run] [--seeds 0] [--threads N] [--results FILE.md]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import results_file
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

import fpnas
from fpnas.data import ImageData
from fpnas.data.fashion_mnist import folders
from fpnas.runner.folder import read_json
from fpnas.streams import generator

TARGET_FLOPS = 2.5e6
EPOCHS = {"fashion-mnist": (2, 1), "digits": (20, 20)}
"""Of the search and of each training."""
PLAIN: dict[str, Any] = {"crop": "none", "flip": False, "ema": 0.0}
"""Each training sees an image once: nothing to augment against, and few steps to average over."""
NUM_RANDOM = 3
WITHIN = 0.05
NUM_PREDICTED = 4


@dataclass(frozen=True)
class Row:
    """A trained network in the table."""

    seed: int
    name: str
    flops: int
    params: int
    samples: int | None
    search_seconds: float | None
    train_seconds: float
    accuracy: float
    arch: str


def get_data() -> ImageData:
    """Fashion-MNIST: as it lies here, else from Debian's package, else from the official place.

    Where none of these is to be had, the digits that come with scikit-learn.
    """
    try:
        return fpnas.data.load("fashion-mnist")
    except fpnas.InputError:
        pass
    print("Fashion-MNIST is not here; trying Debian's package, then the official download", flush=True)
    if shutil.which("apt-get") and os.geteuid() == 0:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        subprocess.run(["apt-get", "update"], check=False, **quiet)
        subprocess.run(["apt-get", "install", "-y", "dataset-fashion-mnist"], check=False, **quiet)
    try:
        return fpnas.data.load("fashion-mnist", download=True)
    except fpnas.InputError:
        print(f"Fashion-MNIST can't be had (its four files go into {folders()[0]}), so this is done on digits instead")
        return fpnas.data.load("digits")


def one_seed(data: ImageData, seed: int, out: Path) -> list[Row]:
    """Searches and trains with one seed; the rows of the table, the found network first."""
    supernet = fpnas.spaces.tiny(num_classes=data.num_classes, in_channels=data.in_channels, seed=seed)
    shape = (data.in_channels, data.image_size, data.image_size)
    flops = fpnas.Flops(supernet, shape)
    params = fpnas.Params(supernet, shape)
    task = fpnas.SupernetEvaluator(supernet, data, seed=seed)
    search = fpnas.methods.fpnas(task, fpnas.Budget(flops, TARGET_FLOPS), epochs=EPOCHS[data.name][0], seed=seed)
    print(f"seed {seed}: searching {supernet.space.size:.2e} architectures on {data.name}", flush=True)
    fpnas.run(search, out / "search")
    record, result = read_json(out / "search" / "arch.json"), read_json(out / "search" / "result.json")
    found = fpnas.Arch.from_mapping(record["choices"])
    candidates = [("found", found), *((f"random {n + 1}", arch) for n, arch in enumerate(peers(flops, found, seed)))]
    rows: list[Row] = []
    for name, arch in candidates:
        print(f"seed {seed}: training the {name} one, {flops.of(arch) / 1e6:.2f} MFLOPs", flush=True)
        facts = {**task.describe(arch), "name": name}
        recipe = fpnas.Recipe(epochs=EPOCHS[data.name][1], **PLAIN)
        job = fpnas.Training(fpnas.from_scratch(supernet, arch, seed), facts, data, recipe=recipe, seed=seed)
        is_found = name == "found"
        folder = out / "search" / ("train" if is_found else name.replace(" ", "-"))
        accuracy = fpnas.run(job, folder).accuracy
        rows.append(
            Row(
                seed,
                name,
                flops.of(arch),
                params.of(arch),
                result["num_samples_total"] if is_found else None,
                result["seconds"] if is_found else None,
                read_json(folder / "result.json")["seconds"],
                accuracy,
                describe(arch),
            )
        )
    return rows


def peers(flops: fpnas.Flops, found: fpnas.Arch, seed: int) -> list[fpnas.Arch]:
    """Uniformly random architectures whose FLOPs lie within 5 % of the found one's."""
    uniform = fpnas.ArchDistribution(flops.space)
    codes = uniform.sample(50_000, generator(seed, "random peers"))
    near = codes[(flops(codes) / flops.of(found) - 1).abs() <= WITHIN]
    if len(near) < NUM_RANDOM:
        raise fpnas.InputError(
            f"{NUM_RANDOM} random architectures near the found one", str(len(near)), "move the target"
        )
    return [flops.space.decode(row) for row in near[:NUM_RANDOM].tolist()]


def describe(arch: fpnas.Arch) -> str:
    """A line for each group: kernel, activation, splits, expansion, channels."""
    groups: dict[str, list[str]] = {}
    for name, option in arch.items():
        groups.setdefault(name.partition(".")[0], []).append(str(option))
    return "; ".join("skip to " + parts[-1] if parts[0] == "0" else "/".join(parts) for parts in groups.values())


def ship(data: ImageData, folder: Path) -> list[str]:
    """Exports the network in `folder` to ONNX and lets onnxruntime name test images, given as files; lines to print."""
    done = fpnas.export(folder, "onnx", folder / "network.onnx", data=data, overwrite=True)
    row = done.facts["measured"]["files"]["float"]
    lines = [
        f"exported: {done.file}, {row['bytes']:,} bytes, {row['accuracy']:.2f} % of the {data.heldout_from} images by"
        f" onnxruntime, {row['ms_per_image']:.2f} ms an image; at most {done.facts['difference']:.0e} from torch"
    ]
    with TemporaryDirectory() as place:
        paths = [Path(place) / f"image{number}.png" for number in range(NUM_PREDICTED)]
        for path, image in zip(paths, data.heldout.images, strict=False):
            pixels = image.permute(1, 2, 0).numpy()
            Image.fromarray(pixels[..., 0] if data.in_channels == 1 else pixels).save(path)
        for number, prediction in enumerate(fpnas.predict(done.file, paths, top=2)):
            guesses = ", ".join(f"{guess.name} {100 * guess.probability:.0f} %" for guess in prediction.classes)
            lines.append(f"  test image {number}, {data.classes[int(data.heldout.labels[number])]}: {guesses}")
    return lines


def print_table(rows: list[Row], data: ImageData) -> None:
    """The one table that the README promises."""
    table = Table(title=caption(data), title_justify="left")
    table.add_column("seed", justify="right")
    table.add_column("network")
    for column in ("MFLOPs", "of target", "parameters", "samples", "search s", "train s", "test accuracy"):
        table.add_column(column, justify="right")
    for row in rows:
        style = "bold" if row.name == "found" else None
        table.add_row(*cells(row), style=style, end_section=row.name == f"random {NUM_RANDOM}")
    Console(width=None if sys.stdout.isatty() else 130).print(table)
    print("kernel/activation/splits/expansion/channels of each group:")
    for row in rows:
        print(f"  seed {row.seed} {row.name:9} {row.arch}")
    for line in verdicts(rows):
        print(line)


def caption(data: ImageData) -> str:
    """What was run."""
    searching, training = EPOCHS[data.name]
    epochs = f"epochs: {searching} of search, {training} of training"
    return f"{data.name}: `tiny` under {TARGET_FLOPS / 1e6:.2f} MFLOPs, {epochs}"


def cells(row: Row) -> list[str]:
    """A row of the table as text."""
    return [
        str(row.seed),
        row.name,
        f"{row.flops / 1e6:.2f}",
        f"{100 * row.flops / TARGET_FLOPS:.0f} %",
        f"{row.params:,}",
        "" if row.samples is None else f"{row.samples:,}",
        "" if row.search_seconds is None else f"{row.search_seconds:.0f}",
        f"{row.train_seconds:.0f}",
        f"{row.accuracy:.2f} %",
    ]


def verdicts(rows: list[Row]) -> list[str]:
    """For each seed, by how much the found network beats the mean of the random ones, as measured."""
    lines: list[str] = []
    margins: list[float] = []
    for seed in sorted({row.seed for row in rows}):
        own = [row.accuracy for row in rows if row.seed == seed]
        margins.append(own[0] - sum(own[1:]) / len(own[1:]))
        word = "ahead of" if margins[-1] > 0 else "BEHIND"
        lines.append(
            f"seed {seed}: the found network is {abs(margins[-1]):.2f} points {word} the mean of the random ones"
        )
    if len(margins) > 1:
        wins = sum(margin > 0 for margin in margins)
        lines.append(f"ahead in {wins} of {len(margins)} seeds, by {sum(margins) / len(margins):.2f} points on average")
    return lines


def results(rows: list[Row], data: ImageData, seconds: float) -> list[str]:
    """The results file, with hardware, date, seeds, command and figures."""
    columns = ["seed", "network", "MFLOPs", "of target", "parameters", "samples", "search s", "train s"]
    return [
        *results_file.head(
            "The main job: found against random networks of its budget",
            f"Data: {data.name}, {len(data.train):,} training and {len(data.heldout):,} {data.heldout_from} images",
            f"{caption(data)}; {seconds:.0f} s in all",
        ),
        *results_file.table([*columns, "test accuracy", "architecture"], [[*cells(row), row.arch] for row in rows]),
        "",
        *(f"* {line}" for line in verdicts(rows)),
        "",
        "Architecture: kernel/activation/splits/expansion/channels of each group. Accuracy: last epoch, test images.",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/make-run"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--results", type=Path, default=None, help="also write a results file")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    started = time.perf_counter()
    try:
        data = get_data()
        rows = [row for seed in arguments.seeds for row in one_seed(data, seed, arguments.out / f"seed{seed}")]
        print_table(rows, data)
        print("\n".join(ship(data, arguments.out / f"seed{arguments.seeds[0]}" / "search" / "train")))
    except fpnas.FpnasError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    seconds = time.perf_counter() - started
    print(f"{seconds:.0f} s in all; runs in {arguments.out}")
    results_file.write(arguments.results, results(rows, data, seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The main job, `make run`: what is the network worth that a default search finds, beside random ones of its cost?

`fpnas find` on Fashion-MNIST under a target: it searches `tiny` by short trainings, trains the network that it finds
from scratch, and writes it as a file with a model card and a report. Then this script says where the network stands
among the random ones of the pool `fashion-mnist-tiny-2.5M`. These are of the same cost and were trained by the same
recipe on the same images: nine tenths of the training images, and the search sees no others either. Accuracy is the
last epoch's on the test images. At last the first seed's network names a few test images. All of it goes on where it
was left. A seed's folder is seedN, which `fpnas report` and its kin know.

    python benchmarks/make_run.py [--out runs/make-run] [--seeds 0] [--threads N] [--results FILE.md]
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent / "ground"))

import ground
import results_file
from standing import Standing, expected_best, standing

import fpnas
from fpnas.data import ImageData
from fpnas.data.readers import fashion_mnist
from fpnas.runner.folder import read_json

POOL = ground.POOLS["fashion-mnist-tiny-2.5M"]
EPOCHS = 4
"""Of the search: looks at K networks each."""
NUM_RANDOM = 3
"""Random networks of which the best is what a found one has to beat: about what a search and a training take."""
NUM_PREDICTED = 4
COLUMNS = (
    *("seed", "MFLOPs", "of target", "parameters", "networks", "search s", "train s"),
    *("test accuracy", "percentile", "as good as the best of"),
)


@dataclass(frozen=True)
class Row:
    """A found network in the table; `networks` is how many the search trained shortly."""

    seed: int
    flops: int
    params: int
    networks: int
    search_seconds: float
    train_seconds: float
    place: Standing
    arch: str


def get_data() -> None:
    """Fashion-MNIST: as it lies here, else from Debian's package, else from the official place.

    Raises:
        InputError: none of these is to be had.
    """
    try:
        ground.images(POOL.data, POOL.image_size)  # kept for all that follows
        return
    except fpnas.InputError:
        pass
    print("Fashion-MNIST is not here; trying Debian's package, then the official download", flush=True)
    if shutil.which("apt-get") and os.geteuid() == 0:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL}
        subprocess.run(["apt-get", "update"], check=False, **quiet)
        subprocess.run(["apt-get", "install", "-y", "dataset-fashion-mnist"], check=False, **quiet)
    try:
        fpnas.data.load(POOL.data, download=True)
    except fpnas.InputError:
        fix = f"put its four files into {fashion_mnist.folders()[0]}"
        raise fpnas.InputError("Fashion-MNIST", "no copy here, and no network", fix) from None


def pool_tests() -> list[float]:
    """Test accuracies of the pool's random networks."""
    return [row.test for row in ground.read(POOL.path)[1] if row.seed == 0]


def one_seed(seed: int, out: Path) -> Row:
    """Searches and trains with one seed."""
    images = ground.images(POOL.data, POOL.image_size).test  # a search doesn't look at what is held out
    found = fpnas.find(
        images,
        out=out,
        target_flops=POOL.target,
        space=POOL.space,
        search_epochs=EPOCHS,
        recipe=POOL.recipe,
        to="onnx",
        seed=seed,
    )
    result = read_json(out / "result.json")
    return Row(
        seed,
        found.rows[0].flops,
        found.rows[0].params,
        result["num_samples_total"],
        result["seconds"],
        read_json(out / "train" / "result.json")["seconds"],
        standing(found.accuracy.accuracy, pool_tests()),
        describe(found.arch),
    )


def int8_files(seed_folder: Path, data: ImageData) -> list[str]:
    """The network as int8 ONNX and, where its packages are installed, LiteRT file, beside the float one, each with its
    card; a line of each to print. Those that are there stay."""
    lines: list[str] = []
    for to, suffix in [("onnx", ".onnx"), *([("litert", ".tflite")] if find_spec("litert_torch") else [])]:
        file = seed_folder / "network" / f"network-int8{suffix}"
        if not file.exists():
            fpnas.export(seed_folder, to, file, data=data, int8=True)
        facts = read_json(file.with_name(f"{file.name}.json"))
        row = facts["measured"]["files"]["int8"]
        lines.append(
            f"exported: {file}, {row['bytes']:,} bytes, {row['accuracy']:.2f} % by {facts['runtime']},"
            f" {row['ms_per_image']:.2f} ms an image"
        )
    return lines


def describe(arch: fpnas.Arch) -> str:
    """A line for each group: kernel, activation, splits, expansion, channels."""
    groups: dict[str, list[str]] = {}
    for name, option in arch.items():
        groups.setdefault(name.partition(".")[0], []).append(str(option))
    return "; ".join("skip to " + parts[-1] if parts[0] == "0" else "/".join(parts) for parts in groups.values())


def ship(data: ImageData, folder: Path) -> list[str]:
    """What was exported into `folder`, and what onnxruntime names test images, given as files; lines to print."""
    file = folder / "network.onnx"
    facts = read_json(folder / f"{file.name}.json")
    row = facts["measured"]["files"]["float"]
    lines = [
        f"exported: {file}, {row['bytes']:,} bytes, {row['accuracy']:.2f} % of the {data.heldout_from} images by"
        f" onnxruntime, {row['ms_per_image']:.2f} ms an image; at most {facts['difference']:.0e} from torch"
    ]
    with TemporaryDirectory() as place:
        paths = [Path(place) / f"image{number}.png" for number in range(NUM_PREDICTED)]
        for path, image in zip(paths, data.heldout.inputs, strict=False):
            pixels = image.permute(1, 2, 0).numpy()
            Image.fromarray(pixels[..., 0] if data.in_channels == 1 else pixels).save(path)
        for number, prediction in enumerate(fpnas.predict(file, paths, top=2)):
            guesses = ", ".join(f"{guess.name} {100 * guess.probability:.0f} %" for guess in prediction.classes)
            lines.append(f"  test image {number}, {data.classes[int(data.heldout.labels[number])]}: {guesses}")
    return lines


def print_table(rows: Sequence[Row]) -> None:
    """The one table that the README promises."""
    table = Table(title=caption(), title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*cells(row))
    Console(width=None if sys.stdout.isatty() else 130).print(table)
    print("kernel/activation/splits/expansion/channels of each group:")
    for row in rows:
        print(f"  seed {row.seed} {row.arch}")
    for line in verdicts(rows):
        print(line)


def caption() -> str:
    """What was run."""
    epochs = f"epochs: {EPOCHS} of search, {POOL.recipe.epochs} of training"
    return f"{POOL.data}: `{POOL.space}` under {POOL.target / 1e6:.2f} MFLOPs, {epochs}"


def cells(row: Row) -> list[str]:
    """A row of the table as text."""
    return [
        str(row.seed),
        f"{row.flops / 1e6:.2f}",
        f"{100 * row.flops / POOL.target:.0f} %",
        f"{row.params:,}",
        str(row.networks),
        f"{row.search_seconds:.0f}",
        f"{row.train_seconds:.0f}",
        f"{row.place.accuracy:.2f} %",
        f"{row.place.percentile:.0f}",
        "any number" if row.place.best_of is None else f"{row.place.best_of} random",
    ]


def verdicts(rows: Sequence[Row]) -> list[str]:
    """The random networks, and by how much each found one beats the best of a few, as measured."""
    tests = pool_tests()
    best = expected_best(tests, NUM_RANDOM)
    lines = [
        f"{len(tests)} random networks: {statistics.fmean(tests):.2f} ± {statistics.stdev(tests):.2f} %, at most "
        f"{max(tests):.2f} %; the best of {NUM_RANDOM} is expected to have {best:.2f} %"
    ]
    margins = [row.place.accuracy - best for row in rows]
    for row, margin in zip(rows, margins, strict=True):
        word = "ahead of" if margin > 0 else "BEHIND"
        said = f"{abs(margin):.2f} points {word} the best of {NUM_RANDOM} random ones"
        lines.append(f"seed {row.seed}: the found network is {said}, at percentile {row.place.percentile:.0f}")
    if len(margins) > 1:
        wins = sum(margin > 0 for margin in margins)
        lines.append(f"ahead in {wins} of {len(margins)} seeds, by {statistics.fmean(margins):.2f} points on average")
    return lines


def results(rows: Sequence[Row], seconds: float) -> list[str]:
    """The results file, with hardware, date, seeds, command and figures."""
    images = ground.images(POOL.data, POOL.image_size)
    return [
        *results_file.head(
            "The main job: found networks beside random ones of their budget",
            f"Data: {POOL.data}, {len(images.test.train):,} training and {len(images.test.heldout):,} test images",
            f"{caption()}; {seconds:.0f} s in all",
            f"Percentiles and best-of-N among the networks of {POOL.path.relative_to(ground.ROOT)}",
        ),
        *results_file.table([*COLUMNS, "architecture"], [[*cells(row), row.arch] for row in rows]),
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
        get_data()
        rows = [one_seed(seed, arguments.out / f"seed{seed}") for seed in arguments.seeds]
        print_table(rows)
        data = ground.images(POOL.data, POOL.image_size).test
        first = arguments.out / f"seed{arguments.seeds[0]}"
        print("\n".join([*ship(data, first / "network"), *int8_files(first, data)]))
    except fpnas.FpnasError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    seconds = time.perf_counter() - started
    print(f"{seconds:.0f} s in all; runs in {arguments.out}")
    results_file.write(arguments.results, results(rows, seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())

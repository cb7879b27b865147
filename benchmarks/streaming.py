"""Streamed images: how fast they are decoded against timm's loader, how long an index takes, whether memory stays flat.

    python benchmarks/streaming.py --results benchmarks/results/streaming_cpu2_DATE.md

The photographs are made: crops of a few canvases of coloured shapes with a texture, JPEGs of about 500 x 375 pixels and
110 kB each, in a folder of the cache that stays (`--folder`). Both loaders do the same with them in as many worker
processes: random resized crop (bilinear) to 224 px, flip, normalized channels-last batches; they take turns, and
processor seconds are counted, of all processes. The index is one of hard links to small files, which are removed.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from resident import forget_peak, peak, resident
from results_file import head, table, write
from torch import Tensor

from fpnas.data import Batches, Crops, EpochOrder, StreamedSet, load
from fpnas.data.ahead import Ahead
from fpnas.data.augment import flipped
from fpnas.data.images import normalize
from fpnas.files import data_folder
from fpnas.streams import generator

CLASSES = 10
AREA = 0.08
TURNS = 3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def canvas(rng: np.random.Generator, side: int = 1600) -> Image.Image:
    """Coloured shapes, blurred, with a texture as fine as that of photographs."""
    image = Image.new("RGB", (side, side), tuple(rng.integers(40, 216, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for number in range(300):
        x, y, wide, tall = rng.integers(0, side, 2).tolist() + rng.integers(20, 300, 2).tolist()
        shape = draw.ellipse if number % 2 else draw.rectangle
        shape((x, y, x + wide, y + tall), fill=tuple(rng.integers(0, 256, 3).tolist()))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(2)), dtype=np.float32)
    texture = rng.normal(0, 1, (side, side, 1)).astype(np.float32) * rng.uniform(16, 24)
    return Image.fromarray((pixels + texture).clip(0, 255).astype(np.uint8))


def make(folder: Path, count: int) -> None:
    """`count` photographs in class folders, those that aren't there yet."""
    rng = np.random.default_rng(0)
    canvases = [canvas(rng) for _ in range(8)]
    for number in range(count):
        wide, tall = rng.normal((500, 375), 40).clip(200, 700).astype(int).tolist()
        left, top = rng.integers(0, 1600 - wide), rng.integers(0, 1600 - tall)
        file = folder / f"class{number % CLASSES}" / f"{number:06}.jpg"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            part = canvases[number % len(canvases)].crop((left, top, left + wide, top + tall))
            part.save(file, quality=90)


def own_batches(folder: Path, batch_size: int, workers: int) -> Iterator[Tensor]:
    """An epoch by this package."""
    train = load(folder, 224, stream=True, workers=workers).train
    assert isinstance(train, StreamedSet)
    order = EpochOrder(len(train), batch_size, 0, "train")
    device = torch.device("cpu")
    ahead = Ahead(train, device, order.batch, Crops(0, AREA), order.epoch, order.steps_per_epoch)
    yield torch.empty(0)
    for step in range(order.steps_per_epoch):
        images, _ = ahead(step)
        yield normalize(flipped(images, generator(0, "flip", step)), MEAN, STD)


def timm_batches(folder: Path, batch_size: int, workers: int, prefetcher: bool) -> Iterator[Tensor]:
    """An epoch by timm, of as many images: a fifth is held out here."""
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("empty"))  # its wheel knows CUDA alone
    from timm.data import ImageDataset, create_loader

    loader: Any = create_loader(
        ImageDataset(str(folder)),
        input_size=(3, 224, 224),
        batch_size=batch_size,
        is_training=True,
        use_prefetcher=prefetcher,
        scale=(AREA, 1.0),
        color_jitter=None,
        interpolation="bilinear",
        mean=MEAN,
        std=STD,
        num_workers=workers,
        device=torch.device("cpu"),
        pin_memory=False,
        persistent_workers=False,
    )
    yield torch.empty(0)
    for images, _ in loader:
        yield images.contiguous(memory_format=torch.channels_last)  # as its train.py does, and as batches here are


def rate(batches: Iterator[Tensor], images: int) -> tuple[float, float]:
    """Images a second of the processor and of the clock, of about so many images; workers begin within it."""
    next(batches)  # what is done once is done
    before, began = spent(), time.perf_counter()
    seen = 0
    for batch in batches:
        seen += len(batch)
        if seen >= images:
            break
    del batches
    took = time.perf_counter() - began
    return seen / (spent() - before), seen / took


def spent() -> float:
    """Processor seconds of this process and of those that it has waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


def speed(folder: Path, batch_size: int, workers: int) -> list[tuple[object, ...]]:
    """Rows: a loader, images a second and core, images a second, and how much faster this package is."""
    count = sum(len(files) for _, _, files in os.walk(folder))
    loaders: dict[str, Callable[[], Iterator[Tensor]]] = {
        "fpnas": lambda: own_batches(folder, batch_size, workers),
        "timm, normalizing in the workers": lambda: timm_batches(folder, batch_size, workers, prefetcher=False),
        "timm, with its prefetcher": lambda: timm_batches(folder, batch_size, workers, prefetcher=True),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in loaders}
    for _ in range(TURNS):
        for name, begin in loaders.items():
            found[name].append(rate(begin(), count))
    of_core = {name: median(core for core, _ in rates) for name, rates in found.items()}
    return [
        (
            name,
            f"{of_core[name]:.1f}",
            f"{median(clock for _, clock in rates):.1f}",
            f"{of_core['fpnas'] / of_core[name]:.2f}",
        )
        for name, rates in found.items()
    ]


def index(count: int) -> tuple[float, float, float]:
    """Seconds to open so many files, MiB at most, and MiB before."""
    with tempfile.TemporaryDirectory(dir=data_folder("streaming"), ignore_cleanup_errors=True) as made:
        sources: list[Path] = []
        for number in range(100):
            sources.append(Path(made) / f"{number}.source")
            Image.new("RGB", (48, 48), (number, 2 * number, 90)).save(sources[-1], "JPEG")
        for part, share in (("train", count * 96 // 100), ("val", count * 4 // 100)):
            for number in range(share):
                folder = Path(made) / "images" / part / f"n{number % 1000:08}"
                if number < 1000:
                    folder.mkdir(parents=True)
                os.link(sources[number % 100], folder / f"n{number % 1000:08}_{number:07}.JPEG")
        forget_peak()
        before, began = resident(), time.perf_counter()
        data = load(Path(made) / "images", 224, stream=True, workers=0)
        len(data.digest)
        return time.perf_counter() - began, peak(), before


def memory(folder: Path, steps: int, workers: int) -> list[tuple[object, ...]]:
    """Rows: a step, MiB of this process and of its largest worker."""
    train = load(folder, 224, stream=True, workers=workers).train
    order = EpochOrder(len(train), 4, 0, "train")
    take = Batches(train, "cpu").steps(order.batch, Crops(0, AREA), order.epoch)
    marks = {round(steps * share) for share in (0.02, 0.25, 0.5, 0.75, 1)}
    rows: list[tuple[object, ...]] = []
    for step in range(steps):
        take(step)
        if step + 1 in marks:
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            held = [int(Path(f"/proc/{child}/statm").read_text().split()[1]) for child in children]
            largest = max(held, default=0) * resource.getpagesize() / 2**20
            rows.append((f"{step + 1:,}", f"{resident():.0f}", f"{largest:.0f}"))
    return rows


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000, help="photographs that are made")
    parser.add_argument("--index", type=int, default=1_300_000, help="files of the index")
    parser.add_argument("--steps", type=int, default=50_000, help="of 4 images, over which memory is watched")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="where the photographs are; by default in the cache")
    parser.add_argument("--remove", action="store_true", help="remove the photographs at the end")
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    data_folder("streaming").mkdir(parents=True, exist_ok=True)
    seconds, most, before = index(given.index)
    folder = given.folder or data_folder("streaming") / f"{given.images}"
    make(folder, given.images)
    sizes = [file.stat().st_size for file in folder.glob("*/*.jpg")]
    rows = speed(folder, given.batch_size, given.workers)
    held = memory(folder, given.steps, given.workers)
    if given.remove:
        shutil.rmtree(folder)
    facts = (
        f"{len(sizes):,} JPEGs of {sum(sizes) / len(sizes) / 1000:.0f} kB on average; {given.workers} workers; "
        f"batches of {given.batch_size}; medians of {TURNS} turns.",
        "Goals: 1.2 times timm's images a second and core; an index in 20 s and 1,024 MiB; flat memory.",
    )
    lines = head("Streamed photographs", *facts)
    lines += table(("loader", "images a second and core", "images a second", "fpnas is faster by"), rows)
    lines += ["", f"An index of {given.index:,} files, with mean and digest: {seconds:.1f} s, {most:.0f} MiB at most, "]
    lines[-1] += f"of which {before:.0f} before."
    lines += ["", *table(("after steps", "MiB of the main process", "of the largest worker"), held)]
    print("\n".join(lines))
    write(given.results, lines)


if __name__ == "__main__":
    main()

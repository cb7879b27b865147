"""200,000 photographs in class folders: how long the list, the split and the pixels with their statistics take.

    python benchmarks/many_images.py --results benchmarks/results/many_images_cpu2_DATE.md

The folder is made: squares of 6 x 6 random colours as JPEGs of 48 x 48 pixels, in 100 classes. Seconds are those of the
processor, which other programs on the machine change little; memory is the process's peak.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from resident import forget_peak, peak, resident
from results_file import head, table, write

from fpnas.data import load, stratified_split
from fpnas.data.readers import class_folder
from fpnas.data.request import Request

CLASSES = 100


def make(folder: Path, count: int) -> None:
    """`count` different images."""
    rng = np.random.default_rng(0)
    for label in range(CLASSES):
        place = folder / f"class{label:03}"
        place.mkdir()
        pixels = rng.integers(0, 256, (count // CLASSES, 6, 6, 3), dtype=np.uint8)
        for number, image in enumerate(pixels.repeat(8, axis=1).repeat(8, axis=2)):
            Image.fromarray(image).save(place / f"{number:05}.jpg", quality=75)


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=32, help="pixels a side")
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as made:
        make(Path(made), given.images)
        forget_peak()
        before, began = resident(), time.process_time()
        labels = class_folder.read(Request(made)).train.labels
        listed = time.process_time()
        stratified_split(labels, 0.2, seed=0)
        cut = time.process_time()
        data = load(made, given.size, workers=0)
        loaded = time.process_time()
    pixels = (len(data.train) + len(data.heldout)) * data.train.inputs[0].numel() / 2**20
    rows = [
        ("the list of files and labels", f"{listed - began:.1f} s"),
        ("the split", f"{cut - listed:.2f} s"),
        ("all of `load`: list, split, decoding, near-duplicates, statistics", f"{loaded - cut:.1f} s"),
        ("memory at most", f"{peak():.0f} MiB, of which {before:.0f} before and {pixels:.0f} the pixels"),
    ]
    lines = head(f"{given.images:,} images of {given.size} pixels", "Goal: under 60 s and 1,024 MiB.")
    lines += table(("what", "takes"), rows)
    print("\n".join(lines))
    write(given.results, lines)


if __name__ == "__main__":
    main()

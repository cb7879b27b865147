"""`fpnas evaluate`: a trained network on held-out images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fpnas.cli.options import (
    Classes,
    ClassesSeed,
    DataOfRun,
    Device,
    HowToFit,
    ImageSize,
    Json,
    SkipCorrupt,
    Threads,
    Workers,
    data_flags,
    refuse_other_images,
    set_up,
    warn_of_data,
)
from fpnas.cli.output import print_json
from fpnas.evaluators.fit import check_fit
from fpnas.runner import load, read_arch, trained_folder
from fpnas.train import accuracy


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A training's folder, or a search's with train/ in it.")],
    data: DataOfRun = None,
    image_size: ImageSize = None,
    fit: HowToFit = None,
    classes: Classes = None,
    classes_seed: ClassesSeed = None,
    skip_corrupt: SkipCorrupt = False,
    workers: Workers = None,
    threads: Threads = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Judge a trained network on the held-out images."""
    device, _ = set_up(threads, device)
    record = read_arch(trained_folder(run))
    size = record.image_size if image_size is None else image_size
    images = data_flags(trained_folder(run), data, size, fit, classes, classes_seed, skip_corrupt).load(workers)
    refuse_other_images(images, record, trained_folder(run))
    warn_of_data(images, workers, skip_corrupt)
    check_fit(record.supernet(), images)
    found = accuracy(load(run).to(device), images, device=device)
    if as_json:
        print_json(
            {
                "accuracy": found.accuracy,
                "loss": found.loss,
                "num_images": found.num_images,
                "data": images.name,
                "heldout_from": images.heldout_from,
            }
        )
        return
    print(
        f"{found.accuracy:.2f} % of {found.num_images} held-out images ({images.heldout_from}), loss {found.loss:.4f}"
    )

"""`fpnas evaluate`: a trained network on held-out images."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fpnas.cli.options import DataOfRun, Images, Json, Machine, set_up
from fpnas.cli.output import print_json
from fpnas.evaluators.fit import check_fit
from fpnas.runner import load, read_arch, trained_folder
from fpnas.runner.files import refuse_other_images
from fpnas.text import percent
from fpnas.train import accuracy


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A training's folder, or a search's with train/ in it.")],
    data: DataOfRun = None,
    as_json: Json = False,
    *,
    images: Images,
    machine: Machine,
) -> None:
    """Judge a trained network on the held-out images."""
    device, _ = set_up(machine.threads, machine.device)
    folder = trained_folder(run)
    record = read_arch(folder)
    loaded = images.of_run(folder, data, record.image_size).load(images.workers)
    refuse_other_images(loaded, record, folder)
    images.warn(loaded)
    check_fit(record.supernet(), loaded)
    if record.images is not None:  # as the network knows its images, whatever these have for a mean
        loaded = loaded.normalized_by((record.images.mean, record.images.std))
    found = accuracy(load(run).to(device), loaded, device=device)
    if as_json:
        print_json({**asdict(found), "data": loaded.name, "heldout_from": loaded.heldout_from})
        return
    judged = f"{found.num_images} held-out images ({loaded.heldout_from})"
    print(f"{percent(found.accuracy)} of {judged}, loss {found.loss:.4f}")

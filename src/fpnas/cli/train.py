"""`fpnas train`: a found architecture on all training images, from scratch or from the supernet's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fpnas.cli.options import (
    BatchSize,
    CheckpointEvery,
    Data,
    Device,
    ImageSize,
    Log,
    MaxSteps,
    Precision,
    Seed,
    Threads,
    Workers,
    load_data,
    refuse_other_images,
    set_up,
    warn_of_workers,
)
from fpnas.cli.quantity import short
from fpnas.cost import Flops, Params
from fpnas.evaluators.supernet import check_fit
from fpnas.runner import read_arch, run, supernet_weights, trackers_by_name
from fpnas.runner.folder import read_json
from fpnas.train import Training, from_scratch, inherited


def train(
    arch: Annotated[Path, typer.Argument(metavar="RUN|ARCH.json", help="A search's folder, or an arch.json.")],
    data: Data,
    out: Annotated[Path | None, typer.Option("--out", help="The training's folder; RUN/train by default.")] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Length of the training.")] = 30,
    inherit: Annotated[bool, typer.Option("--inherit", help="Start from the search's weights.")] = False,
    lr: Annotated[float, typer.Option("--lr", help="Greatest learning rate.")] = 0.2,
    seed: Seed = 0,
    image_size: ImageSize = None,
    batch_size: BatchSize = 128,
    max_steps: MaxSteps = None,
    checkpoint_every: CheckpointEvery = 100,
    workers: Workers = 0,
    threads: Threads = None,
    device: Device = "auto",
    precision: Precision = "auto",
    log: Log = None,
) -> None:
    """Train a found architecture and judge it on the held-out images."""
    device, precision = set_up(threads, device, precision)
    callbacks = trackers_by_name(log)
    record = read_arch(arch)
    images = load_data(data, record.image_size if image_size is None else image_size)
    if inherit:
        refuse_other_images(images, record)
    supernet = record.supernet(images.num_classes, images.in_channels, "cpu" if inherit else "meta")
    check_fit(supernet, images)
    if inherit:
        supernet.load_state_dict(supernet_weights(arch))
        network = inherited(supernet, record.arch, images)
    else:
        network = from_scratch(supernet, record.arch, seed)
    shape = (images.in_channels, images.image_size, images.image_size)
    flops, params = Flops(supernet, shape).of(record.arch), Params(supernet, shape).of(record.arch)
    facts = {
        "space": record.space,
        "image_size": images.image_size,
        "in_channels": images.in_channels,
        "num_classes": images.num_classes,
        "choices": dict(record.arch),
        "flops": flops,
        "params": params,
    }
    job = Training(
        network,
        facts,
        images,
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        inherit=inherit,
        seed=seed,
        device=device,
        precision=precision,
    )
    folder = out or (arch if arch.is_dir() else arch.parent) / "train"
    warn_of_workers(workers)
    found = run(job, folder, max_steps=max_steps, checkpoint_every=checkpoint_every, callbacks=callbacks)
    seconds = read_json(folder / "result.json")["seconds"]
    print(
        f"{found.accuracy:.2f} % of {found.num_images} held-out images ({images.heldout_from}), "
        f"{short(flops)} FLOPs, {short(params)} parameters, {seconds:.0f} s; files in {folder}"
    )

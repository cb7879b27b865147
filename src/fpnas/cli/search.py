"""`fpnas search`: finds an architecture, in a folder that it can go on in."""

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
    set_up,
    warn_of_workers,
)
from fpnas.cli.output import say_found
from fpnas.cli.quantity import parse_quantity
from fpnas.cost import Budget, Flops, Params
from fpnas.data import ImageData
from fpnas.elastic import Supernet
from fpnas.errors import InputError, unknown_name
from fpnas.evaluators import SupernetEvaluator
from fpnas.runner import run, trackers_by_name
from fpnas.search import methods
from fpnas.spaces import by_name


def search(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="The run's folder; where it holds this run already, it goes on.")],
    space: Annotated[str, typer.Option("--space", help="See fpnas spaces.")] = "tiny",
    method: Annotated[str, typer.Option("--method", help="fpnas.")] = "fpnas",
    target_flops: Annotated[
        str | None, typer.Option("--target-flops", help="Multiply-adds wanted, such as 3M or 2.5e6.")
    ] = None,
    target_params: Annotated[
        str | None, typer.Option("--target-params", help="Parameters wanted, such as 200k.")
    ] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Length of the search.")] = 10,
    lam: Annotated[
        float, typer.Option("--lam", min=0, help="Architectures sampled a step for each nat of entropy.")
    ] = 0.25,
    join_at: Annotated[
        float,
        typer.Option(
            "--join-at", min=0, max=1, help="Where to join the variables of a group: a fraction of the epochs."
        ),
    ] = 0.45,
    beta: Annotated[float, typer.Option("--beta", min=0, help="Weight of the cost term.")] = 0.3,
    seed: Seed = 0,
    image_size: ImageSize = None,
    batch_size: BatchSize = 64,
    max_steps: MaxSteps = None,
    checkpoint_every: CheckpointEvery = 100,
    workers: Workers = 0,
    threads: Threads = None,
    device: Device = "auto",
    precision: Precision = "auto",
    log: Log = None,
) -> None:
    """Search a space for the architecture that suits your images and your budget."""
    device, precision = set_up(threads, device, precision)
    callbacks = trackers_by_name(log)
    if method != "fpnas":
        raise unknown_name("method", method, ["fpnas"])
    images = load_data(data, image_size)
    supernet = by_name(space)(num_classes=images.num_classes, in_channels=images.in_channels, seed=seed)
    task = SupernetEvaluator(supernet, images, batch_size=batch_size, seed=seed, device=device, precision=precision)
    budget = _budget(supernet, images, target_flops, target_params, beta)
    job = methods.fpnas(task, budget, lam=lam, join_at=join_at, epochs=epochs, seed=seed)
    warn_of_workers(workers)
    run(job, out, max_steps=max_steps, checkpoint_every=checkpoint_every, callbacks=callbacks)
    say_found(out)


def _budget(
    supernet: Supernet, data: ImageData, target_flops: str | None, target_params: str | None, beta: float
) -> Budget | None:
    shape = (data.in_channels, data.image_size, data.image_size)
    if target_flops is not None and target_params is not None:
        raise InputError("one target", "--target-flops and --target-params", "give the one that matters most")
    if target_flops is not None:
        return Budget(Flops(supernet, shape), parse_quantity(target_flops, "--target-flops"), beta)
    if target_params is not None:
        return Budget(Params(supernet, shape), parse_quantity(target_params, "--target-params"), beta)
    return None

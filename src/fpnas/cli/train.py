"""`fpnas train`: a found architecture on all training images, from scratch or from the supernet's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer
from torch import nn

from fpnas import parallel
from fpnas.cli.options import (
    BatchSize,
    CheckpointEvery,
    Classes,
    ClassesSeed,
    DataOfRun,
    Device,
    HowToFit,
    ImageSize,
    Log,
    MaxSteps,
    Precision,
    RankTimeout,
    Seed,
    SkipCorrupt,
    Threads,
    Workers,
    data_flags,
    ranks,
    refuse_other_images,
    set_up,
    warn_of_data,
)
from fpnas.data import ImageData
from fpnas.evaluators.fit import check_fit
from fpnas.runner import inherit_weights, load, read_arch, run, trackers_by_name, trained_folder
from fpnas.runner.folder import read_json
from fpnas.text import short
from fpnas.train import AtSize, Recipe, Training, from_scratch, inherited
from fpnas.train.recipe import Crop, OptimizerName

USUAL = Recipe()


def train(
    arch: Annotated[Path, typer.Argument(metavar="RUN|ARCH.json", help="A search's folder, or an arch.json.")],
    data: DataOfRun = None,
    out: Annotated[Path | None, typer.Option("--out", help="The training's folder; RUN/train by default.")] = None,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Length of the training.")] = USUAL.epochs,
    inherit: Annotated[bool, typer.Option("--inherit", help="Start from the search's weights.")] = False,
    teacher: Annotated[
        Path | None, typer.Option("--teacher", metavar="RUN", help="Learn from this trained network beside the labels.")
    ] = None,
    teacher_weight: Annotated[
        float, typer.Option("--teacher-weight", help="The teacher's share of the loss, 0 to 1.")
    ] = USUAL.teacher_weight,
    teacher_temperature: Annotated[
        float, typer.Option("--teacher-temperature", help="By which both networks' logits are divided there.")
    ] = USUAL.teacher_temperature,
    optimizer: Annotated[str, typer.Option("--opt", help="sgd or adamw.")] = USUAL.optimizer,
    lr: Annotated[
        float | None, typer.Option("--lr", help="Greatest learning rate; by default what suits the optimizer.")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option("--weight-decay", help="Not on norms and biases; by default as suits the optimizer.")
    ] = None,
    warmup: Annotated[
        float, typer.Option("--warmup", help="Share of the steps in which the learning rate rises.")
    ] = USUAL.warmup,
    label_smoothing: Annotated[
        float, typer.Option("--label-smoothing", help="Share of the target that all classes get alike.")
    ] = USUAL.label_smoothing,
    ema: Annotated[float, typer.Option("--ema", help="Decay of averaged weights, such as 0.999; 0: none.")] = USUAL.ema,
    crop: Annotated[str, typer.Option("--crop", help="none, pad, or resized (needs kornia).")] = USUAL.crop,
    crop_area: Annotated[
        float, typer.Option("--crop-area", help="Least share of the image that --crop resized leaves.")
    ] = USUAL.crop_area,
    flip: Annotated[
        bool, typer.Option("--flip/--no-flip", help="Mirror half of the images: for photographs, not for digits.")
    ] = USUAL.flip,
    randaugment: Annotated[
        int, typer.Option("--randaugment", help="Magnitude, 1 to 29 (needs kornia); 0: none.")
    ] = USUAL.randaugment,
    random_erasing: Annotated[
        float, typer.Option("--random-erasing", help="Share of images with a part erased (needs kornia).")
    ] = USUAL.random_erasing,
    mixup: Annotated[float, typer.Option("--mixup", help="Alpha, such as 0.2; 0: none.")] = USUAL.mixup,
    cutmix: Annotated[float, typer.Option("--cutmix", help="Alpha, such as 1; 0: none.")] = USUAL.cutmix,
    drop_path: Annotated[
        float, typer.Option("--drop-path", help="Probability of leaving out the last residual branch.")
    ] = USUAL.drop_path,
    seed: Seed = 0,
    image_size: ImageSize = None,
    fit: HowToFit = None,
    classes: Classes = None,
    classes_seed: ClassesSeed = None,
    skip_corrupt: SkipCorrupt = False,
    batch_size: BatchSize = USUAL.batch_size,
    max_steps: MaxSteps = None,
    checkpoint_every: CheckpointEvery = 100,
    workers: Workers = None,
    threads: Threads = None,
    device: Device = "auto",
    precision: Precision = "auto",
    rank_timeout: RankTimeout = None,
    log: Log = None,
) -> None:
    """Train a found architecture and judge it on the held-out images; several processes share it under torchrun."""
    recipe = Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=cast("OptimizerName", optimizer),
        lr=lr,
        weight_decay=weight_decay,
        warmup=warmup,
        label_smoothing=label_smoothing,
        ema=ema,
        crop=cast("Crop", crop),
        crop_area=crop_area,
        flip=flip,
        randaugment=randaugment,
        random_erasing=random_erasing,
        mixup=mixup,
        cutmix=cutmix,
        drop_path=drop_path,
        teacher_weight=teacher_weight,
        teacher_temperature=teacher_temperature,
    )
    device, precision = set_up(threads, device, precision)
    callbacks = trackers_by_name(log)
    record, home = read_arch(arch), arch if arch.is_dir() else arch.parent
    size = record.image_size if image_size is None else image_size
    wanted = data_flags(home, data, size, fit, classes, classes_seed, skip_corrupt)
    images = wanted.load(workers)
    if inherit:
        refuse_other_images(images, record, home)
    supernet = record.supernet(
        images.num_classes, images.in_channels, images.image_size, device="cpu" if inherit else "meta"
    )
    check_fit(supernet, images)
    if inherit:
        inherit_weights(supernet, home)
        network = inherited(supernet, record.arch, images)
    else:
        network = from_scratch(supernet, record.arch, seed)
    folder = out or home / _name(arch)
    warn_of_data(images, workers, skip_corrupt)
    with ranks(device, rank_timeout):
        job = Training(
            network,
            images,
            recipe=recipe,
            teacher=None if teacher is None else _teacher(teacher, images),
            inherit=inherit,
            seed=seed,
            device=device,
            precision=precision,
        )
        found = run(
            job,
            folder,
            max_steps=max_steps,
            checkpoint_every=checkpoint_every,
            facts=wanted.of_run(),
            callbacks=callbacks,
        )
        if parallel.rank() > 0:
            return
    seconds, facts = read_json(folder / "result.json")["seconds"], job.facts
    print(
        f"{found.accuracy:.2f} % of {found.num_images} held-out images ({images.heldout_from}), "
        f"{short(facts['flops'])} FLOPs, {short(facts['params'])} parameters, {seconds:.0f} s; files in {folder}"
    )


def _name(arch: Path) -> str:
    """Of the training's folder: of one of a front's networks, such as arch-20M.json, train-20M."""
    front = arch.suffix == ".json" and arch.stem.startswith("arch-")
    return arch.stem.replace("arch-", "train-", 1) if front else "train"


def _teacher(path: Path, images: ImageData) -> nn.Module:
    """The trained network of a run, which must know these classes and channels; it sees images of its own size."""
    record = read_arch(trained_folder(path))
    refuse_other_images(images, record, path)
    network = load(path)
    return network if record.image_size in (None, images.image_size) else AtSize(network, record.image_size)

"""`fpnas train`: a found architecture on all training images, from scratch or from the supernet's weights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fpnas.cli.options import DataOfRun, Images, Running, ranks, set_up
from fpnas.errors import InputError
from fpnas.runner.folder import read_json
from fpnas.runner.trackers import trackers_by_name
from fpnas.text import duration, percent, short
from fpnas.train.recipe import Recipe

if TYPE_CHECKING:
    from fpnas.train import ClassWeights

RECIPE: dict[str, Any] = {
    "epochs": typer.Option(min=1, help="Length of the training."),
    "batch_size": typer.Option(min=2, help="Images a step."),
    "teacher_weight": typer.Option(help="The teacher's share of the loss, 0 to 1."),
    "teacher_temperature": typer.Option(
        help="Temperature of the distillation loss: divides the logits of both networks."
    ),
    "optimizer": typer.Option("--opt", help="sgd or adamw."),
    "lr": typer.Option(help="Maximal learning rate; by default 0.2 for sgd, 0.004 for adamw."),
    "weight_decay": typer.Option(
        help="Weight decay, not applied to norms and biases; by default 1e-4 for sgd, 0.05 for adamw."
    ),
    "warmup": typer.Option(help="Share of the steps in which the learning rate rises."),
    "warmup_epochs": typer.Option(help="The same in epochs, instead of --warmup."),
    "label_smoothing": typer.Option(help="Share of the label that is spread over all classes."),
    "ema": typer.Option(help="Decay of averaged weights, such as 0.999; 0: none."),
    "crop": typer.Option(help="none, pad, or resized (needs kornia)."),
    "crop_area": typer.Option(help="Least share of the image that --crop resized leaves."),
    "flip": typer.Option(help="Mirror half of the images: for photographs, not for digits."),
    "randaugment": typer.Option(help="Magnitude, 1 to 29 (needs kornia); 0: none."),
    "random_erasing": typer.Option(help="Share of images with a part erased (needs kornia)."),
    "mixup": typer.Option(help="Alpha, such as 0.2; 0: none."),
    "cutmix": typer.Option(help="Alpha, such as 1; 0: none."),
    "drop_path": typer.Option(help="Probability of leaving out the last residual branch."),
}
"""A flag for each field of a recipe."""


def train(
    arch: Annotated[Path, typer.Argument(metavar="RUN|ARCH.json", help="A search's folder, or an arch.json.")],
    data: DataOfRun = None,
    out: Annotated[Path | None, typer.Option("--out", help="The training's folder; RUN/train by default.")] = None,
    inherit: Annotated[
        bool | None,
        typer.Option(
            "--inherit/--no-inherit", help="Start from the search's weights; the default after a search with --from."
        ),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option("--teacher", metavar="RUN", help="Learn from this trained network beside the labels.")
    ] = None,
    class_weights: Annotated[
        str | None,
        typer.Option(
            "--class-weights",
            metavar="balanced|FILE",
            help="Weigh the loss by class: balanced, or a JSON file of class names and weights.",
        ),
    ] = None,
    *,
    recipe: Annotated[Recipe, RECIPE],
    images: Images,
    running: Running,
) -> None:
    """Train a found architecture and judge it on the held-out images; several processes share it under torchrun."""
    from fpnas import parallel
    from fpnas.runner import read_arch, run
    from fpnas.runner.files import home_of
    from fpnas.runner.of_run import begins_with_weights, network_of, teacher_of
    from fpnas.train import Training

    device, precision = set_up(running.threads, running.device, running.precision)
    callbacks = trackers_by_name(running.log)
    record, home = read_arch(arch), home_of(arch)
    wanted = images.of_run(home, data, record.image_size)
    loaded = wanted.load(images.workers)
    folder = out or home / _name(arch)
    inherit = begins_with_weights(record, home) if inherit is None else inherit
    network = network_of(record, home, loaded, inherit=inherit, seed=running.seed)
    taught = None if teacher is None else teacher_of(teacher, loaded)
    with ranks(device, running.rank_timeout):
        job = Training(
            network,
            loaded,
            recipe=recipe,
            teacher=taught,
            class_weights=None if class_weights is None else read_class_weights(class_weights),
            inherit=inherit,
            seed=running.seed,
            device=device,
            precision=precision,
        )
        images.warn(loaded)
        found = run(
            job,
            folder,
            max_steps=running.max_steps,
            checkpoint_every=running.checkpoint_every,
            facts=wanted.of_run(),
            callbacks=callbacks,
        )
        if parallel.rank() > 0:
            return
    seconds, facts = read_json(folder / "result.json")["seconds"], job.facts
    balanced = f"balanced {percent(found.balanced_accuracy)}, " if found.differs_when_balanced else ""
    print(
        f"{percent(found.accuracy)} of {found.num_images} held-out images ({loaded.heldout_from}), {balanced}"
        f"{short(facts['flops'])} FLOPs, {short(facts['params'])} parameters, {duration(seconds)}; files in {folder}"
    )


def read_class_weights(given: str) -> ClassWeights:
    """What --class-weights asks for: the word "balanced", or what a file holds."""
    if given == "balanced":
        return "balanced"
    if not Path(given).exists():
        got = f"{given!r:.200}, which doesn't exist"
        raise InputError("balanced, or a JSON file of class names and weights", got, "check the path")
    return read_json(Path(given))


def _name(arch: Path) -> str:
    """Of the training's folder: of one of a front's networks, such as arch-20M.json, train-20M."""
    front = arch.suffix == ".json" and arch.stem.startswith("arch-")
    return arch.stem.replace("arch-", "train-", 1) if front else "train"

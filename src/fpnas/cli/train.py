"""`fpnas train`: a found architecture, or a whole network that exists, on all training images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fpnas.cli.flags import Given
from fpnas.cli.options import BY_DATA, DataOfRun, Images, Stage, ranks, set_up
from fpnas.cli.output import Chosen, resumable
from fpnas.errors import InputError
from fpnas.runner.folder import read_json
from fpnas.runner.trackers import trackers_by_name
from fpnas.text import duration, held_out, percent, short
from fpnas.train.recipe import LR_PRETRAINED, Recipe

if TYPE_CHECKING:
    from fpnas.spaces import Model
    from fpnas.train import ClassWeights

RECIPE: dict[str, Any] = {
    "epochs": typer.Option(
        min=1, show_default="30, or as many as make 2,000 steps", help="Length of the training; 300 at most by default."
    ),
    "batch_size": typer.Option(min=2, help="Images a step, of all ranks together."),
    "accumulate": typer.Option(
        min=1, help="Run a step's images in so many parts, one after the other, to need less memory."
    ),
    "sync_batch_norm": typer.Option(help="Batch norms see the images of all of torchrun's ranks, not of one."),
    "teacher_weight": typer.Option(help="The teacher's share of the loss, 0 to 1."),
    "teacher_temperature": typer.Option(
        help="Temperature of the distillation loss: divides the logits of both networks."
    ),
    "optimizer": typer.Option("--opt", help="sgd or adamw."),
    "lr": typer.Option(
        help=f"Maximal learning rate; by default 0.2 for sgd ({LR_PRETRAINED:g} for weights that were trained before, "
        "0.8 for photographs and a network of fpnas's own spaces), 0.004 for adamw."
    ),
    "weight_decay": typer.Option(
        help="Weight decay, not applied to norms and biases; by default 1e-4 for sgd, 0.05 for adamw."
    ),
    "warmup": typer.Option(help="Share of the steps in which the learning rate rises."),
    "warmup_epochs": typer.Option(help="The same in epochs, instead of --warmup."),
    "label_smoothing": typer.Option(help="Share of the label that is spread over all classes."),
    "ema": typer.Option(help="Decay of averaged weights, such as 0.999; 0: none."),
    "crop": typer.Option(show_default=BY_DATA, help="none, pad, or resized (needs kornia)."),
    "crop_area": typer.Option(help="Least share of the image that --crop resized leaves."),
    "flip": typer.Option(show_default=BY_DATA, help="Mirror half of the images: for photographs, not for digits."),
    "randaugment": typer.Option(help="Magnitude, 1 to 29 (needs kornia); 0: none."),
    "random_erasing": typer.Option(help="Share of images with a part erased (needs kornia)."),
    "mixup": typer.Option(help="Alpha, such as 0.2; 0: none."),
    "cutmix": typer.Option(help="Alpha, such as 1; 0: none."),
    "drop_path": typer.Option(help="Probability of leaving out the last residual branch."),
}
"""A flag for each field of a recipe."""


def train(
    arch: Annotated[
        Path | None, typer.Argument(metavar="RUN|ARCH.json", help="A search's folder, or an arch.json.")
    ] = None,
    data: DataOfRun = None,
    out: Annotated[Path | None, typer.Option("--out", help="The training's folder; RUN/train by default.")] = None,
    from_model: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Instead of RUN, a whole network that exists: timm/NAME, torchvision/NAME or FILE.py:FUNCTION.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights", help="Of --from: a .safetensors or .pth file, or none; by default those of the library."
        ),
    ] = None,
    inherit: Annotated[
        bool | None,
        typer.Option(
            "--inherit/--no-inherit", help="Start from the search's weights; the default after a search with --from."
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            metavar="RUN|MODEL",
            help="Learn from this trained network beside the labels: a run's, or one as --from takes it.",
        ),
    ] = None,
    teacher_weights: Annotated[
        Path | None,
        typer.Option("--teacher-weights", help="Of a --teacher as --from takes it: a .safetensors or .pth file."),
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
    recipe: Annotated[Given, Recipe, RECIPE],
    images: Images,
    running: Stage,
) -> None:
    """Train a found architecture, or a whole network, and judge it on held-out images; ranks of torchrun share it."""
    from fpnas import parallel
    from fpnas.runner import read_arch, run
    from fpnas.runner.files import home_of
    from fpnas.runner.of_run import begins_with_weights, network_of, teacher_of, whole_network
    from fpnas.train import Training, recipe_for
    from fpnas.train.suited import MOST_EPOCHS

    device, precision = set_up(running.threads, running.device, running.precision)
    callbacks = trackers_by_name(running.log)
    Recipe().with_fields({"epochs": MOST_EPOCHS, **recipe})  # what is out of range is refused before images are read
    if arch is None:
        source, folder = _whole(from_model, weights, data, out, inherit)
        size = source.image_size if images.image_size is None else images.image_size
        wanted = images.record(data, size, images.fit)
        loaded = wanted.load(images.workers)
        inherit = pretrained = source.pretrained
        space = None
        network = whole_network(source, loaded, running.seed)
    else:
        if from_model is not None or weights is not None:
            got = f"{arch} and {'--weights' if from_model is None else '--from'}"
            raise InputError("RUN, or --from MODEL with its --weights", got, "leave one of them out")
        record, home = read_arch(arch), home_of(arch)
        wanted = images.of_run(home, data, record.image_size)
        loaded = wanted.load(images.workers)
        folder = out or home / _name(arch)
        inherit = begins_with_weights(record, home) if inherit is None else inherit
        pretrained = inherit and record.pretrained
        space = None if inherit else record.space
        network = network_of(record, home, loaded, inherit=inherit, seed=running.seed)
    suited = recipe_for(loaded, space=space, **recipe)
    resolved = suited.recipe.for_pretrained() if pretrained else suited.recipe
    taught = teacher_of(teacher, network, loaded, teacher_weights)
    with ranks(device, running.rank_timeout), resumable():
        job = Training(
            network,
            loaded,
            recipe=resolved,
            teacher=taught,
            class_weights=None if class_weights is None else read_class_weights(class_weights),
            inherit=inherit,
            seed=running.seed,
            device=device,
            precision=precision,
        )
        images.warn(loaded)
        if resolved != suited.recipe and parallel.rank() == 0:
            print(f"the weights were trained before: learning rate {resolved.max_lr:g}; --lr sets another")
        found = run(
            job,
            folder,
            max_steps=running.max_steps,
            checkpoint_every=running.checkpoint_every,
            settings=None if weights in (None, "none") else {"weights": str(Path(weights).resolve())},
            facts={**wanted.of_run(), "chosen": suited.reason},
            callbacks=[*callbacks, Chosen(suited.reason)],
        )
        if parallel.rank() > 0:
            return
    seconds, facts = read_json(folder / "result.json")["seconds"], job.facts
    balanced = f"balanced {percent(found.balanced_accuracy)}, " if found.differs_when_balanced else ""
    print(
        f"{percent(found.accuracy)} of {held_out(found.num_images, loaded.heldout_from)}, {balanced}"
        f"{short(facts['flops'])} FLOPs, {short(facts['params'])} parameters, {duration(seconds)}; files in {folder}"
    )


def _whole(
    from_model: str | None, weights: str | None, data: str | None, out: Path | None, inherit: bool | None
) -> tuple[Model, Path]:
    """The network that --from names, and where its training goes.

    Raises:
        InputError: there is none, or flags don't go together.
    """
    if from_model is None:
        raise InputError("RUN|ARCH.json, or --from MODEL", "neither", "name one")
    if data is None or out is None:
        missing = " and ".join(flag for flag, value in (("--data", data), ("--out", out)) if value is None)
        raise InputError("--data and --out beside --from", f"no {missing}", "give both")
    if inherit is not None:
        fix = "leave it out; --weights none begins with fresh weights"
        raise InputError("--inherit and --no-inherit beside a search's folder", "one of them beside --from", fix)
    from fpnas.spaces import model

    return model(from_model, weights), out


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

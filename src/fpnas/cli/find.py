"""`fpnas find`: from images and a budget to a file, in one job that goes on where it was left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from fpnas.cli.flags import Given
from fpnas.cli.latency import LatencyRuntime, read_table, warn_without_use
from fpnas.cli.method_flags import MethodFlags, arguments
from fpnas.cli.model_flags import SpaceFlags
from fpnas.cli.options import BY_DATA, Data, Images, ImageSizes, Json, Running, ranks, set_up
from fpnas.cli.output import print_json, print_table, resumable
from fpnas.cli.search import METHODS, SHORT
from fpnas.cli.targets import Targets
from fpnas.cli.train import RECIPE, read_class_weights
from fpnas.errors import InputError
from fpnas.runner.trackers import trackers_by_name
from fpnas.text import counted, percent, short
from fpnas.train.recipe import Recipe

if TYPE_CHECKING:
    from fpnas.evaluators.proxy import Metric
    from fpnas.finder import Found, Row

LEFT_OUT = ("warmup", "teacher_weight", "teacher_temperature")
"""Of a training's flags: there is no teacher here, and --warmup is the search's (a training has --warmup-epochs)."""

_OF_TRAINING: dict[str, Any] = {
    **{name: option for name, option in RECIPE.items() if name not in LEFT_OUT},
    "epochs": typer.Option("--train-epochs", min=1, show_default=BY_DATA, help="Length of the training."),
    "batch_size": typer.Option("--train-batch-size", min=2, help="Images a step of the training."),
    "warmup_epochs": typer.Option(help="Epochs of the training in which the learning rate rises; by default a tenth."),
}


def find(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="The job's folder; where it holds this job already, it goes on.")],
    image_sizes: ImageSizes = None,
    latency_file: Annotated[
        Path | None, typer.Option("--latency-table", help="Of --target-ms, a table of another device.")
    ] = None,
    runtime: LatencyRuntime = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", help="For search and training together, about; --compare comes on top."),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Also train a random network of the same cost and a ready-made one."),
    ] = False,
    method: Annotated[str, typer.Option("--method", help=f"Of the search: {', '.join(METHODS)}.")] = SHORT,
    search_epochs: Annotated[
        int | None, typer.Option("--search-epochs", min=1, help="Length of the search; see --epochs of fpnas search.")
    ] = None,
    search_batch_size: Annotated[int, typer.Option("--search-batch-size", min=2, help="Images a step of it.")] = 64,
    to: Annotated[
        str | None, typer.Option("--to", help="onnx (the default where it is installed), litert, pt2 or safetensors.")
    ] = None,
    class_weights: Annotated[
        str | None, typer.Option("--class-weights", metavar="balanced|FILE", help="Of the training: see fpnas train.")
    ] = None,
    metric: Annotated[
        str, typer.Option("--metric", help="Networks are compared by it: accuracy or balanced_accuracy.")
    ] = "accuracy",
    as_json: Json = False,
    *,
    targets: Targets,
    reading: Images,
    space_flags: SpaceFlags,
    method_flags: MethodFlags,
    recipe: Annotated[Given, Recipe, _OF_TRAINING],
    running: Running,
) -> None:
    """Find a network for your images and budget: search, training, file, model card and report in one go.

    --data, --out and a target are enough; the rest has defaults. Called again, the same command goes on where it was
    stopped. The flags below are first those of the whole job and of its images, then those of the space, the search,
    the training and the machine.

    fpnas find --data photos --target-flops 8M --minutes 30 --out runs/photos
    """
    from fpnas import parallel
    from fpnas.finder import find as find_network

    device, precision = set_up(running.threads, running.device, running.precision)
    given = targets.by_kind()
    if any(len(values) > 1 for values in given.values()):
        raise InputError("one target of a kind", "several", "take fpnas search for a network for each")
    options = arguments(method, method_flags)  # what is wrong with flags is said before images are read
    weights = None if class_weights is None else read_class_weights(class_weights)
    table = None if latency_file is None else read_table(latency_file, runtime)
    Recipe().with_fields(recipe)
    if targets.target_ms is None:
        warn_without_use(None, latency_file, "--target-ms", runtime)
    sizes = reading.sizes(image_sizes, method, SHORT)
    source = space_flags.model()
    size = source.image_size if source is not None and reading.image_size is None else reading.image_size
    size = size if sizes is None else sizes[-1]
    wanted = reading.record(data, size, reading.fit)
    images = wanted.load(reading.workers)
    reading.warn(images)
    with ranks(device, running.rank_timeout), resumable():
        found = find_network(
            images,
            out=out,
            image_sizes=sizes,
            **{f"target_{kind}": value for kind, (value,) in given.items()},
            memory_precision=targets.memory,
            latency=table,
            runtime=runtime,
            space=space_flags.space or "auto" if source is None else source,
            smaller=None if source is None else space_flags.smaller,
            sort=space_flags.importance,
            tune_epochs=space_flags.tune_epochs,
            method=method,
            method_options=options,
            search_epochs=search_epochs,
            class_weights=weights,
            metric=cast("Metric", metric),
            minutes=minutes,
            compare=compare,
            to=to,
            search_batch_size=search_batch_size,
            seed=running.seed,
            device=device,
            precision=precision,
            checkpoint_every=running.checkpoint_every,
            origin=wanted.of_run(),
            callbacks=trackers_by_name(running.log),
            **recipe,
        )
        if parallel.rank() == 0:
            _say(found, out, as_json)
            if to is None and not as_json and found.file.suffix == ".safetensors":
                print("for an ONNX file: pip install 'fpnas[onnx]', then the same command again")


def _say(found: Found, out: Path, as_json: bool) -> None:
    """The table, and where things are."""
    if as_json:
        places = {"file": str(found.file), "card": str(found.card), "report": str(found.report)}
        print_json({"rows": [row.to_json() for row in found.rows], **places})
        return
    head = ["", "accuracy", "95 % interval", "balanced", "FLOPs", "parameters", "ms an image", "bytes"]
    print_table("", head, [_cells(row) for row in found.rows])
    judged = counted(found.accuracy.num_images, "held-out image")
    print(f"judged on {judged}; milliseconds on one thread of this machine")
    print(f"network {found.file}, model card {found.card}, report {found.report}")
    print(f"next: fpnas predict {found.file} IMAGE; fpnas evaluate {out}")


def _cells(row: Row) -> list[str]:
    low, high = row.accuracy_interval
    return [
        row.name,
        percent(row.accuracy),
        f"{low:.1f} to {percent(high, 1)}",
        percent(row.balanced_accuracy),
        short(row.flops),
        short(row.params),
        f"{row.ms:.3f}",
        short(row.bytes),
    ]

"""`find`: search, training, file, card and report, one after the other, each where it was left.

The folder is that of the search, so that every other command takes it as one: the training is in train/, the file with
its card in network/, what it is compared with in compare/. What was decided before the search, such as its length
within so many minutes, is in its run.json as "find"; how long the training is, in that of the training.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from fpnas.cost import LatencyTable, Precision, known_sizes
from fpnas.data import ImageData
from fpnas.elastic import Importance
from fpnas.errors import InputError, RunFolderError
from fpnas.evaluators.proxy import Metric
from fpnas.finder.choice import space_for
from fpnas.finder.progress import Display
from fpnas.finder.rows import Found, format_here
from fpnas.finder.stages import COMPARED, FOUND, WHOLE, Make, Stages
from fpnas.runner import Callback, read_arch
from fpnas.runner.data_record import DataRecord
from fpnas.runner.folder import read_json
from fpnas.search import methods
from fpnas.spaces import SPACES, Model, Smaller, by_name
from fpnas.train import ClassWeights, Recipe, Suited, recipe_for


def find(
    data: str | Path | ImageData,
    *,
    out: str | Path,
    image_size: int | None = None,
    image_sizes: Sequence[int] | None = None,
    target_flops: float | None = None,
    target_params: float | None = None,
    target_ms: float | None = None,
    target_ram: float | None = None,
    target_flash: float | None = None,
    memory_precision: Precision = "int8",
    space: str | Make | Model = "auto",
    smaller: Smaller | None = None,
    sort: Importance | None = None,
    tune_epochs: int | None = None,
    method: str = methods.SHORT,
    method_options: Mapping[str, Any] | None = None,
    search_epochs: int | None = None,
    minutes: float | None = None,
    compare: bool = False,
    to: str | None = None,
    recipe: Recipe | None = None,
    class_weights: ClassWeights | None = None,
    metric: Metric = "accuracy",
    search_batch_size: int = 64,
    latency: LatencyTable | None = None,
    runtime: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "fp32",
    checkpoint_every: int = 100,
    origin: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    **fields: Any,
) -> Found:
    """Finds a network for images and a budget, trains it, and writes it as a file, with a model card and a report.

    Called again it goes on where it was left, and ends in the same files; what has ended stays as it is.

    Args:
        data: what `fpnas.data.load` takes, or images that were loaded.
        out: the folder of it all.
        image_size: pixels a side, of images that are read here; by default their own, at most 224.
        image_sizes: instead, two or more among which the search chooses together with the network, such as
            (48, 64, 96), with the default method. Images that were loaded have the largest.
        target_flops: the most multiply-adds; of several targets all are met.
        target_params: the most parameters.
        target_ms: the most milliseconds of a forward pass of one image on `device`.
        target_ram: the most bytes of activations of one image in the exported network, see `Ram`.
        target_flash: the most bytes of its weights, see `Flash`.
        memory_precision: "int8" or "float32": what these two count.
        space: "auto", a space's name, a network to search in, such as `spaces.model("timm/lcnet_050")`, or a function
            that makes a supernet from num_classes, in_channels, image_size and seed.
        smaller: what of a network may be smaller.
        sort: what the channels of a network are sorted by, see `Model.supernet`.
        tune_epochs: in which the whole network learns the images before the search, see `runner.tuned`; 0: none.
        method: of the search, by its name in `methods.METHODS`.
        method_options: arguments of that method.
        search_epochs: length of the search: looks at K networks each, or epochs of shared weights.
        minutes: for all of it but what `compare` adds. The lengths of search and training follow from the pace of this
            machine, measured at the start of each.
        compare: also trains a random network of the same cost and a ready-made one, as long as the one found.
        to: "onnx", "litert", "pt2" or "safetensors"; by default the first where its packages are installed, else the
            last.
        recipe: of the training; by default what of its fields isn't given suits the data (`train.recipe_for`).
        class_weights: of the training, see `Training`.
        metric: that networks are compared by, see `ProxyEvaluator`; of the default method.
        search_batch_size: images a step of the search.
        latency: another device's table, for `target_ms`.
        runtime: where milliseconds are measured, see `latency_table`; on the CPU by default "onnxruntime", where the
            extra `onnx` is installed.
        seed: of everything random.
        device: "cpu" or "cuda".
        precision: "fp32" or "bf16".
        checkpoint_every: steps between checkpoints.
        origin: what run.json says of images that were loaded, see `DataRecord.of_run`.
        callbacks: hear of each step of the search and of the training.
        fields: of the recipe, such as `lr` and `batch_size`; `crop` and `flip` hold for short trainings as well.

    Raises:
        InputError: a target that can't be met, too few minutes, or arguments that don't go together.
        RunFolderError: the folder holds something else.

    Example:
        >>> found = fpnas.find("photos", image_size=64, target_flops=8e6, out="runs/photos", minutes=30)
        >>> found.accuracy.accuracy, found.file
        (79.2, PosixPath('runs/photos/network/network.onnx'))
    """
    begun = time.perf_counter()
    if minutes is not None and not 0 < minutes < math.inf:
        raise InputError("minutes above 0", f"{minutes:g}", "give the time that you have, such as 30")
    if minutes is not None and (search_epochs is not None or "epochs" in fields or recipe is not None):
        raise InputError("minutes, or lengths of search and training", "both", "leave one of them out")
    if metric != "accuracy" and method != methods.SHORT:
        raise InputError(f"method {methods.SHORT!r}, for a metric", method, "leave the metric out")
    if image_sizes is not None and (image_size is not None or method != methods.SHORT):
        got = f"method {method!r}" if image_size is None else "both"
        raise InputError(f"image_size, or image_sizes with method {methods.SHORT!r}", got, "leave image_sizes out")
    sizes = None if image_sizes is None else known_sizes(image_sizes)
    if image_size is not None and isinstance(data, ImageData):
        raise InputError("images to be read, for an image size", "images that were loaded", "load them at that size")
    targets = {
        "flops": target_flops,
        "params": target_params,
        "ms": target_ms,
        "ram": target_ram,
        "flash": target_flash,
    }
    place, to = Path(out), format_here(to)
    known = _known(place, minutes)
    size = image_size if sizes is None else sizes[-1]
    images, origin = (data, dict(origin or {})) if isinstance(data, ImageData) else _read(data, size)
    if not isinstance(space, Model) and (smaller, sort, tune_epochs) != (None, None, None):
        raise InputError("a network as space, for smaller, sort and tune_epochs", str(space)[:80], "leave them out")
    name, make, why = _space(known.get("space", space) if space == "auto" else space, images, target_flops)
    tunes = isinstance(space, Model) and bool(space.pretrained if tune_epochs is None else tune_epochs)
    job = Stages(
        place=place,
        images=images,
        image_sizes=sizes,
        origin=origin,
        make=make,
        targets={kind: most for kind, most in targets.items() if most is not None},
        memory=memory_precision,
        latency=latency,
        runtime=runtime,
        method=method,
        options=dict(method_options or {}),
        batch_size=search_batch_size,
        where={"seed": seed, "device": device, "precision": precision},
        metric=metric,
        class_weights=class_weights,
        suited=Suited(recipe.with_fields(fields), "") if recipe is not None else _recipe(images, name, minutes, fields),
        as_given={name: fields[name] for name in ("crop", "flip") if name in fields},
        running={"checkpoint_every": checkpoint_every, "callbacks": callbacks},
        display=Display([*([WHOLE] if tunes else ()), "search", FOUND, *(COMPARED if compare else ())]),
    )
    if isinstance(space, Model):
        job.search_inside(space, smaller, sort, tune_epochs if tunes else 0, minutes)
    search = job.planned(known, search_epochs, minutes, time.perf_counter() - begun)
    job.say(why, search)
    job.expect(search, minutes)
    job.search(search, minutes)
    record = read_arch(place)
    job.take_size(record)
    if minutes is not None:
        job.fit_training(record, minutes, time.perf_counter() - begun)
    accuracy = job.train(FOUND, record)
    if compare:
        job.train_rivals(record)
    return job.files(accuracy, to)


def _known(place: Path, minutes: float | None) -> dict[str, Any]:
    """What a run in that folder decided before its search; {} where there is none."""
    file = place / "run.json"
    if not file.exists():
        return {}
    known = read_json(file).get("find")
    if known is None:
        raise RunFolderError(
            "a new folder, or that of an earlier find", f"another run in {place}", "give another --out"
        )
    if known.get("minutes") != minutes:
        given, before = ("none" if each is None else f"{each:g}" for each in (minutes, known.get("minutes")))
        got = f"{given} where the run in {place} has {before}"
        raise RunFolderError("the minutes of the run that the folder holds", got, "give the same, or another --out")
    return cast("dict[str, Any]", known)


def _recipe(images: ImageData, space: str | None, minutes: float | None, fields: Mapping[str, Any]) -> Suited:
    """What suits data and space; within minutes for a usual length, whatever it will be."""
    if minutes is None:
        return recipe_for(images, space=space, **fields)
    recipe, reason = recipe_for(images, space=space, epochs=Recipe.epochs, **fields)
    return Suited(recipe, reason.partition(";")[0])


def _read(data: str | Path, image_size: int | None) -> tuple[ImageData, dict[str, Any]]:
    """Images, and what run.json says of them."""
    record = DataRecord(str(data), image_size)
    return record.load(), record.of_run()


def _space(
    space: str | Make | Model, images: ImageData, target_flops: float | None
) -> tuple[str | None, Make, str | None]:
    """Its name where it has one, what makes the supernet, and the reason where it was chosen here."""
    if isinstance(space, Model):
        return None, space.supernet, None  # until it is tuned
    if not isinstance(space, str):
        return next((name for name, known in SPACES.items() if known is space), None), space, None
    name, why = space_for(images, target_flops) if space == "auto" else (space, None)
    return name, by_name(name), why

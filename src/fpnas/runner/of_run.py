"""`training_of`: from the folder of a search to a training of what it found."""

from __future__ import annotations

import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from fpnas.data import ImageData
from fpnas.evaluators.fit import check_fit
from fpnas.runner.checkpoint import has_checkpoint
from fpnas.runner.data_record import DataRecord, data_of_run
from fpnas.runner.files import (
    ArchRecord,
    home_of,
    inherit_weights,
    network_of_record,
    read_arch,
    refuse_other_images,
    run_settings,
    trained_folder,
)
from fpnas.train import AtSize, Recipe, Training, from_scratch, inherited, recipe_for


def training_of(
    run: str | Path,
    data: ImageData | None = None,
    *,
    teacher: str | Path | None = None,
    inherit: bool | None = None,
    seed: int = 0,
    **options: Any,
) -> Training:
    """A training of the network that a search found, for `fpnas.run`.

    Args:
        run: the folder of a search, or an arch.json.
        data: the images; by default those that the search's run.json names.
        teacher: the folder of a training to distil from, which must know the same classes.
        inherit: start from the weights that the network had in the search, instead of fresh ones; by default where the
            search began with those of a trained network (`spaces.model`).
        seed: of everything random.
        options: of `Training`: `recipe`, `device`, `precision`, and fields of a recipe, such as `epochs`. Without
            `recipe` the other fields are those that suit the data (`train.recipe_for`).

    Raises:
        RunFolderError: there is no architecture in `run`, or no weights to inherit.
        InputError: nothing says which data, they don't suit the network, or an option is out of range.

    Example:
        >>> training = fpnas.training_of("runs/first", epochs=30)
        >>> fpnas.run(training, "runs/first/train").accuracy
    """
    record, home = read_arch(run), home_of(Path(run))
    origin: dict[str, Any] = {}
    if data is None:
        known = data_of_run(home, DataRecord("", record.image_size))
        data, origin = known.load(), known.of_run()
    inherit = begins_with_weights(record, home) if inherit is None else inherit
    network = network_of(record, home, data, inherit=inherit, seed=seed)
    taught = None if teacher is None else teacher_of(Path(teacher), data)
    if options.get("recipe") is None:
        own = {field.name: options.pop(field.name) for field in fields(Recipe) if field.name in options}
        options["recipe"] = recipe_for(data, **own).recipe
    training = Training(network, data, teacher=taught, inherit=inherit, seed=seed, **options)
    training.origin = origin
    return training


def begins_with_weights(record: ArchRecord, home: Path) -> bool:
    """Whether a training inherits weights unless it is told: after a search that began with a trained network's."""
    return record.pretrained and has_checkpoint(home)


def network_of(record: ArchRecord, home: Path, data: ImageData, *, inherit: bool, seed: int) -> nn.Module:
    """The network of an arch.json in the folder `home`, new or with the search's weights; warns of other data.

    Raises:
        RunFolderError: there are no weights to inherit.
        InputError: the data don't suit the network.
    """
    if inherit:
        refuse_other_images(data, record, home)
    else:
        _warn_of_other_data(data, home)
    device = "cpu" if inherit else "meta"
    supernet = record.supernet(data.num_classes, data.in_channels, data.image_size, device=device)
    check_fit(supernet, data)
    if not inherit:
        return from_scratch(supernet, record.arch, seed)
    inherit_weights(supernet, home)
    return inherited(supernet, record.arch, data)


def _warn_of_other_data(data: ImageData, home: Path) -> None:
    """A training on other data than those of the search is allowed; that it is one shall not go unnoticed."""
    then, now = run_settings(home), data.settings()
    if "data_digest" not in then:
        return
    same_form = all(then.get(name) == now[name] for name in ("image_size", "fit"))
    if then.get("data_classes") != now["data_classes"]:
        what = f"of other classes, {then.get('data_classes')!s:.80}; here they are {now['data_classes']!s:.80}"
    elif then.get("data") != now["data"]:
        what = f"of other data, {then.get('data')!s:.80}; here they are {now['data']!s:.80}"
    elif same_form and then["data_digest"] != now["data_digest"]:
        what = "of other images, or with others held out"
    else:
        return
    warnings.warn(f"the search in {home} was {what}: for these another network may be better", stacklevel=4)


def teacher_of(path: Path, images: ImageData) -> nn.Module:
    """The trained network of a run, to distil from; it sees images of its own size."""
    record = read_arch(trained_folder(path))
    refuse_other_images(images, record, path)
    network = network_of_record(record, path)
    return network if record.image_size in (None, images.image_size) else AtSize(network, record.image_size)

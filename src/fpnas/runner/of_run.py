"""`training_of`: from the folder of a search, or from a network that exists, to a training."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from torch import nn

from fpnas.data import ImageData, Normalization
from fpnas.errors import InputError
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
from fpnas.spaces import Model, is_file, is_model, model
from fpnas.spaces.heads import num_logits, with_channels
from fpnas.spaces.models import of_channels
from fpnas.train import AtSize, Recipe, Renormalized, Training, from_scratch, inherited, recipe_for


def training_of(
    run: str | Path | Model,
    data: ImageData | None = None,
    *,
    teacher: str | Path | None = None,
    teacher_weights: str | Path | None = None,
    inherit: bool | None = None,
    seed: int = 0,
    recipe: Recipe | None = None,
    **options: Any,
) -> Training:
    """A training of the network that a search found, or of a whole network that exists, for `fpnas.run`.

    Args:
        run: the folder of a search, or an arch.json; or a network, see `spaces.model`.
        data: the images; by default those that the search's run.json names.
        teacher: to distil from: the folder of a training, or a network by its name, as `spaces.model` takes it, or as
            FILE.py:FUNCTION. It must know the same classes; it sees images of its own size and normalization.
        teacher_weights: a file, for a teacher by its name; see `spaces.model`.
        inherit: start from the weights that the network had in the search, instead of fresh ones; by default where the
            search began with those of a trained network (`spaces.model`).
        seed: of everything random.
        recipe: how; by default fields that aren't given suit the data (`train.recipe_for`). Weights that were trained
            before have a rate of their own by default, see `Recipe.for_pretrained`.
        options: of `Training`: `device`, `precision`, and fields of a recipe, such as `epochs`.

    Raises:
        RunFolderError: there is no architecture in `run`, or no weights to inherit.
        InputError: nothing says which data, they don't suit network or teacher, or an option is out of range.

    Example:
        >>> training = fpnas.training_of("runs/first", epochs=30)
        >>> fpnas.run(training, "runs/first/train").accuracy
    """
    origin: dict[str, Any] = {}
    if isinstance(run, Model):
        if data is None or inherit is not None:
            got = "no data" if data is None else "inherit"
            raise InputError("data, and no inherit, beside a network", got, "the network says which weights it has")
        inherit = pretrained = run.pretrained
        space = None
        network = whole_network(run, data, seed)
    else:
        record, home = read_arch(run), home_of(Path(run))
        if data is None:
            known = data_of_run(home, DataRecord("", record.image_size))
            data, origin = known.load(), known.of_run()
        inherit = begins_with_weights(record, home) if inherit is None else inherit
        pretrained = inherit and record.pretrained
        space = None if inherit else record.space
        network = network_of(record, home, data, inherit=inherit, seed=seed)
    fields = {name: options.pop(name) for name in Recipe.names() if name in options}
    recipe = recipe_for(data, space=space, **fields).recipe if recipe is None else recipe.with_fields(fields)
    recipe = recipe.for_pretrained() if pretrained else recipe
    taught = teacher_of(teacher, network, data, teacher_weights)
    training = Training(network, data, recipe=recipe, teacher=taught, inherit=inherit, seed=seed, **options)
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


def whole_network(found: Model, data: ImageData, seed: int) -> nn.Module:
    """The network itself, with a head for the data's classes; with weights drawn anew where its own are of no worth.

    It is an architecture of the space that `Model.supernet` makes, so its files are those of a found network.
    """
    supernet = found.supernet(data.num_classes, data.in_channels, data.image_size, seed=seed)
    check_fit(supernet, data)
    arch = supernet.given
    assert arch is not None, "it was made of a network"
    network = supernet.extract(arch) if found.pretrained else from_scratch(supernet, arch, seed)
    network.meta["pretrained"] = False  # of a search's weights: there was none
    return network


def teacher_of(
    source: str | Path | None, pupil: nn.Module, images: ImageData, weights: str | Path | None = None
) -> nn.Module | None:
    """The network to distil from: a run's, or one by its name; None where `source` is.

    It sees the images of `pupil`, in its own size and normalization. `weights` are for one by its name.

    Raises:
        RunFolderError: there is no trained network in the folder.
        InputError: it doesn't know the classes of `images`, or can't be had.
    """
    name = str(source)
    by_name = source is not None and not Path(source).exists() and (is_file(name) or is_model(name))
    if weights is not None and (not by_name or str(weights) == "none"):
        expected = "a file of weights beside a teacher that is timm/NAME, torchvision/NAME or FILE.py:FUNCTION"
        raise InputError(expected, f"{str(weights)!r:.100} beside {name!r:.100}", "leave the weights out")
    if source is None:
        return None
    if by_name:
        network, size, normalization = _model_that_knows(name, images, weights)
    else:
        record = read_arch(trained_folder(source))
        refuse_other_images(images, record, Path(source))
        network, size = network_of_record(record, source), record.image_size
        normalization = record.images and (record.images.mean, record.images.std)
    if size not in (None, images.image_size):
        network = AtSize(network, size)
    seen = images.normalized_by(getattr(pupil, "meta", {}).get("normalization"))
    given = seen.mean, seen.std
    return network if normalization in (None, given) else Renormalized(network, given, normalization)


def _model_that_knows(
    source: str, images: ImageData, weights: str | Path | None
) -> tuple[nn.Module, int | None, Normalization | None]:
    """A network by its name whose logits are as many as the classes; its size, px, and its normalization."""
    found = model(source, weights)
    network = with_channels(found.module, images.in_channels)
    side = found.image_size or images.image_size
    logits = num_logits(network, (images.in_channels, side, side), source)
    if logits != images.num_classes:
        expected, got = f"a teacher of the {images.num_classes} classes", f"{source} with {logits} logits"
        train = f"fpnas train --from {source} --data DATA --out runs/teacher"
        raise InputError(expected, got, f"train it on them first ({train}), then give --teacher runs/teacher")
    normalization = found.normalization and of_channels(found.normalization, images.in_channels)
    return network, found.image_size, normalization

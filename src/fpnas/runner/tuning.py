"""`tuned`: a network that exists, trained on the data for a few epochs before a search narrows it.

So that channels are sorted, and short trainings begin, with weights that know the data. What that gives, and where it
doesn't pay: docs/pretrained.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fpnas.data import EpochOrder, ImageData, stratified_split
from fpnas.evaluators.proxy import HELD_BACK
from fpnas.runner.folder import refuse_before
from fpnas.runner.runner import run
from fpnas.spaces import Model
from fpnas.spaces.heads import with_channels, with_classes
from fpnas.spaces.models import of_channels, weights_digest
from fpnas.train import Training, recipe_for

FOLDER = "whole"
"""Where the training goes on, in the folder of the search."""
MOST_EPOCHS, ENOUGH_STEPS = 6, 200
"""By default as many epochs as make so many steps, at most six."""
BATCH_SIZE = 64


def tuned(
    model: Model, data: ImageData, folder: str | Path, *, how: Mapping[str, Any] | None = None, **running: Any
) -> Model:
    """The network with a head for the data's classes, all of its weights trained for a few epochs.

    It learns from the images that short trainings learn from, so those that judge networks are new to it.

    Args:
        model: the network, see `spaces.model`.
        data: the images.
        folder: of the search; the training is the run in its folder whole/, where it goes on.
        how: what `tuning_of` takes.
        running: what `run` takes.

    Raises:
        RunFolderError: the folder holds something else.
        InputError: the network doesn't take such images, or a number is out of range.

    Example:
        >>> lcnet = fpnas.spaces.model("timm/lcnet_050")
        >>> supernet = tuned(lcnet, images, "runs/small").supernet(images.num_classes, data=images)
    """
    refuse_before(Path(folder), FOLDER)
    training = tuning_of(model, data, **(how or {}))
    begun_with = {"weights": weights_digest(model.module)}
    run(training, Path(folder) / FOLDER, settings=begun_with, **running)
    return replace(model, module=training.trained.cpu().eval())


def tuning_of(
    model: Model,
    data: ImageData,
    *,
    epochs: int | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "fp32",
    recipe: Mapping[str, Any] | None = None,
) -> Training:
    """The training that `tuned` runs.

    Args:
        model: the network.
        data: the images.
        epochs: by default as many as make 200 steps, at most 6.
        seed: of the head, the split and the order of the images.
        device: "cpu" or "cuda".
        precision: "fp32" or "bf16".
        recipe: fields of it, such as `crop`; those that aren't given suit the data.
    """
    shape = data.input_shape
    module = with_classes(with_channels(model.module, shape[0]), data.num_classes, shape, seed, model.name)
    part, _ = stratified_split(data.train.labels, HELD_BACK, seed, data.train.groups)
    normalization = model.normalization and of_channels(model.normalization, shape[0])
    learnt = replace(data.normalized_by(normalization), train=data.train.subset(part))
    steps = EpochOrder(len(part), BATCH_SIZE, seed, "train").steps_per_epoch
    epochs = epochs or min(MOST_EPOCHS, math.ceil(ENOUGH_STEPS / steps))
    fields: dict[str, Any] = {**(recipe or {}), "epochs": epochs, "batch_size": BATCH_SIZE}
    chosen = recipe_for(learnt, **fields).recipe.for_pretrained()
    where: dict[str, Any] = {"seed": seed, "device": device, "precision": precision}
    return Training(module, learnt, recipe=chosen, inherit=True, **where)

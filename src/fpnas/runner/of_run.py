"""`training_of`: from the folder of a search to a training of what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from fpnas.data import ImageData
from fpnas.evaluators.fit import check_fit
from fpnas.runner.checkpoint import has_checkpoint
from fpnas.runner.data_record import DataRecord, data_of_run
from fpnas.runner.files import home_of, inherit_weights, load, read_arch, refuse_other_images, trained_folder
from fpnas.train import AtSize, Training, from_scratch, inherited


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
        options: of `Training`: `recipe`, `device`, `precision`, and fields of a recipe, such as `epochs`.

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
    if inherit is None:
        inherit = record.pretrained and has_checkpoint(home)
    if inherit:
        refuse_other_images(data, record, home)
    device = "cpu" if inherit else "meta"
    supernet = record.supernet(data.num_classes, data.in_channels, data.image_size, device=device)
    check_fit(supernet, data)
    if inherit:
        inherit_weights(supernet, home)
        network: nn.Module = inherited(supernet, record.arch, data)
    else:
        network = from_scratch(supernet, record.arch, seed)
    taught = None if teacher is None else _teacher(Path(teacher), data)
    training = Training(network, data, teacher=taught, inherit=inherit, seed=seed, **options)
    training.origin = origin
    return training


def _teacher(path: Path, images: ImageData) -> nn.Module:
    """The trained network of a run; it sees images of its own size."""
    record = read_arch(trained_folder(path))
    refuse_other_images(images, record, path)
    network = load(path)
    return network if record.image_size in (None, images.image_size) else AtSize(network, record.image_size)

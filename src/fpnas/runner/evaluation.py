"""`evaluate`: the trained network of a run on held-out images, and what is left of that in its folder."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from fpnas.data import ImageData
from fpnas.errors import RunFolderError
from fpnas.evaluators.fit import check_fit
from fpnas.runner.data_record import DataRecord, data_of_run
from fpnas.runner.files import network_of_record, read_arch, refuse_other_images, run_settings, trained_folder
from fpnas.runner.folder import finite, write_whole
from fpnas.train import Accuracy, accuracy, evaluation_record

EVALUATION = "evaluation.json"
"""In a training's folder: what its network does with the held-out images, for reports and model cards."""


def evaluate(run: str | Path, data: ImageData | None = None, *, device: str = "cpu") -> Accuracy:
    """The trained network of a run on held-out images: accuracy, also balanced and by class, and its worst mistakes.

    On the data of its training it also writes evaluation.json into the training's folder, as the training does when it
    ends; with other data it leaves the folder as it is.

    Args:
        run: the folder of a training, of a search with train/ in it, or an exported .safetensors.
        data: by default those that the run's run.json names.
        device: where it runs.

    Raises:
        RunFolderError: there is no trained network.
        InputError: nothing says which data, or they don't suit the network.

    Example:
        >>> found = fpnas.evaluate("runs/photos")
        >>> found.accuracy, found.balanced_accuracy
        (79.21, 76.91)
    """
    folder = trained_folder(run)
    record = read_arch(folder)
    if data is None:
        data = data_of_run(folder, DataRecord("", record.image_size)).load()
    refuse_other_images(data, record, folder)
    check_fit(record.as_recorded, data)
    if record.images is not None:  # as the network knows its images, whatever the mean of these is
        data = data.normalized_by((record.images.mean, record.images.std))
    found = accuracy(network_of_record(record, run).to(device), data, device=device)
    if Path(run).suffix != ".safetensors" and run_settings(folder).get("data_digest") == data.digest:
        try:
            write_whole(folder / EVALUATION, json.dumps(finite(evaluation_record(found, data))).encode())
        except RunFolderError as error:
            warnings.warn(f"{EVALUATION} wasn't written: {error}", stacklevel=2)
    return found

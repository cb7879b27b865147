"""Which images a run is of: run.json says it, so that what comes later needs no flags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fpnas.data import ImageData, load
from fpnas.errors import InputError
from fpnas.runner.folder import read_json


@dataclass(frozen=True)
class DataRecord:
    """The arguments of `fpnas.data.load`, as "data" in run.json; None where the default holds.

    Held-out images never depend on a run's seed: a training must hold out what its search did.
    """

    data: str
    image_size: int | None = None
    fit: str | None = None
    classes: int | None = None
    classes_seed: int | None = None
    skip_corrupt: bool = False
    split_by: str | None = None
    stream: bool = False

    def of_run(self) -> dict[str, Any]:
        """For run.json: a path is absolute there, so that the images are found from anywhere."""
        there = Path(self.data)
        split_by = None if self.split_by is None else str(Path(self.split_by).resolve())
        record = {**asdict(self), "data": str(there.resolve()) if there.exists() else self.data, "split_by": split_by}
        return {"data": record}

    def load(self, workers: int | None = None) -> ImageData:
        """The data set, downloaded where its name stands for a download and it isn't here."""
        return load(
            self.data,
            self.image_size,
            download=True,
            fit=self.fit or "crop",
            classes=self.classes,
            classes_seed=self.classes_seed or 0,
            workers=workers,
            skip_corrupt=self.skip_corrupt,
            split_by=self.split_by,
            stream=self.stream or None,
        )


def data_of_run(run: Path, given: DataRecord) -> DataRecord:
    """What was given, and where that names no data, those of the run's own run.json.

    Raises:
        InputError: neither says which data.
    """
    if given.data:
        return given
    file = run / "run.json"
    try:
        said = read_json(file).get("data") if file.exists() else None
        known = TypeAdapter(DataRecord).validate_json(json.dumps(said), strict=True)
    except ValidationError:
        raise InputError("data", f"none, and {run} doesn't name any", "give --data") from None
    own = {name: value for name, value in asdict(given).items() if value is not None and value is not False}
    return replace(known, **{**own, "data": known.data})


def at_size(images: ImageData, origin: Mapping[str, Any], size: int) -> tuple[ImageData, dict[str, Any]]:
    """The images at another size, as later commands have them, and what run.json says of these: read anew where
    `origin` says from where, else resized."""
    if size == images.image_size or origin.get("data") is None:
        return images.resized(size), dict(origin)
    record = replace(TypeAdapter(DataRecord).validate_python(origin["data"]), image_size=size)
    return record.load(), {**origin, **record.of_run()}

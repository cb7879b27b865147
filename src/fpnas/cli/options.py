"""Flags that several commands share, and what they mean for the machine."""

from __future__ import annotations

import json
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from pydantic import TypeAdapter, ValidationError

from fpnas import parallel
from fpnas.data import ImageData, load
from fpnas.errors import InputError, unknown_name
from fpnas.runner import ArchRecord, run_settings
from fpnas.runner.folder import read_json

Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="fashion-mnist, digits, hf:NAME, an .npz, or a folder: of class folders, or of parquet files.",
    ),
]
DataOfRun = Annotated[
    str | None,
    typer.Option("--data", help="As in `fpnas search`; by default the data of the run, as run.json has them."),
]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", help="Pixels a side; the data's own by default, at most 224.")
]
HowToFit = Annotated[
    str | None, typer.Option("--fit", help="crop (the default) or stretch: what becomes of images that aren't square.")
]
Classes = Annotated[int | None, typer.Option("--classes", min=2, help="Take so many of the data's classes, at random.")]
ClassesSeed = Annotated[int | None, typer.Option("--classes-seed", min=0, max=2**31 - 1, help="Decides which classes.")]
SkipCorrupt = Annotated[
    bool, typer.Option("--skip-corrupt", help="Leave out images that can't be read, instead of refusing them.")
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=2, help="Images a step.")]
MaxSteps = Annotated[
    int | None, typer.Option("--max-steps", min=1, help="End after so many steps, counted from the run's first.")
]
CheckpointEvery = Annotated[int, typer.Option("--checkpoint-every", min=1, help="Steps between checkpoints.")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=0, max=256, help="Threads that decode images; one a core by default.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, max=1024, help="CPU threads; torch's own number by default.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Precision = Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16; auto is bf16 on a GPU.")]
RankTimeout = Annotated[
    float | None,
    typer.Option("--rank-timeout", min=1, help="Seconds that torchrun's ranks wait for each other; by default 1800."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Of everything random.")]
Log = Annotated[
    list[str] | None,
    typer.Option(
        "--log", help="tensorboard, wandb, mlflow, trackio or none; may be repeated. By default tensorboard, if there."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

_NAMED = 20


def set_up(threads: int | None, device: str, precision: str = "auto") -> tuple[str, str]:
    """Sets the number of threads and resolves device and precision.

    Raises:
        InputError: an unknown device or precision, or one that this machine lacks.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if device not in ("auto", "cpu", "cuda"):
        raise unknown_name("device", device, ("auto", "cpu", "cuda"))
    if precision not in ("auto", "fp32", "bf16"):
        raise unknown_name("precision", precision, ("auto", "fp32", "bf16"))
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("a device that this machine has", "cuda", "use --device cpu")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "auto":
        precision = "bf16" if device == "cuda" else "fp32"
    return device, precision


@contextmanager
def ranks(device: str, timeout: float | None) -> Generator[None]:
    """Within it, the processes that torchrun started are ranks of one job; a timeout without them is warned about."""
    with parallel.ranks(device, parallel.TIMEOUT if timeout is None else timeout):
        if timeout is not None and parallel.world_size() == 1:
            warnings.warn("--rank-timeout has no effect on one process", stacklevel=3)
        yield


@dataclass(frozen=True)
class DataFlags:
    """Which images, and what becomes of them. Written to run.json, so that later commands on the run need no flags."""

    data: str
    image_size: int | None
    fit: str | None
    classes: int | None
    classes_seed: int | None
    skip_corrupt: bool

    def of_run(self) -> dict[str, Any]:
        """For run.json: a path is absolute there, so that the images are found from anywhere."""
        there = Path(self.data)
        return {"data": {**asdict(self), "data": str(there.resolve()) if there.exists() else self.data}}

    def load(self, workers: int | None) -> ImageData:
        """The data set, downloaded where its name stands for a download and it isn't here.

        Held-out images never depend on a run's seed: a training must hold out what its search did.
        """
        return load(
            self.data,
            self.image_size,
            download=True,
            fit=self.fit or "crop",
            classes=self.classes,
            classes_seed=self.classes_seed or 0,
            workers=workers,
            skip_corrupt=self.skip_corrupt,
        )


def data_flags(
    run: Path,
    data: str | None,
    image_size: int | None,
    fit: str | None,
    classes: int | None,
    classes_seed: int | None,
    skip_corrupt: bool,
) -> DataFlags:
    """The flags given, and where --data isn't, what the run's own run.json says.

    Raises:
        InputError: neither says which data.
    """
    given = DataFlags(data or "", image_size, fit, classes, classes_seed, skip_corrupt)
    if data is not None:
        return given
    file = run / "run.json"
    try:
        said = read_json(file).get("data") if file.exists() else None
        known = TypeAdapter(DataFlags).validate_json(json.dumps(said), strict=True)
    except ValidationError:
        raise InputError("data", f"none, and {run} doesn't name any", "give --data") from None
    own = {name: value for name, value in asdict(given).items() if value is not None and value is not False}
    return replace(known, **{**own, "data": known.data})


def warn_of_data(images: ImageData, workers: int | None, skip_corrupt: bool) -> None:
    """Names the images that were left out, and says of flags that they had nothing to do."""
    if images.skipped is None:
        flags = [flag for flag, given in (("--workers", workers), ("--skip-corrupt", skip_corrupt)) if given]
        if flags:
            verb = "has" if len(flags) == 1 else "have"
            warnings.warn(f"{' and '.join(flags)} {verb} no effect on data that needs no decoding", stacklevel=2)
    elif images.skipped:
        names = ", ".join(images.skipped[:_NAMED]) + f" and {len(images.skipped) - _NAMED} more" * (
            len(images.skipped) > _NAMED
        )
        warnings.warn(f"left out {len(images.skipped)} images that can't be read: {names}", stacklevel=2)


def refuse_other_images(images: ImageData, record: ArchRecord, run: Path) -> None:
    """`InputError` where trained or inherited weights, of the folder `run`, would meet other classes or channels."""
    if (images.num_classes, images.in_channels) != (record.num_classes, record.in_channels):
        expected = f"images of {record.num_classes} classes and {record.in_channels} channels, as the weights know"
        got = f"{images.num_classes} classes and {images.in_channels} channels"
        raise InputError(expected, got, "use the data that they were trained on")
    known = run_settings(run).get("data_classes", list(images.classes))
    if known != list(images.classes):
        expected, got = f"the classes that the weights know ({known!s:.100})", f"{list(images.classes)!s:.100}"
        raise InputError(expected, got, "use the data, --classes and --classes-seed that they were trained with")

"""Flags that several commands share, in groups, and what they mean for the machine."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fpnas.errors import InputError, unknown_name

if TYPE_CHECKING:
    from fpnas.data import ImageData
    from fpnas.runner.data_record import DataRecord

Data = Annotated[
    str,
    typer.Option(
        "--data",
        help="fashion-mnist, digits, hf:NAME, an .npz, a CSV of (file, label), or a folder: of class folders, of tar "
        "or of parquet files.",
    ),
]
DataOfRun = Annotated[
    str | None,
    typer.Option("--data", help="As in `fpnas search`; by default the data of the run, as run.json has them."),
]
ImageSize = Annotated[
    int | None, typer.Option("--image-size", help="Pixels a side; the data's own by default, at most 224.")
]
ImageSizes = Annotated[
    str | None,
    typer.Option(
        "--image-sizes",
        metavar="PX,PX,...",
        help="Instead of --image-size: the search chooses among these, such as 48,64,96, together with the network.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

BY_DATA = "chosen by the data"
"""What the help says where a default depends on them."""

_NAMED = 20


@dataclass(frozen=True)
class Reading:
    """Flags of commands that read images."""

    classes: Annotated[
        int | None, typer.Option("--classes", min=2, help="Use only this many of the data's classes, chosen at random.")
    ] = None
    classes_seed: Annotated[
        int | None, typer.Option("--classes-seed", min=0, max=2**31 - 1, help="Decides which classes.")
    ] = None
    skip_corrupt: Annotated[
        bool, typer.Option("--skip-corrupt", help="Leave out images that can't be read, instead of refusing them.")
    ] = False
    split_by: Annotated[
        Path | None,
        typer.Option(
            "--split-by",
            metavar="FILE",
            help="A CSV of (image, group): images of one group are never on both sides of a split.",
        ),
    ] = None
    stream: Annotated[
        bool,
        typer.Option("--stream", help="Decode images whenever they are used; by default beyond 2 GiB, decoded."),
    ] = False
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=0, max=256, help="Threads or processes that decode; one a core by default."),
    ] = None

    def record(self, data: str | None, image_size: int | None, fit: str | None) -> DataRecord:
        """What is asked for."""
        from fpnas.runner.data_record import DataRecord

        split_by = None if self.split_by is None else str(self.split_by)
        of_all = self.classes, self.classes_seed, self.skip_corrupt, split_by, self.stream
        return DataRecord(data or "", image_size, fit, *of_all)

    def warn(self, images: ImageData) -> None:
        """Names the images that were left out, and says of flags that they had nothing to do."""
        if images.skipped is None:
            given = {"--workers": self.workers, "--skip-corrupt": self.skip_corrupt, "--stream": self.stream}
            flags = [flag for flag, value in given.items() if value]
            if flags:
                verb = "has" if len(flags) == 1 else "have"
                warnings.warn(f"{' and '.join(flags)} {verb} no effect on data that needs no decoding", stacklevel=2)
        elif images.skipped:
            more = len(images.skipped) - _NAMED
            names = ", ".join(images.skipped[:_NAMED]) + (f" and {more} more" if more > 0 else "")
            warnings.warn(f"left out {len(images.skipped)} images that can't be read: {names}", stacklevel=2)


@dataclass(frozen=True)
class Images(Reading):
    """And of those that choose how large the images are."""

    image_size: ImageSize = None
    fit: Annotated[
        str | None,
        typer.Option("--fit", help="crop (the default) or stretch: how images become square."),
    ] = None

    def sizes(self, given: str | None, method: str, short: str) -> tuple[int, ...] | None:
        """Those of --image-sizes, rising; None where it isn't `given`.

        Raises:
            InputError: they aren't whole numbers, or have no use beside other flags.
        """
        from fpnas.cost import known_sizes

        if given is None:
            return None
        if self.image_size is not None:
            raise InputError("--image-size or --image-sizes", "both", "leave one of them out")
        if method != short:
            raise InputError(f"--method {short}, for --image-sizes", method, "give one --image-size")
        try:
            sizes = [int(part) for part in given.split(",")]
        except ValueError:
            raise InputError("sizes in pixels such as 48,64,96", repr(given), "correct --image-sizes") from None
        return known_sizes(sizes)

    def of_run(self, run: Path, data: str | None, image_size: int | None) -> DataRecord:
        """The data given, or those of the run's run.json with what else is given; `image_size` where none is."""
        from fpnas.runner.data_record import data_of_run

        size = image_size if self.image_size is None else self.image_size
        return data_of_run(run, self.record(data, size, self.fit))


@dataclass(frozen=True)
class Machine:
    """Flags of what computes."""

    threads: Annotated[
        int | None, typer.Option("--threads", min=1, max=1024, help="CPU threads; torch's own number by default.")
    ] = None
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto"


@dataclass(frozen=True)
class Running(Machine):
    """Flags of what runs for long."""

    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1, help="Seed of all random numbers.")] = 0
    precision: Annotated[str, typer.Option("--precision", help="auto, fp32 or bf16; auto is bf16 on a GPU.")] = "auto"
    checkpoint_every: Annotated[int, typer.Option("--checkpoint-every", min=1, help="Steps between checkpoints.")] = 100
    rank_timeout: Annotated[
        float | None,
        typer.Option(
            "--rank-timeout", min=1, help="Seconds that torchrun's ranks wait for each other; by default 1800."
        ),
    ] = None
    log: Annotated[
        list[str] | None,
        typer.Option(
            "--log",
            help="tensorboard, wandb, mlflow, trackio or none; may be repeated. By default tensorboard, if installed.",
        ),
    ] = None


@dataclass(frozen=True)
class Stage(Running):
    """Flags of a search and of a training."""

    max_steps: Annotated[
        int | None, typer.Option("--max-steps", min=1, help="Stop when the run has taken this many steps in all.")
    ] = None


def set_up(threads: int | None, device: str, precision: str = "auto") -> tuple[str, str]:
    """Sets the number of threads and resolves device and precision.

    Raises:
        InputError: an unknown device or precision, or a device that this machine lacks.
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    for kind, value, known in (
        ("device", device, ("auto", "cpu", "cuda")),
        ("precision", precision, ("auto", "fp32", "bf16")),
    ):
        if value not in known:
            raise unknown_name(kind, value, known)
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
    from fpnas import parallel

    with parallel.ranks(device, parallel.TIMEOUT if timeout is None else timeout):
        if timeout is not None and parallel.world_size() == 1:
            warnings.warn("--rank-timeout has no effect on one process", stacklevel=3)
        yield

"""A row of the table that `find` ends with: a trained network, the file that was written of it, and what it does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fpnas.data import ImageData
from fpnas.errors import RunFolderError, unknown_name
from fpnas.runner import export
from fpnas.runner.evaluation import EVALUATION
from fpnas.runner.folder import read_json
from fpnas.runner.ship import FORMATS
from fpnas.shipping import litert_file, onnx
from fpnas.space import Arch
from fpnas.train import Accuracy


@dataclass(frozen=True)
class Row:
    """A trained network and its file.

    Args:
        name: what it is.
        accuracy: on the held-out images, in per cent.
        accuracy_interval: of 95 %, by Wilson.
        balanced_accuracy: the mean of the classes' recalls.
        balanced_accuracy_interval: of 95 %; None where a class has no images.
        flops: multiply-adds.
        params: parameters.
        ms: of one image by itself, one thread of this machine, in the runtime of the file; the median.
        bytes: of the file.
        file: where it lies.
    """

    name: str
    accuracy: float
    accuracy_interval: tuple[float, float]
    balanced_accuracy: float
    balanced_accuracy_interval: tuple[float, float] | None
    flops: int
    params: int
    ms: float
    bytes: int
    file: Path

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "file": str(self.file)}


@dataclass(frozen=True)
class Found:
    """What a job found.

    Args:
        arch: the architecture.
        accuracy: of its trained network on the held-out images.
        rows: the table: the network found, then what it was compared with.
        file: the exported network.
        card: its model card.
        report: the page.
    """

    arch: Arch
    accuracy: Accuracy
    rows: tuple[Row, ...]
    file: Path
    card: Path
    report: Path


def format_here(asked: str | None) -> str:
    """The format asked for; else ONNX where its packages are installed, else safetensors.

    Raises:
        InputError: it is none, or its packages are missing.
    """
    if asked is None:
        return "onnx" if onnx.installed() else "safetensors"
    if asked not in FORMATS or asked == "c":
        raise unknown_name("format", asked, [name for name in FORMATS if name != "c"])
    if asked == "litert":
        litert_file.needed("litert_torch", otherwise=", or take --to onnx")
    if asked == "onnx" and not onnx.installed():
        onnx.needed(*onnx.PACKAGES, otherwise=", or take --to safetensors or pt2")
    return asked


def written(name: str, training: Path, folder: Path, images: ImageData, to: str) -> Row:
    """Exports the network of a training's folder into `folder`, unless it lies there already; its row.

    Raises:
        InputError: a package for the format is missing.
    """
    file = folder / f"network{FORMATS[to][0]}"
    facts_file = folder / (f"{file.name}.json" if to != "safetensors" else "arch.json")
    if not (file.exists() and facts_file.exists()):  # the network is written last
        export(training, to, file, data=images, overwrite=True)
    facts, found = read_json(facts_file), read_json(training / EVALUATION)
    try:
        measured = facts["measured"]["files"]["float"]
        return Row(
            name,
            found["accuracy"],
            tuple(found["accuracy_interval"]),
            found["balanced_accuracy"],
            None if found["balanced_accuracy_interval"] is None else tuple(found["balanced_accuracy_interval"]),
            facts["flops"],
            facts["params"],
            measured["ms_per_image"],
            facts["bytes"],
            file,
        )
    except (KeyError, TypeError) as error:
        got = f"{facts_file} and {EVALUATION} without {error}"
        raise RunFolderError("the files of a whole export and evaluation", got, f"delete {folder}") from None

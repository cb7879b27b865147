"""`fpnas predict`: images in, classes out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fpnas.cli.options import Json
from fpnas.cli.output import print_json, printable
from fpnas.text import percent

if TYPE_CHECKING:
    from fpnas.runner.prediction import Guess


def predict(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="The folder of a run, or an exported .onnx, .tflite or .safetensors."),
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Classes of each image.")] = 3,
    as_json: Json = False,
) -> None:
    """Name the most probable classes of images."""
    from fpnas.runner import predict as predict_run

    predictions = predict_run(run, images, top=top)
    if as_json:
        print_json([{"image": each.image, "classes": list(map(_as_json, each.classes))} for each in predictions])
        return
    for each in predictions:
        words = [f"{printable(guess.name)} {percent(100 * guess.probability, 1)}" for guess in each.classes]
        print(f"{printable(each.image)}: {', '.join(words)}")


def _as_json(guess: Guess) -> dict[str, Any]:
    return {"class": guess.name, "label": guess.label, "probability": guess.probability}

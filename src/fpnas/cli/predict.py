"""`fpnas predict`: images in, classes out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fpnas.cli.options import Json
from fpnas.cli.output import print_json, printable
from fpnas.runner import predict as predict_run


def predict(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="The folder of a run, or an exported .onnx or .safetensors."),
    ],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Classes of each image.")] = 3,
    as_json: Json = False,
) -> None:
    """Name the most probable classes of images."""
    predictions = predict_run(run, images, top=top)
    if as_json:
        print_json(
            [
                {
                    "image": prediction.image,
                    "classes": [
                        {"class": guess.name, "label": guess.label, "probability": guess.probability}
                        for guess in prediction.classes
                    ],
                }
                for prediction in predictions
            ]
        )
        return
    for prediction in predictions:
        words = ", ".join(f"{printable(guess.name)} {100 * guess.probability:.1f} %" for guess in prediction.classes)
        print(f"{printable(prediction.image)}: {words}")

"""`export`: a run's trained network as a file for deployment, with its facts and a model card beside it.

`fpnas.shipping` makes and checks the file, `measure` its accuracy and time. Here is what surrounds them:
what a run's folder tells, and files that appear whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fpnas.cost import layer_costs, used_memory
from fpnas.data import EpochOrder, ImageData, ImageSpec
from fpnas.errors import InputError, RunFolderError, unknown_name
from fpnas.runner.evaluation import EVALUATION
from fpnas.runner.files import ArchRecord, network_of_record, read_arch, trained_folder
from fpnas.runner.folder import finite, read_json, write_whole
from fpnas.runner.measure import measured
from fpnas.shipping import (
    Shipped,
    model_card,
    to_c,
    to_int8,
    to_litert,
    to_litert_int8,
    to_onnx,
    to_pt2,
    to_safetensors,
)
from fpnas.shipping.litert import operators
from fpnas.shipping.onnx import OPSET

FORMATS: dict[str, tuple[str, ...]] = {
    "onnx": (".onnx",),
    "litert": (".tflite",),
    "c": (".h", ".c"),
    "pt2": (".pt2",),
    "safetensors": (".safetensors",),
}
"""How their files may end."""
INT8 = ("onnx", "litert", "c")
RUNTIMES = {"onnx": "onnxruntime", "litert": "ai-edge-litert", "c": "ai-edge-litert", "pt2": "torch"}
"""The package that measures a file of a format; torch, the others."""
CALIBRATION_IMAGES = 512
"""Of the training: half of them give ranges, half choose among methods."""


@dataclass(frozen=True)
class Exported:
    """What an export left.

    Attributes:
        file: the network.
        facts_file: its facts as JSON; an arch.json as well.
        card: the model card, Markdown.
        facts: as in `facts_file`.
    """

    file: Path
    facts_file: Path
    card: Path
    facts: dict[str, Any]


def export(
    run: str | Path,
    to: str,
    out: str | Path,
    *,
    data: ImageData | None = None,
    int8: bool = False,
    overwrite: bool = False,
) -> Exported:
    """Writes the trained network of a run as `out`, and beside it its facts and a model card.

    The facts are `out`.json, and arch.json for safetensors, so that `fpnas.load` takes it; the card is `out`.md.

    Args:
        run: the folder of a training, of a search with train/ in it, or an exported .safetensors.
        to: one of `FORMATS`. "c" is the int8 LiteRT file as C source, for TensorFlow Lite Micro.
        out: the file; ends as `FORMATS` says.
        data: where given, accuracy on its held-out images and time are measured. int8 needs it, to calibrate with its
            training images, and so does a run of a version of fpnas that didn't record the normalization.
        int8: quantise after training; ONNX, and LiteRT, of which "c" always is one.
        overwrite: replace files that are there; never those of a run.

    Raises:
        InputError: a file is there, something doesn't fit, or a package is missing.
        RunFolderError: there is no trained network, or a file can't be written.
    """
    file = Path(out)
    if to not in FORMATS:
        raise unknown_name("format", to, FORMATS)
    if file.suffix not in FORMATS[to]:
        expected = f"a file that ends in {' or '.join(FORMATS[to])}"
        raise InputError(expected, f"{str(out)!r:.200}", "rename it, or choose another format")
    if int8 and to not in INT8:
        raise InputError("--to onnx, litert or c with --int8", f"--to {to}", "leave --int8 out")
    int8 = int8 or to == "c"
    precision = "int8" if int8 else "float32"
    if int8 and data is None:
        raise InputError("data to calibrate int8 with", "none", "give --data")
    names = file.name + ".json" if to != "safetensors" else "arch.json", file.name + ".md"
    facts_file, card = (file.with_name(name) for name in names)
    _refuse_to_replace((file, facts_file, card), overwrite)

    folder = trained_folder(run)
    record = read_arch(folder)
    spec = _spec(record, data, folder)
    network = network_of_record(record, run)
    facts = _facts(record, spec, folder)
    files, quantisation = _files(network, to, spec, facts, data if int8 else None)
    content = list(files.values())[-1].content
    of_format: dict[str, Any] = {"opset": OPSET} if to == "onnx" else {}
    if to in ("litert", "c"):
        of_format = {"operators": operators(content)}
    if to == "c":
        notes = f"{file.name}: an int8 LiteRT file for TensorFlow Lite Micro, by fpnas\nsee {card.name}"
        content = to_c(content, file.stem, notes).encode()
    facts = {
        "format": to,
        "file": file.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "int8": int8,
        "precision": precision,
        "runtime": RUNTIMES.get(to, "torch"),
        **used_memory(record.supernet(spec.num_classes), record.arch, spec.shape).get(precision, {}),
        **of_format,
        **quantisation,
        "difference": files["float"].difference,
        **facts,
        **spec.to_json(),
    }
    if data is not None:
        facts["measured"] = measured(files, data, spec, RUNTIMES.get(to, "torch"))
    written = {
        facts_file: (json.dumps(finite(facts), indent=2) + "\n").encode(),
        card: model_card(facts).encode(),
        file: content,
    }
    _write(written)
    return Exported(file, facts_file, card, facts)


def _files(
    network: nn.Module, to: str, spec: ImageSpec, facts: Mapping[str, Any], calibration: ImageData | None
) -> tuple[dict[str, Shipped], dict[str, Any]]:
    """The network as a file, "float", and with data to calibrate with also as "int8"; and the facts of that."""
    if to == "onnx":
        exact = to_onnx(network, spec, facts)
    elif to in ("litert", "c"):
        exact = to_litert(network, spec)
    elif to == "pt2":
        exact = to_pt2(network, spec, facts)
    else:
        exact = to_safetensors(network, spec)
    if calibration is None:
        return {"float": exact}, {}
    # Training images alone: the held-out ones are to say how good the result is.
    train = calibration.train
    chosen = EpochOrder(len(train), CALIBRATION_IMAGES, 0, "calibration").batch(0)
    images = spec.normalize(train.subset(chosen).inputs)
    if to == "onnx":
        made = to_int8(exact.content, spec, images, facts)
    else:
        made = to_litert_int8(exact.content, spec, images)
    return {"float": exact, "int8": made.shipped}, {"quantisation": made.facts}


def _write(contents: Mapping[Path, bytes]) -> None:
    """Writes files in order, the network last: where that is, all is. If one can't be written, no new one stays."""
    new = [path for path in contents if not path.exists()]
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
    except BaseException:
        for path in new:
            path.unlink(missing_ok=True)
        raise


def _refuse_to_replace(files: tuple[Path, ...], overwrite: bool) -> None:
    if (files[0].parent / "run.json").exists() and files[1].name == "arch.json":
        raise InputError("a folder that is no run's, for an arch.json", str(files[0].parent), "choose another --out")
    for file in files:
        if os.path.lexists(file) and (not overwrite or file.is_dir()):
            raise InputError("a new file", f"{file}, which exists", "choose another --out, or give --overwrite")


def _spec(record: ArchRecord, data: ImageData | None, folder: Path) -> ImageSpec:
    """What the run's network takes: as the run recorded it, else as the data has it."""
    if data is not None:
        have = data.num_classes, data.in_channels, data.image_size
        want = record.num_classes or have[0], record.in_channels, record.image_size or have[2]
        if have != want:
            expected, got = (f"{n} classes, {c} channels and {size} pixels a side" for n, c, size in (want, have))
            raise InputError(f"images of {expected}, as the network knows", got, "give the data it was trained on")
    if record.images is not None:
        if data is not None and data.classes != record.images.classes:
            expected, got = (f"{list(names)!s:.80}" for names in (record.images.classes, data.classes))
            raise InputError(f"data of the network's classes, {expected}", got, "give the data it was trained on")
        return record.images
    if data is None:
        got = f"{folder} without"
        raise RunFolderError("a run that recorded its images' normalization", got, "give --data, as in training")
    return ImageSpec.of(data)


def _facts(record: ArchRecord, spec: ImageSpec, folder: Path) -> dict[str, Any]:
    """What is known of the network, plain JSON: of its architecture, its training and this export."""
    layers = layer_costs(record.supernet(spec.num_classes), record.arch, spec.shape)
    training, commands = _training(folder)
    return {
        "space": record.space,
        "num_classes": spec.num_classes,
        "choices": dict(record.arch),
        "flops": sum(layer.flops for layer in layers),
        "params": sum(layer.params for layer in layers),
        "training": training,
        "commands": commands,
        "versions": {"fpnas": version("fpnas"), "torch": torch.__version__, "python": platform.python_version()},
    }


_OF_RESULT = ("accuracy", "balanced_accuracy", "loss", "num_images", "heldout_from", "steps", "seconds")
_NOT_OF_SETTINGS = ("space", "choices", "image_size")


def _training(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Figures and settings of a training, and the commands that led to it: of a search above it, and its own.

    An exported arch.json carries both along.
    """
    if not (folder / "run.json").exists():
        exported = read_json(folder / "arch.json")
        known, commands = exported.get("training"), exported.get("commands")
        return known if isinstance(known, dict) else {}, commands if isinstance(commands, list) else []
    result = read_json(folder / "result.json") if (folder / "result.json").exists() else {}
    runs = [read_json(path) for path in (folder.parent / "run.json", folder / "run.json") if path.exists()]
    settings = runs[-1].get("settings") if runs else None
    own: Mapping[str, Any] = settings if isinstance(settings, dict) else {}
    training = {name: result[name] for name in _OF_RESULT if name in result}
    if (folder / EVALUATION).exists():
        training["per_class"] = _recalls(read_json(folder / EVALUATION))
    training |= {name: value for name, value in own.items() if name not in _NOT_OF_SETTINGS}
    commands = [record["command"] for record in runs if isinstance(record.get("command"), str)]
    return training, [_command(command) for command in commands]


def _recalls(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of each class its name, held-out images, recall and interval; [] where the file says something else."""
    wanted = ("name", "num_images", "recall", "recall_interval")
    rows = evaluation.get("per_class")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and set(wanted) <= set(row) for row in rows):
        return []
    return [{name: row[name] for name in wanted} for row in rows]


def _command(command: str) -> str:
    """A recorded command line with the program's name instead of where it lay."""
    try:
        program, *rest = shlex.split(command)
    except ValueError:  # not one that can be pasted
        return command
    name = os.path.basename(program)
    return shlex.join(["fpnas" if name == "__main__.py" else name, *rest])

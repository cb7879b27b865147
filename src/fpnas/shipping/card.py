"""The model card: Markdown that says what an exported network is, what it was measured to do, and how to run it.

A pure function of facts. Most of them come from files and file names of unknown origin, so all text is escaped: none of
it can become markup, a link or an end of a code block.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fpnas.spaces import SPACES

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~&$^:@]|(?<=www)\.)", re.IGNORECASE)
"""What makes markup, HTML, or a link (a colon, an at sign, www.) in the midst of a line; no text here begins one."""
_CLASSES_SHOWN = 20
_OWN_FILE = "my_space.py"
"""Stands for the file that registers a space of one's own."""


def model_card(facts: Mapping[str, Any]) -> str:
    """The card of an exported network.

    Args:
        facts: what lies beside the exported file as JSON, see `fpnas.export`. "format", "file", "choices" and
            the keys of `ImageSpec` are needed; of whatever else is missing, the card says nothing.
    """
    parts = [
        [f"# {text(facts['file'])}"],
        _introduction(facts),
        ["## Figures", "", *_table(["", ""], _figures(facts))],
        *([_measured(facts["measured"])] if facts.get("measured") else []),
        ["## Input and output", "", *_input(facts)],
        ["## How to run it", "", *_running(facts)],
        ["## Architecture", "", *_architecture(facts["choices"])],
        ["## How it was made", "", *_making(facts)],
        ["## Limits", "", *_limits(facts)],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n"


def text(value: Any) -> str:
    """Any value as Markdown text that reads as it is: markup escaped, line breaks and control characters as spaces."""
    return _MARKUP.sub(r"\\\1", one_line(str(value)))


def one_line(value: str) -> str:
    """`value` with everything that isn't printable, line breaks among it, as a space."""
    return "".join(letter if letter.isprintable() else " " for letter in value)


def code(lines: Iterable[str], language: str) -> list[str]:
    """A code block with a fence that is longer than any run of backticks in it."""
    body = [one_line(line) for line in lines]
    fence = "`" * max(3, 1 + _longest_backticks(body))
    return [fence + language, *body, fence]


def span(value: str) -> str:
    """Code within a line, between more backticks than any run of them in it."""
    body = one_line(value)
    fence, gap = "`" * (1 + _longest_backticks([body])), " " if "`" in body else ""
    return f"{fence}{gap}{body}{gap}{fence}"


def _longest_backticks(lines: Sequence[str]) -> int:
    return max((len(run) for line in lines for run in re.findall(r"`+", line)), default=0)


def _introduction(facts: Mapping[str, Any]) -> list[str]:
    kind = {"onnx": "an ONNX", "pt2": "a torch.export", "safetensors": "a safetensors"}[facts["format"]]
    numbers = "int8" if facts.get("int8") else "float32"
    space = f" from the space {text(facts['space'])}" if "space" in facts else ""
    return [
        f"An image classifier for {len(facts['classes'])} classes in {numbers} as {kind} file: a network{space},",
        "found and trained with fpnas, an open implementation of FP-NAS (Yan et al., CVPR 2021).",
    ]


def _figures(facts: Mapping[str, Any]) -> list[list[str]]:
    training = _mapping(facts.get("training"))
    rows: list[list[str]] = []
    if isinstance(training.get("accuracy"), int | float):
        images = f"{training.get('num_images', '?')} held-out images ({training.get('heldout_from', '?')})"
        data = f" of {training['data']}" if "data" in training else ""
        rows.append(["accuracy after training", text(f"{training['accuracy']:.2f} % of {images}{data}")])
    for name, words in (("flops", "FLOPs of one image (multiply-adds)"), ("params", "parameters")):
        if isinstance(facts.get(name), int | float):
            rows.append([words, f"{facts[name]:,}"])
    if "bytes" in facts:
        rows.append(["size of the file", f"{facts['bytes']:,} bytes"])
    if facts.get("difference") is not None:
        words = "greatest difference from torch, as a share of the greatest logit"
        rows.append([words, f"{facts['difference']:.1e}"])
    return rows


def _measured(measured: Mapping[str, Any]) -> list[str]:
    rows = [
        [
            text(name),
            f"{row['accuracy']:.2f} %",
            f"{row['bytes']:,}",
            f"{row['ms_per_image']:.3f}",
            "" if row.get("agrees") is None else f"{row['agrees']:.2f} %",
        ]
        for name, row in measured["files"].items()
    ]
    data, source, runtime, machine = (text(measured[name]) for name in ("data", "heldout_from", "runtime", "machine"))
    where = [
        f"Measured when it was exported, on {measured['num_images']} held-out images ({source}) of {data}.",
        f"Time: median of {measured['repeats']} runs of one image by {runtime} on one thread; {machine}.",
    ]
    head = ["file", "accuracy", "bytes", "ms an image", "same class as float"]
    return ["## As measured", "", *_table(head, rows), "", *where]


def _input(facts: Mapping[str, Any]) -> list[str]:
    size, channels = facts["image_size"], facts["in_channels"]
    colour = {1: "grey", 3: "red, green, blue"}.get(channels, f"{channels} channels")
    fit = "stretch to" if facts.get("fit") == "stretch" else "cut out the central square and resize it to"
    names = [text(name) for name in facts["classes"][:_CLASSES_SHOWN]]
    more = len(facts["classes"]) - len(names)
    return [
        f"* Images: float32, N x {channels} x {size} x {size} ({colour}), any N from 1 on.",
        f"* First {fit} {size} x {size} pixels: bilinear, antialiased where the image shrinks.",
        f"* Normalize: (pixel / 255 - mean) / std; mean {_numbers(facts['mean'])}, std {_numbers(facts['std'])}.",
        f"* Logits: float32, N x {len(facts['classes'])}; softmax makes probabilities of them.",
        f"* Classes, in order: {', '.join(names)}{f', and {more} more (beside the file)' if more else ''}.",
    ]


def _running(facts: Mapping[str, Any]) -> list[str]:
    file, kind, space = facts["file"], facts["format"], one_line(str(facts.get("space", "")))
    ours = space in ("", *SPACES)
    mean, std = ([float(value) for value in facts[name]] for name in ("mean", "std"))
    mode = "L" if facts["in_channels"] == 1 else "RGB"
    size = facts["image_size"]
    square = f"ImageOps.fit(image, ({size}, {size}), Image.Resampling.BILINEAR)"
    if facts.get("fit") == "stretch":
        square = f"image.resize(({size}, {size}), Image.Resampling.BILINEAR)"
    prepare = [
        "import numpy as np",
        "from PIL import Image, ImageOps",
        "",
        f'image = Image.open("image.png").convert("{mode}")',
        f"image = {square}",
        f"pixels = np.asarray(image, dtype=np.float32).reshape({size}, {size}, {facts['in_channels']}) / 255",
        f"images = ((pixels - {mean}) / {std}).astype(np.float32).transpose(2, 0, 1)[None]",
    ]
    run = {
        "onnx": [
            "import onnxruntime",
            "",
            f"session = onnxruntime.InferenceSession({file!r})",
            'logits = session.run(["logits"], {"images": images})[0]',
        ],
        "pt2": [
            "import torch",
            "",
            f"network = torch.export.load({file!r}).module()",
            "logits = network(torch.from_numpy(images)).detach().numpy()",
        ],
        "safetensors": [
            "import fpnas",
            "import torch",
            "",
            *([] if ours else [f"fpnas.spaces.import_file({_OWN_FILE!r})  # the file that registers {space}"]),
            f"network = fpnas.load({file!r})  # a plain torch module; arch.json has to lie beside the file",
            "logits = network(torch.from_numpy(images)).detach().numpy()",
        ],
    }[kind]
    lines = code([*prepare, "", *run, "print(logits.argmax(axis=1))"], "python")
    if kind == "pt2":
        return lines
    program = "fpnas" if ours or kind == "onnx" else f"fpnas --import {_OWN_FILE}"
    command = f"{program} predict {shlex.quote(one_line(file))} image.png"
    return [*code([command], "sh"), "", "Or without it:", "", *lines]


def _architecture(choices: Mapping[str, Any]) -> list[str]:
    groups: dict[str, dict[str, Any]] = {}
    for name, option in choices.items():
        group, _, variable = name.rpartition(".")
        groups.setdefault(group, {})[variable] = option
    columns = list(dict.fromkeys(variable for row in groups.values() for variable in row))
    rows = [[text(group), *(text(row.get(column, "")) for column in columns)] for group, row in groups.items()]
    lines = _table(["group", *map(text, columns)], rows)
    if "kernel" in columns:
        lines += ["", "Kernel 0: the blocks of the group are bypassed. Splits: 0 no attention, 1 squeeze-excite,"]
        lines += ["r above 1 split attention over r depthwise convolutions."]
    return lines


def _making(facts: Mapping[str, Any]) -> list[str]:
    commands = [command for command in facts.get("commands", []) if command]
    lines = [*code(commands, "sh"), ""] if commands else []
    training = _mapping(facts.get("training"))
    settings = {name: training[name] for name in training if name not in ("accuracy", "loss", "num_images")}
    if settings:
        lines += ["* Training: " + ", ".join(f"{text(name)} {text(value)}" for name, value in settings.items()) + "."]
    if facts.get("versions"):
        lines += ["* Versions: " + ", ".join(f"{text(name)} {text(v)}" for name, v in facts["versions"].items()) + "."]
    return lines or ["Nothing is known of it."]


def _limits(facts: Mapping[str, Any]) -> list[str]:
    lines = [
        "* The accuracy is that on the held-out images named above. On images of another origin it can be much lower.",
        "* It gives one of its classes for any image, also for one that shows none of them.",
        "* Its probabilities were not calibrated.",
    ]
    if facts.get("int8"):
        lines.append("* int8: the ranges come from training images; values beyond them are clipped.")
    return lines


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.6g}" for value in values) + ")"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]

"""The model card: Markdown that says what an exported network is, what it was measured to do, and how to run it.

A pure function of facts, written by the template assets/card.md. Most facts come from files and file names of unknown
origin, so the template escapes every value: none of it can become markup, a link or an end of a code block.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, Template

from fpnas.spaces import SPACES
from fpnas.text import by_group, code, escaped, one_line, percent

_OWN_FILE = "my_space.py"
"""Stands for the file that registers a space of one's own."""
_KINDS = {"onnx": "an ONNX", "pt2": "a torch.export", "safetensors": "a safetensors"}


def model_card(facts: Mapping[str, Any]) -> str:
    """The card of an exported network.

    Args:
        facts: what lies beside the exported file as JSON, see `fpnas.export`. "format", "file", "choices" and
            the keys of `ImageSpec` are needed; of whatever else is missing, the card says nothing.
    """
    groups = by_group(facts["choices"])
    training = facts.get("training")
    training = training if isinstance(training, Mapping) else {}
    shown = {
        "kind": _KINDS[facts["format"]],
        "facts": facts,
        "groups": groups,
        "columns": list(dict.fromkeys(variable for row in groups.values() for variable in row)),
        "training": training,
        "settings": {k: v for k, v in training.items() if k not in ("accuracy", "loss", "num_images")},
        "commands": [command for command in facts.get("commands", []) if command],
        "command": _command(facts),
        "program": _program(facts),
    }
    return _template().render({**facts, **shown})


class _Markdown(str):
    """Text that is Markdown already."""


@functools.cache
def _template() -> Template:
    environment = Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value if isinstance(value, _Markdown) else escaped("" if value is None else value),
    )
    filters: dict[str, Any] = {
        "raw": _Markdown,
        "code": lambda lines, language: _Markdown("\n".join(code(lines, language))),
        "percent": lambda value: _Markdown(percent(value)),
        "grouped": lambda value: _Markdown(f"{value:,}"),
    }
    environment.filters.update(filters)
    return environment.from_string(files("fpnas.shipping").joinpath("assets/card.md").read_text(encoding="utf-8"))


def _is_own(space: str) -> bool:
    return space not in ("", *SPACES)


def _command(facts: Mapping[str, Any]) -> str:
    """`fpnas predict` of the file; none of a .pt2, which it doesn't read."""
    if facts["format"] == "pt2":
        return ""
    own = _is_own(facts.get("space", "")) and facts["format"] != "onnx"
    program = f"fpnas --import {_OWN_FILE}" if own else "fpnas"
    return f"{program} predict {shlex.quote(one_line(facts['file']))} image.png"


def _program(facts: Mapping[str, Any]) -> Sequence[str]:
    """Lines of Python that run the file on one image."""
    file, space, size = facts["file"], one_line(str(facts.get("space", ""))), facts["image_size"]
    mean, std = ([float(value) for value in facts[name]] for name in ("mean", "std"))
    mode = "L" if facts["in_channels"] == 1 else "RGB"
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
    own = [f"fpnas.spaces.import_file({_OWN_FILE!r})  # the file that registers {space}"] if _is_own(space) else []
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
            *own,
            f"network = fpnas.load({file!r})  # a plain torch module; arch.json has to lie beside the file",
            "logits = network(torch.from_numpy(images)).detach().numpy()",
        ],
    }[facts["format"]]
    return [*prepare, "", *run, "print(logits.argmax(axis=1))"]

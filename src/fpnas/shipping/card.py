"""The model card: Markdown that says what an exported network is, what it was measured to do, and how to run it.

A pure function of facts, written by the template assets/card.md. Most facts come from files and file names of unknown
origin, so the template escapes every value: none of it can become markup, a link or an end of a code block.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jinja2 import Environment, Template

from fpnas.spaces import is_own
from fpnas.text import by_group, code, escaped, one_line, percent

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
        "own": bool(facts.get("space")) and is_own(facts["space"]),
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
        finalize=lambda value: value if isinstance(value, _Markdown) else escaped(value),
    )
    filters: dict[str, Any] = {
        "raw": _Markdown,
        "code": lambda lines, language: _Markdown("\n".join(code(lines, language))),
        "floats": lambda values: _Markdown([float(value) for value in values]),
        "repr": lambda value: _Markdown(repr(value)),
        "one_line": lambda value: _Markdown(one_line(str(value))),
        "quoted": lambda value: shlex.quote(one_line(value)),
        "percent": lambda value: _Markdown(percent(value)),
        "grouped": lambda value: _Markdown(f"{value:,}"),
    }
    environment.filters.update(filters)
    return environment.from_string(files("fpnas.shipping").joinpath("assets/card.md").read_text(encoding="utf-8"))

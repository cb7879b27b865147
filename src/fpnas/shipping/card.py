"""The model card: Markdown that says what an exported network is, what it was measured to do, and how to run it.

A pure function of facts, written by the template assets/card.md. Most facts come from files and file names of unknown
origin, so the template escapes every value: none of it can become markup, a link or an end of a code block.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from fpnas.spaces import is_own
from fpnas.text import by_group, code, escaped, one_line, percent

if TYPE_CHECKING:
    from jinja2 import Template

_CLASSES = 10
_FIGURES = ("accuracy", "balanced_accuracy", "loss", "num_images", "per_class")
"""Of a training's facts those that stand among the figures; the others are its settings."""
_KINDS = {"onnx": "an ONNX", "litert": "a LiteRT", "c": "a C", "pt2": "a torch.export", "safetensors": "a safetensors"}


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
        "tflite": facts["format"] in ("litert", "c"),
        "groups": groups,
        "columns": list(dict.fromkeys(variable for row in groups.values() for variable in row)),
        "training": training,
        "settings": {k: _shown(v) for k, v in training.items() if k not in _FIGURES},
        "recalls": lowest_recalls(training.get("per_class")),
        "commands": [command for command in facts.get("commands", []) if command],
        "own": bool(facts.get("space")) and is_own(facts["space"]),
    }
    return _template().render({**facts, **shown})


def lowest_recalls(per_class: Any) -> list[str]:
    """The `_CLASSES` classes of the lowest recall in words, the lowest first; classes without images are left out."""
    rows = [row for row in per_class if isinstance(row, Mapping)] if isinstance(per_class, list) else []
    known = sorted((row for row in rows if isinstance(row.get("recall"), int | float)), key=lambda row: row["recall"])
    return [f"{row.get('name')} {percent(row['recall'], 1)} of {row.get('num_images')}" for row in known[:_CLASSES]]


def _shown(value: Any) -> Any:
    """A setting; of a long one, such as the names of a thousand classes, its length."""
    long = isinstance(value, Mapping | Sequence) and not isinstance(value, str) and len(value) > 2 * _CLASSES
    return f"of {len(value)} values" if long else value


class _Markdown(str):
    """Text that is Markdown already."""


@functools.cache
def _template() -> Template:
    from jinja2 import Environment  # here, for it takes a while that only cards need

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

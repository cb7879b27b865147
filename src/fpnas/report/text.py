"""What stands in a run's files, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fpnas.report.network import Block


def plain(value: Any) -> str:
    """A JSON value in a line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1e4 else f"{value:.6g}"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 1e4 else str(value)
    return str(value)[:2000]


def option_phrase(variable: str, option: str) -> str:
    """A choice of the built-in spaces in words; `variable option` otherwise."""
    if variable == "splits":
        words = {"0": "no attention", "1": "squeeze-excite"}
        return words.get(option, f"split attention ×{option}")
    phrases: Mapping[str, str] = {
        "kernel": f"{option}×{option}" if option != "0" else "skipped",
        "expansion": f"expansion {option}",
        "channels": f"{option} channels",
        "act": option,
    }
    return phrases.get(variable, f"{variable} {option}")


def block_words(block: Block) -> list[str]:
    """What a block is, a phrase each."""
    if block.what == "skipped":
        return [block.what]
    chosen = [option_phrase(name, option) for name, option in block.options.items() if name != "channels"]
    kernel = option_phrase("kernel", str(block.kernel))
    if block.what == "MBConv":
        words = chosen if "kernel" in block.options else [kernel, *chosen]
    elif block.what == "1×1 instead":
        words = [block.what]
    else:
        words = [f"{block.what} {kernel}" if block.kernel else block.what, *chosen]
    return [*words, f"{block.width} channels"]

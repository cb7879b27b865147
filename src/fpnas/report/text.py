"""Numbers and phrases as the report writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

NONE = "–"


def short(value: float) -> str:
    """1.946 M, 85.83 k, 0.6084: four digits; a dash where there is no number."""
    if not math.isfinite(value):
        return NONE
    for suffix, unit, least in (("G", 1e9, 1e9), ("M", 1e6, 1e6), ("k", 1e3, 1e4)):
        if abs(value) >= least:
            return f"{value / unit:.4g} {suffix}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4g}"


def duration(seconds: float) -> str:
    """45 s, 5 min 43 s, 3 h 20 min."""
    if not math.isfinite(seconds):
        return NONE
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.3g} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def share(value: float) -> str:
    """0.183 as 18.3 %, on one line."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%" if math.isfinite(value) else NONE


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

"""What a search inside a network cut away, from layers.json: its "whole" is the network that the search began with.

A width is one choice, though many layers make and read it. A choice of a skipped block, or of a layer that doesn't run
for another reason, is "skipped" as well, whatever option arch.json has.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from fpnas.report.network import flops_by_block, read_layers
from fpnas.report.reading import Json, mapping, number, sequence
from fpnas.report.text import plain
from fpnas.text import short

MAX_ROWS = 2_000
SKIPPED = "skipped"
_MADE = ("out_channels", "out_features")
_READ = ("in_channels", "in_features")
_KINDS = {"runs": "block", "kernel_size": "kernel", "num_heads": "heads"}


@dataclass(frozen=True)
class Cut:
    """A choice, or a block's multiply-adds, before and after.

    Args:
        name: the choice's, or the block's.
        kind: "channels", "heads", "kernel", "block" or "multiply-adds".
        made_by, read_by: convolutions and linear layers that make the width and read it; of a kernel, its layer.
        whole, found: what it was and is, in words.
        kept: percent of it, for a bar.
    """

    name: str
    kind: str
    whole: str
    found: str
    kept: float
    made_by: tuple[str, ...] = ()
    read_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cuts:
    """Of one run: multiply-adds by block, then the choices, both in the network's order; `told` sums them up."""

    flops: tuple[float, float]
    blocks: tuple[Cut, ...]
    choices: tuple[Cut, ...]
    told: str


def read_cuts(document: Json, choices: Json) -> Cuts | None:
    """None where layers.json knows of no network that it was cut from."""
    whole = mapping(document.get("whole"))
    flops = number(whole.get("flops")), number(document.get("flops"))
    if not flops[0] > 0 or not flops[1] >= 0:
        return None
    running = {_plain(layer.name) for layer in read_layers(document)}
    before, reads = mapping(whole.get("choices")), mapping(whole.get("reads"))
    cuts = [
        _cut(name, [(str(place[0]), str(place[1])) for place in places if len(place) == 2], before, choices, running)
        for name, read in [*reads.items()][:MAX_ROWS]
        if (places := [*map(sequence, sequence(read))])
    ]
    parts, left = flops_by_block(read_layers(whole)), flops_by_block(read_layers(document))
    blocks = [
        Cut(name, "multiply-adds", short(count), short(left.get(name, 0)), _percent(left.get(name, 0), count))
        for name, count in [*parts.items()][:MAX_ROWS]
        if count
    ]
    return Cuts(flops, tuple(blocks), tuple(cuts), _told(cuts))


def _cut(name: str, places: list[tuple[str, str]], before: Json, after: Json, running: set[str]) -> Cut:
    arguments = {argument for _, argument in places}
    kind = next((kind for argument, kind in _KINDS.items() if argument in arguments), "channels")
    old, new = number(before.get(name)), number(after.get(name))
    made, read = _layers(places, _MADE), _layers(places, _READ)
    if kind == "block":
        runs = new != 0
        return Cut(name, kind, "runs", "runs" if runs else SKIPPED, 100.0 * runs)
    if kind == "kernel":
        made, read = _layers(places, ("kernel_size",)), ()
    before_told, told = (_size(kind, choices.get(name)) for choices in (before, after))
    if not any(_plain(layer) in running for layer, _ in places):
        return Cut(name, kind, before_told, SKIPPED, 0.0, made, read)
    return Cut(name, kind, before_told, told, _percent(new, old), made, read)


def _size(kind: str, option: object) -> str:
    return f"{plain(option)}×{plain(option)}" if kind == "kernel" else plain(option)


def _layers(places: Iterable[tuple[str, str]], arguments: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_plain(layer) for layer, argument in places if argument in arguments))


def _plain(layer: str) -> str:
    """A layer's name in the network that was cut: a block that can be skipped is a switch around it."""
    return layer.replace(".branches.1.", ".")


def _percent(part: float, whole: float) -> float:
    return min(100.0, max(0.0, 100 * part / whole)) if whole > 0 and math.isfinite(part) else 0.0


def _told(cuts: list[Cut]) -> str:
    """How many of each kind are less than they were; of what doesn't run, blocks alone count."""
    less = Counter(cut.kind for cut in cuts if cut.kept < 100 and (cut.found != SKIPPED or cut.kind == "block"))
    every = Counter(cut.kind for cut in cuts)
    words = {"channels": "widths narrower", "heads": "attentions with fewer heads", "kernel": "kernels smaller"}
    words["block"] = "blocks skipped"
    return "; ".join(f"{less[kind]} of {every[kind]} {phrase}" for kind, phrase in words.items() if every[kind])

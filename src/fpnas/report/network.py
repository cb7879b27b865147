"""The found network, block by block, from layers.json: what runs in each block, how wide, and at what cost.

A block is what lies before a layer's first switch, or its first numbered part: `blocks.3` of
`blocks.3.branches.split2.expand.conv`. Layers of the user's own modules are drawn by the same rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fpnas.report.reading import Json, mapping, number, sequence

MAX_LAYERS = 20_000


@dataclass(frozen=True)
class Layer:
    """A line of layers.json; `size` is the output's, as in 48 x 14 x 14."""

    name: str
    kind: str
    group: str
    flops: int
    params: int
    shape: tuple[int, ...]
    arguments: Json


@dataclass(frozen=True)
class Block:
    """A block of the network.

    Args:
        name: such as blocks.3.
        group: of its choices; "" where it has none.
        what: "MBConv", "skipped" (nothing runs), "1x1 instead" (skipped, but the shapes differ), or the layers' kind.
        kernel: pixels a side of its widest convolution; 0 where there is none.
        hidden: channels inside; width: channels out.
        options: the group's variables and what was chosen, beside these.
        size: of the output, such as 14 x 14.
        flops, params: sums over its layers.
    """

    name: str
    group: str
    what: str
    kernel: int
    hidden: int
    width: int
    parallel: int
    options: dict[str, str]
    size: str
    flops: int
    params: int
    layers: tuple[Layer, ...]


def read_layers(document: Json) -> tuple[Layer, ...]:
    """The layers of layers.json; those that make no sense are left out."""
    layers: list[Layer] = []
    for value in sequence(document.get("layers"))[:MAX_LAYERS]:
        line = mapping(value)
        name, flops, params = line.get("name"), number(line.get("flops")), number(line.get("params"))
        if isinstance(name, str) and flops >= 0 and params >= 0:
            shape = tuple(int(size) for size in map(number, sequence(line.get("output_shape"))) if size >= 0)
            kind, group = str(line.get("kind", "")), str(line.get("group", ""))
            layers.append(Layer(name, kind, group, int(flops), int(params), shape, mapping(line.get("arguments"))))
    return tuple(layers)


def read_blocks(document: Json, choices: Json) -> tuple[Block, ...]:
    """The blocks of layers.json, in order, with the options of arch.json's choices.

    What has neither weights nor a choice is left out, as an activation or a pooling between two blocks.
    """
    blocks = (_block(name, tuple(members), choices) for name, members in _parts(read_layers(document)).items())
    return tuple(block for block in blocks if block.group or any(layer.flops or layer.params for layer in block.layers))


def flops_by_block(layers: tuple[Layer, ...]) -> dict[str, int]:
    """Multiply-adds of each block, in order."""
    return {name: sum(layer.flops for layer in members) for name, members in _parts(layers).items()}


def _parts(layers: tuple[Layer, ...]) -> dict[str, list[Layer]]:
    parts: dict[str, list[Layer]] = {}
    outer = _shared(layers)
    for layer in layers:
        parts.setdefault(_block_of(layer.name.removeprefix(outer)), []).append(layer)
    return parts


def _block(name: str, layers: tuple[Layer, ...], choices: Json) -> Block:
    group = next((layer.group for layer in layers if layer.group), "")
    options = {
        variable: str(value)
        for owner, _, variable, value in ((*key.rpartition("."), value) for key, value in choices.items())
        if (owner or variable) == group
    }
    depthwise = [layer for layer in layers if layer.kind == "DepthwiseConv2d"]
    kernels = [int(k) for k in (number(layer.arguments.get("kernel_size")) for layer in layers) if k >= 1]
    weighty = [layer for layer in layers if layer.flops or layer.params]
    shapes = [layer.shape for layer in weighty or layers if layer.shape]
    if depthwise:
        what = "MBConv"
    elif not weighty and all(layer.kind == "Identity" for layer in layers):
        what = "skipped"
    elif options.get("kernel") == "0":
        what = "1×1 instead"
    else:
        what = (weighty or layers)[0].kind
    last = shapes[-1] if shapes else ()
    return Block(
        name=name,
        group=group,
        what=what,
        kernel=max(kernels, default=0),
        hidden=max((shape[0] for shape in shapes), default=0),
        width=last[0] if last else 0,
        parallel=max(1, len(depthwise)),
        options=options,
        size="×".join(map(str, last[1:])),
        flops=sum(layer.flops for layer in layers),
        params=sum(layer.params for layer in layers),
        layers=layers,
    )


def _block_of(name: str) -> str:
    parts = name.split(".")
    for index, part in enumerate(parts):
        if part == "branches" and index:
            return ".".join(parts[:index])
        if part.isdigit():
            return ".".join(parts[: index + 1])
    return parts[0]


def _shared(layers: tuple[Layer, ...]) -> str:
    """What all names begin with, such as "backbone."; "" where there is no such part."""
    first: set[Any] = {layer.name.partition(".")[0] for layer in layers}
    return f"{next(iter(first))}." if len(first) == 1 and all("." in layer.name for layer in layers) else ""

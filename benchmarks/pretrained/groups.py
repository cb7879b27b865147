"""Which layers of a network share a width: what `make_elastic` follows, beside Torch-Pruning's dependency groups.

    python benchmarks/pretrained/groups.py [--only NAME ...] [--results FILE.md]

A group is the set of all places (a layer, its inputs or its outputs, which channels) that change together. The two
programs find theirs apart: by rules on a `torch.fx` graph, and along autograd's graph. Where groups differ, each
connected difference gets its reason; one without a reason makes the exit code 1. Wanted: timm, torchvision and
torch-pruning.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import results_file
from followed import model, shape_of

from fpnas.elastic.follow import as_torch, follow, is_depthwise

MODELS = [
    *("timm/mobilenetv2_050", "timm/mobilenetv3_small_075", "timm/mobilenetv4_conv_small", "timm/efficientnet_b0"),
    *("timm/efficientnet_lite0", "timm/resnet50", "timm/regnety_002", "timm/resnext50_32x4d", "timm/convnext_atto"),
    *("timm/ghostnet_100", "timm/mixnet_s", "timm/vit_tiny_patch16_224", "torchvision/densenet121"),
    *("torchvision/squeezenet1_1", "torchvision/googlenet", "torchvision/vgg11_bn", "torchvision/shufflenet_v2_x1_0"),
]
UNEXPLAINED = "UNEXPLAINED"


class Place(NamedTuple):
    """Channels of a layer that belong to a group, as (from, to) pairs; norms and depthwise layers have "outs" alone."""

    layer: str
    side: str
    channels: tuple[tuple[int, int], ...]


Group = frozenset[Place]


class Theirs(NamedTuple):
    """Torch-Pruning's groups, and all layers that it met."""

    groups: set[Group]
    layers: set[str]


@dataclass(frozen=True)
class Ours:
    """The walk's groups -> why the width is left whole ("" where it isn't), and layers with several groups."""

    groups: Mapping[Group, str]
    in_groups: set[str]


def ours(module: nn.Module, shape: tuple[int, ...]) -> Ours:
    """The widths that some convolution or linear layer makes, under the names of the given module."""
    network = follow(as_torch(module, shape), shape)
    names = {name for name, layer in module.named_modules() if [*layer.parameters(False), *layer.buffers(False)]}
    layers = {followed.name: followed.layer for followed in network.layers}
    groups: dict[Group, str] = {}
    for width, uses in network.uses().items():
        if any(use.axis == "outs" and isinstance(layers[use.layer], nn.Conv2d | nn.Linear) for use in uses):
            found = [
                (name, _side(layers[use.layer], use.axis), range(use.offset, use.offset + width.size * use.unit))
                for use in uses
                if (name := _given(use.layer, names))
            ]
            groups[_group(found)] = width.held
    return Ours(groups, {name for name, layer in layers.items() if _has_groups(layer)})


def theirs(module: nn.Module, shape: tuple[int, ...]) -> Theirs:
    """The groups whose roots are convolutions and linear layers, which are all that something makes."""
    import torch_pruning

    graph = torch_pruning.DependencyGraph()
    graph.build_dependency(module.requires_grad_(), example_inputs=torch.randn(1, *shape), verbose=False)
    names = {layer: name for name, layer in module.named_modules()}
    groups = {
        _group(
            (names[layer], _side(layer, "outs" if graph.is_out_channel_pruning_fn(made.handler) else "ins"), channels)
            for made, channels in group
            if (layer := made.target.module) in names
        )
        for group in graph.get_all_groups()
    }
    return Theirs(groups, {names[layer] for layer in graph.module2node if layer in names})


def reasons(own: Ours, other: Theirs) -> dict[str, int]:
    """Why groups differ -> in how many places that hang together."""
    found: dict[str, int] = {}
    for mine, others in _differences(set(own.groups) - other.groups, other.groups - set(own.groups)):
        why = _reason(own, other, mine, others)
        found[why] = found.get(why, 0) + 1
    return found


def _reason(own: Ours, other: Theirs, mine: list[Group], others: list[Group]) -> str:
    ours, theirs = _together(mine), _together(others)
    unseen = {place for place in ours if place.layer not in other.layers}
    if unseen and ours - unseen == theirs:
        return "theirs don't see layers that run in training alone"
    held = {own.groups[group].partition(" at File")[0] for group in mine}
    if mine and all(held):
        return f"left whole here: {', '.join(sorted(held - {'what it reads is fixed'} or held))}"
    if ours == theirs and len(others) == 1:
        return "a sum of concatenations: each part is a width here"
    tied = {place.layer for place in ours if place.side == "ins"} & {p.layer for p in ours if p.side == "outs"}
    if ours == theirs and len(mine) == 1 and tied & own.in_groups:
        return "both sides of a convolution in groups are one width here: whole groups go"
    return UNEXPLAINED


def _together(groups: list[Group]) -> Group:
    places = [place for group in groups for place in group]
    return _group((p.layer, p.side, (n for run in p.channels for n in range(*run))) for p in places)


def _differences(mine: set[Group], others: set[Group]) -> list[tuple[list[Group], list[Group]]]:
    """Groups of either side that share channels, directly or through others."""
    parts: list[list[Group]] = []
    for group in [*mine, *others]:
        touching = [part for part in parts if any(_meet(group, member) for member in part)]
        parts = [part for part in parts if part not in touching]
        parts.append([group, *(member for part in touching for member in part)])
    return [([g for g in part if g in mine], [g for g in part if g in others]) for part in parts]


def _meet(one: Group, other: Group) -> bool:
    at = {(place.layer, place.side): place.channels for place in one}
    return any(
        start < end and begin < stop
        for place in other
        for start, stop in place.channels
        for begin, end in at.get((place.layer, place.side), ())
    )


def _group(parts: Iterable[tuple[str, str, Iterable[int]]]) -> Group:
    places: dict[tuple[str, str], set[int]] = {}
    for layer, side, channels in parts:
        places.setdefault((layer, side), set()).update(channels)
    return frozenset(Place(layer, side, _runs(sorted(channels))) for (layer, side), channels in places.items())


def _runs(channels: list[int]) -> tuple[tuple[int, int], ...]:
    starts = [n for n, channel in enumerate(channels) if n == 0 or channel != channels[n - 1] + 1]
    return tuple((channels[a], channels[b - 1] + 1) for a, b in zip(starts, [*starts[1:], len(channels)], strict=True))


def _side(layer: nn.Module, side: str) -> str:
    weighs = isinstance(layer, nn.Conv2d | nn.Linear)
    return side if weighs and not (isinstance(layer, nn.Conv2d) and is_depthwise(layer)) else "outs"


def _has_groups(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups > 1 and not is_depthwise(layer)


def _given(name: str, names: set[str]) -> str:
    """The library's layer that one of torch's stands for; "" for what has no weights."""
    while name and name not in names:
        name = name.rpartition(".")[0]
    return name


def row(name: str, size: int) -> list[object]:
    """A line of the table."""
    module = model(name)
    shape = shape_of(module, size)
    own = ours(module, shape)
    try:
        other = theirs(module, shape)
    except Exception as error:  # whatever it stumbles over
        return [name, len(own.groups), "-", "-", "-", "-", f"Torch-Pruning fails: {type(error).__name__}: {error}"]
    both = other.groups & set(own.groups)
    whole = sum(bool(own.groups[group]) for group in both)
    why = "; ".join(f"{count} x {reason}" for reason, count in sorted(reasons(own, other).items()))
    only = len(own.groups) - len(both), len(other.groups) - len(both)
    return [name, len(own.groups), len(both), whole, *only, why]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=MODELS, metavar="NAME", help="such as timm/resnet18")
    parser.add_argument("--size", type=int, default=96, help="of the images, unless a model takes one alone")
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    rows: list[list[object]] = []
    for name in asked.only:
        rows.append(row(name, asked.size))
        print(rows[-1], flush=True)
    columns = ["model", "widths here", "in both", "of these left whole", "only here", "only theirs", "why they differ"]
    facts = [
        "a group: all places (layer, inputs or outputs, which channels) that change together; equal is equal in all",
        "the width of the logits is among those that are left whole",
    ]
    title = "Layers that share a width: fpnas beside Torch-Pruning"
    lines = [*results_file.head(title, *facts), *results_file.table(columns, rows)]
    print("\n".join(lines))
    results_file.write(asked.results, lines)
    return any(UNEXPLAINED in str(line[-1]) for line in rows)


if __name__ == "__main__":
    sys.exit(main())

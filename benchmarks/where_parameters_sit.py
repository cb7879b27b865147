"""Why has FP-NAS-L2 about twice the parameters of EfficientNet-B2 at equal FLOPs?

The paper prints 1,045 M multiply-adds and 20.7 M parameters for L2 (256 px), and 1,050 M and 9.2 M for EfficientNet-B2
(260 px). L2's architecture isn't published. This takes random networks of our `fpnas_l2` whose FLOPs lie within 3 % of
1,045 M, sums their parameters and FLOPs by kind of layer beside those of EfficientNet-B2, switches split attention and
the head off in the same networks, and asks how many parameters the space can hold at these FLOPs.

    python benchmarks/where_parameters_sit.py [--networks 20] [--arch docs/files/fpnas-l2-example.json]
                                              [--results FILE.md]

All figures are counts: any machine gives the same. `--arch` writes the one of these networks whose parameters are
nearest to 20.7 M, for `fpnas cost FILE.json`.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import results_file
import torch

import fpnas
from fpnas.cost import AdditiveCost
from fpnas.cost.elimination import Factor
from fpnas.space import Option
from fpnas.streams import generator

FLOPS, PARAMS, WITHIN, SIZE, CLASSES = 1045e6, 20.7e6, 0.03, 256, 1000
AS_LARGE, AS_PRINTED = 0.1, "ours, r free, of 20.7 M parameters within 10 %"
SHAPE = (3, SIZE, SIZE)
SAMPLES = 200_000
KINDS = ("1x1 in blocks", "depthwise", "attention", "head", "classifier", "stem and norms")


@dataclass(frozen=True)
class Part:
    """A layer in the tables: its kind, and the positions at which its weights are used."""

    kind: str
    positions: int
    flops: int
    params: int


# ------------------------------------------------------------------------------------------------- networks and parts


def parts_of(supernet: fpnas.Supernet, arch: Mapping[str, Option]) -> list[Part]:
    """The layers of an architecture."""
    parts: list[Part] = []
    for layer in fpnas.layer_costs(supernet, arch, SHAPE):
        positions = math.prod(layer.output_shape[1:])
        parts.append(Part(kind_of(layer.name, layer.kind), positions, layer.flops, layer.params))
    return parts


def kind_of(name: str, kind: str) -> str:
    """Where a layer belongs in the table."""
    if kind == "BatchNorm2d" or name.startswith("stem"):
        return "stem and norms"
    if ".attention." in name:
        return "attention"
    if name.startswith(("classifier", "head")):
        return name.partition(".")[0]
    return "depthwise" if kind == "DepthwiseConv2d" else "1x1 in blocks"


def efficientnet_b2() -> list[Part]:
    """EfficientNet-B2 (Tan and Le, 2019): the rows of its table 1 at width 1.1 and depth 1.2, 260 px.

    Squeeze-excite in each block, of inner width c = the block's input channels / 4.
    """
    rows = (
        # expansion, kernel, channels, repeat, stride of the first
        (1, 3, 16, 1, 1),
        (6, 3, 24, 2, 2),
        (6, 5, 40, 2, 2),
        (6, 3, 80, 3, 2),
        (6, 5, 112, 3, 1),
        (6, 5, 192, 4, 2),
        (6, 3, 320, 1, 1),
    )
    parts: list[Part] = []

    def conv(kind: str, ins: int, outs: int, size: int, kernel: int = 1) -> None:
        weights = ins * outs * kernel**2
        parts.append(Part(kind, size**2, weights * size**2, weights))
        parts.append(Part("stem and norms", size**2, 0, 2 * outs))

    def linear(kind: str, ins: int, outs: int) -> None:
        parts.append(Part(kind, 1, ins * outs, (ins + 1) * outs))

    size, width = 130, wide(32)
    conv("stem and norms", 3, width, size, kernel=3)
    for expansion, kernel, channels, repeat, stride in rows:
        for block in range(math.ceil(1.2 * repeat)):
            hidden, outs = width * expansion, wide(channels)
            if expansion > 1:
                conv("1x1 in blocks", width, hidden, size)
            size = math.ceil(size / stride) if block == 0 else size
            conv("depthwise", 1, hidden, size, kernel)
            linear("attention", hidden, width // 4)
            linear("attention", width // 4, hidden)
            conv("1x1 in blocks", hidden, outs, size)
            width = outs
    conv("head", width, wide(1280), size)
    linear("classifier", wide(1280), CLASSES)
    return parts


def wide(channels: int) -> int:
    """EfficientNet's rounding of 1.1 * channels to a multiple of 8, no more than a tenth down."""
    exact = 1.1 * channels
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * exact else rounded + 8


def without_head(parts: Sequence[Part], width: int) -> list[Part]:
    """The classifier right behind the last block of `width` channels."""
    kept = [part for part in parts if part.kind not in ("head", "classifier")]
    norm = Part("stem and norms", 0, 0, -2 * 1984)  # the head convolution's own
    return [*kept, norm, Part("classifier", 1, width * CLASSES, (width + 1) * CLASSES)]


def near_target(flops: fpnas.Flops, splits: int | None = None) -> torch.Tensor:
    """Codes of random networks within 3 % of the FLOPs, the splits free or the same in all blocks."""
    space = flops.space
    codes = fpnas.ArchDistribution(space).sample(SAMPLES, generator(0, "where", "free" if splits is None else splits))
    if splits is not None:
        codes[:, split_columns(space)] = (0, 1, 2, 4).index(splits)
    return codes[(flops(codes) / FLOPS - 1).abs() < WITHIN]


def split_columns(space: fpnas.SearchSpace) -> list[int]:
    """The positions of the choices of splits."""
    return [index for index, choice in enumerate(space.choices) if choice.name.endswith(".splits")]


def richest(flops: fpnas.Flops, params: fpnas.Params) -> fpnas.Arch:
    """A network within the FLOPs with as many parameters as such a one can have, or nearly.

    The exact maximiser of params - price * FLOPs, at the least price (by bisection) at which it is within the FLOPs.
    """
    low, high = 0.0, 1.0
    best: tuple[int, ...] = ()
    for _ in range(20):
        price = (low + high) / 2
        factors = [*params.table.factors]
        factors += [Factor(factor.scope, -price * factor.table) for factor in flops.table.factors]
        _, codes = AdditiveCost(flops.space, factors).extreme(-1)
        if float(flops(torch.tensor([codes]))) <= FLOPS:
            best, high = codes, price
        else:
            low = price
    return flops.space.decode(best)


# ------------------------------------------------------------------------------------------------------------- tables


def by_kind(named: Mapping[str, Sequence[Sequence[Part]]]) -> list[str]:
    """A line for each set of networks: means."""
    rows: list[list[str]] = []
    for name, networks in named.items():
        params, flops = Counter[str](), Counter[str]()
        for part in (part for network in networks for part in network):
            params[part.kind] += part.params
            flops[part.kind] += part.flops
        total, all_flops = sum(params.values()), sum(flops.values())
        cells = [f"{params[k] / len(networks) / 1e6:.2f} ({100 * flops[k] / all_flops:.1f})" for k in KINDS]
        figures = f"{all_flops / len(networks) / 1e6:.0f}", f"{total / len(networks) / 1e6:.2f}"
        rows.append([name, *figures, *cells])
    head = ["networks", "MFLOPs", "M parameters", *(f"{kind}, M (% of FLOPs)" for kind in KINDS)]
    return results_file.table(head, rows)


def by_positions(networks: Sequence[Sequence[Part]]) -> list[str]:
    """What a parameter costs in multiply-adds, by where its layer sits; means over the networks."""
    rows: list[list[str]] = []
    params, flops = Counter[tuple[str, int]](), Counter[tuple[str, int]]()
    for part in (part for network in networks for part in network if part.kind != "stem and norms"):
        params[part.kind, part.positions] += part.params
        flops[part.kind, part.positions] += part.flops
    count = len(networks)
    for kind, positions in sorted(params, key=lambda key: (KINDS.index(key[0]), -key[1])):
        own, cost = params[kind, positions], flops[kind, positions]
        where = f"{math.isqrt(positions)}²" if positions > 1 else "1"
        rows.append([kind, where, f"{own / count / 1e6:.2f}", f"{cost / count / 1e6:.1f}", f"{cost / own:,.1f}"])
    head = ["layers", "used at positions", "M parameters", "MFLOPs", "multiply-adds a parameter"]
    return results_file.table(head, rows)


def on_and_off(supernet: fpnas.Supernet, archs: Sequence[fpnas.Arch]) -> list[str]:
    """The same networks with split attention and head switched; means."""
    rows: list[list[str]] = []
    whole = 0.0
    for name, attention, head in (
        ("as they are", "as it is", True),
        ("attention: squeeze-excite where there was split attention", 1, True),
        ("attention off, one depthwise convolution a block", 0, True),
        ("head off: the classifier behind the last block", "as it is", False),
        ("attention and head off", 0, False),
    ):
        flops, params = [], []
        for arch in archs:
            changed = dict(arch)
            for key, value in arch.items():
                if key.endswith(".splits") and isinstance(attention, int):
                    changed[key] = min(int(value), attention)
            parts = parts_of(supernet, changed)
            if not head:
                parts = without_head(parts, int(arch["group10.channels"]))
            flops.append(sum(part.flops for part in parts) / 1e6)
            params.append(sum(part.params for part in parts) / 1e6)
        mean = statistics.fmean(params)
        whole = whole or mean
        rows.append([name, f"{statistics.fmean(flops):.0f}", f"{mean:.2f}", f"{100 * mean / whole:.0f} %"])
    return results_file.table(["the same networks", "MFLOPs", "M parameters", "of these"], rows)


def spread(params: fpnas.Params, codes: torch.Tensor) -> str:
    """How many parameters random networks of these FLOPs have."""
    counts = params(codes) / 1e6
    low, middle, high = counts.quantile(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)).tolist()
    above = float((counts >= PARAMS / 1e6).double().mean())
    return (
        f"{len(codes):,} of {SAMPLES:,} random networks have these FLOPs; parameters: median {middle:.1f} M, 5 to 95 % "
        f"{low:.1f} to {high:.1f} M, most {float(counts.max()):.1f} M; {100 * above:.1f} % of them have"
        f" {PARAMS / 1e6} M or more"
    )


def write_arch(
    path: Path, supernet: fpnas.Supernet, flops: fpnas.Flops, params: fpnas.Params, near: torch.Tensor
) -> None:
    """The network whose parameters are nearest to the printed ones, as an arch.json."""
    arch = supernet.space.decode(near[int((params(near) - PARAMS).abs().argmin())].tolist())
    facts = {"space": "fpnas-l2", "image_size": SIZE, "in_channels": 3, "num_classes": CLASSES}
    counts = {"flops": flops.of(arch), "params": params.of(arch)}
    path.write_text(json.dumps({**facts, "choices": dict(arch), **counts}, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--arch", type=Path, default=None)
    parser.add_argument("--results", type=Path, default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with torch.device("meta"):
        supernet = fpnas.spaces.fpnas_l2(num_classes=CLASSES)
    flops, params = fpnas.Flops(supernet, SHAPE), fpnas.Params(supernet, SHAPE)

    def some(codes: torch.Tensor) -> list[fpnas.Arch]:
        return [supernet.space.decode(row) for row in codes[: arguments.networks].tolist()]

    near = near_target(flops)
    free, as_printed = some(near), some(near[(params(near) / PARAMS - 1).abs() < AS_LARGE])
    sets = {f"ours, r = {splits}": some(near_target(flops, splits)) for splits in (0, 1, 2, 4)}
    most = richest(flops, params)
    named = {"EfficientNet-B2": [efficientnet_b2()]}
    named |= {name: [parts_of(supernet, arch) for arch in archs] for name, archs in sets.items()}
    named["ours, r free"] = [parts_of(supernet, arch) for arch in free]
    named[AS_PRINTED] = [parts_of(supernet, arch) for arch in as_printed]
    named["ours, most parameters"] = [parts_of(supernet, most)]
    lines = [
        f"Means over {arguments.networks} random networks a line, within {100 * WITHIN:.0f} % of {FLOPS / 1e6:,.0f} M"
        f" multiply-adds at {SIZE} px, {CLASSES:,} classes:",
        "",
        *by_kind(named),
        "",
        f"{spread(params, near)}. Last line of the table: the most that we found in the space at these FLOPs.",
        "",
        f"What a parameter costs, in {AS_PRINTED}:",
        "",
        *by_positions(named[AS_PRINTED]),
        "",
        "The same in EfficientNet-B2:",
        "",
        *by_positions(named["EfficientNet-B2"]),
        "",
        f"On and off, in {AS_PRINTED}:",
        "",
        *on_and_off(supernet, as_printed),
        "",
        "On and off, in ours, r free:",
        "",
        *on_and_off(supernet, free),
        "",
    ]
    print("\n".join(lines))
    if arguments.arch:
        write_arch(arguments.arch, supernet, flops, params, near)
    head = results_file.head(
        "Why has FP-NAS-L2 about twice the parameters of EfficientNet-B2 at equal FLOPs?",
        "The paper prints 1,045 M multiply-adds and 20.7 M parameters for L2 (256 px), 1,050 M and 9.2 M for"
        " EfficientNet-B2 (260 px). Ours are random networks of our `fpnas-l2`: the paper's network isn't public.",
        machine="any: these are counts",
    )
    results_file.write(arguments.results, [*head, *lines])
    return 0


if __name__ == "__main__":
    sys.exit(main())

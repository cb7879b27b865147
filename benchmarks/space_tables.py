"""What do the search spaces hold, and what do the papers print of them? Writes the tables of docs/spaces.md.

Each table is read off the code: the rows off a supernet (its choices, and the shapes of a forward pass without memory),
sizes and medians off `fpnas spaces --json --flops`, FLOPs off the cost model. A test holds the page to it.

    python benchmarks/space_tables.py [--check]

A part of the page between `<!-- table NAME -->` and `<!-- end -->` is written over; the rest is left as it is.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import results_file
import torch
from torch import nn

import fpnas
from fpnas.cli.spaces import describe
from fpnas.elastic import Supernet, Switch
from fpnas.elastic.dims import choices_in
from fpnas.space import Choice, Option
from fpnas.spaces import IMAGE_SIZES, PUBLISHED, SPACES
from fpnas.spaces.macro import MacroNet

PAGE = Path(__file__).parents[1] / "docs" / "spaces.md"
WITH_MEDIAN = tuple(name for name, printed in PUBLISHED.items() if printed.median_flops is not None)


def tables() -> dict[str, str]:
    """All generated parts of the page, by name."""
    records = {name: describe(name, with_flops=name in WITH_MEDIAN) for name in SPACES}
    parts = {
        "overview": overview(records),
        "printed": printed_beside_ours(records),
        "largest-fpp": largest_fpp(),
        "linear": linear_in_the_splits(),
    }
    return parts | {name: rows_of(name) for name in SPACES}


def overview(records: dict[str, dict[str, Any]]) -> str:
    """One line a space: what there is to choose."""
    head = ["space", "input, px", "blocks", "choices", "architectures", "H0, nats", "K0", "alpha joint", "factorised"]
    return markdown(
        head,
        [
            [
                f"[`{name}`](#{name})",
                str(record["image_size"]),
                str(record["blocks"]),
                str(len(record["choices"])),
                number(record["size"]),
                f"{record['entropy']:.2f}",
                str(record["k0"]),
                f"{record['alpha_joint']:,}",
                f"{record['alpha_factorised']:,}",
            ]
            for name, record in records.items()
        ],
    )


def printed_beside_ours(records: dict[str, dict[str, Any]]) -> str:
    """Each printed figure, ours, and the difference; inputs and blocks must be equal, so they share a cell."""
    head = ["space", "input, px", "blocks", "architectures: printed", "ours", "difference"]
    head += ["median MFLOPs: printed", "ours", "difference"]
    rows: list[list[str]] = []
    for name, record in records.items():
        published = record["published"]
        if published is None:
            continue
        pairs = [f"{published[key] or '-'} / {record[key]}" for key in ("image_size", "blocks")]
        size, median = published["size"], published["median_flops"]
        sizes = ["-" if size is None else number(size), number(record["size"]), times(record["size"], size)]
        medians = ["-", "", ""]
        if median is not None:
            ours = record["median_flops"]
            medians = [number(median / 1e6), number(ours / 1e6), f"{100 * ours / median - 100:+.1f} %"]
        rows.append([f"`{name}`", *pairs, *sizes, *medians])
    return markdown(head, rows)


def times(ours: float, printed: float | None) -> str:
    """A ratio in words."""
    if printed is None:
        return ""
    if ours == printed:
        return "equal"
    return f"{ours / printed:.2g} times as many" if ours > printed else f"{printed / ours:.3g} times fewer"


def largest_fpp() -> str:
    """The largest network of F++ at the size for which the paper prints its FLOPs, read in four ways."""
    size, printed = PUBLISHED["fbnetv2-fpp"].largest_flops or (0, 0.0)
    rows: list[list[str]] = []
    for classes in (1000, 100):
        net = without_memory("fbnetv2-fpp", classes)
        flops = fpnas.Flops(net, (3, size, size))
        for splits in (4, 2):
            count = flops.of(largest(net, splits=splits))
            more = f"{100 * count / printed - 100:+.1f} %"
            same = "equal, to a million" if round(count / 1e6) == round(printed / 1e6) else more
            rows.append([str(splits), f"{classes:,}", f"{count:,}", same])
    return markdown(["splits in all blocks", "classes", "multiply-adds", f"against {printed / 1e6:.0f} M"], rows)


def linear_in_the_splits() -> str:
    """FLOPs of the largest F++ network by r."""
    size, _ = PUBLISHED["fbnetv2-fpp"].largest_flops or (0, 0.0)
    net = without_memory("fbnetv2-fpp", 100)
    flops = fpnas.Flops(net, (3, size, size))
    count = {r: flops.of(largest(net, splits=r)) for r in (0, 1, 2, 4)}
    rows = [["0: no attention", f"{count[0]:,}", "", ""], ["1: squeeze-excite", f"{count[1]:,}", "0", ""]]
    for r in (2, 4):
        more = count[r] - count[1]
        rows.append([f"{r}: split attention", f"{count[r]:,}", f"{more:,}", f"{more // (r - 1):,}"])
    return markdown(["r", "multiply-adds", "more than r = 1", "the same, over r - 1"], rows)


def rows_of(name: str) -> str:
    """The rows of a space in the form of the paper's table 1, read off its supernet."""
    net = without_memory(name)
    size = IMAGE_SIZES[name]
    shapes = block_shapes(net, size)
    owners = [owner(block) for block, _, _ in shapes]
    head_conv, classifier = net.module.get_submodule("head.conv"), net.module.get_submodule("classifier")
    assert isinstance(head_conv, fpnas.elastic.Conv2d)
    assert isinstance(classifier, fpnas.elastic.Linear)
    variables = list(dict.fromkeys(choice.name.rpartition(".")[2] for choice in net.space.choices))
    options = {choice.name: choice.options for choice in net.space.choices}
    common = [v for v in variables if len({options[f"{group}.{v}"] for group in net.space.groups}) == 1]
    own = [variable for variable in ("expansion", "channels") if variable in variables and variable not in common]
    titles = {"expansion": "expansion", "channels": "out channels"}
    head = ["group", "input", *(titles[v] for v in own), *([] if own else ["out channels"]), "repeat", "stride"]
    first_in = shapes[0][1]
    stem_stride = size // first_in[1]
    body = [["stem 3x3", shape_text((3, size, size)), *[""] * (len(head) - 5), str(first_in[0]), "1", str(stem_stride)]]
    for group in net.space.groups:
        members = [shape for shape, own_group in zip(shapes, owners, strict=True) if own_group == group]
        _, ins, outs = members[0]
        cells = [span_text(options[f"{group}.{v}"]) for v in own] or [str(outs[0])]
        stride = -(-ins[1] // outs[1])
        body.append([group, shape_text(ins), *cells, str(len(members)), str(stride)])
    last, width = shapes[-1][2], head_conv.dims["out_channels"]
    body.append(["head 1x1", shape_text(last), *[""] * (len(head) - 5), str(width), "1", "1"])
    body.append(["average pool, fc", f"{width}", *[""] * (len(head) - 5), "classes", "1", ""])
    first = next(iter(net.space.groups))
    chooses = "; ".join(f"{variable} {span_text(options[f'{first}.{variable}'])}" for variable in common)
    unit = first.rstrip("1")
    return f"Each {unit} chooses{' also' * bool(own)}: {chooses}.\n\n{markdown(head, body)}"


def block_shapes(net: Supernet, size: int) -> list[tuple[Switch, tuple[int, ...], tuple[int, ...]]]:
    """The searchable blocks with the shapes of their input and output in the largest network."""
    assert isinstance(net.module, MacroNet)
    found: list[tuple[Switch, tuple[int, ...], tuple[int, ...]]] = []

    def record(block: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        assert isinstance(block, Switch)
        found.append((block, tuple(inputs[0].shape[1:]), tuple(output.shape[1:])))

    handles = [block.register_forward_hook(record) for block in net.module.blocks]
    with torch.no_grad():
        net.select(largest(net))(torch.zeros(1, 3, size, size, device="meta"))
    for handle in handles:
        handle.remove()
    return found


def owner(block: Switch) -> str:
    """The group of the choice that switches a block."""
    choice: Choice = choices_in(block.dims["on"])[0]
    return choice.group


def without_memory(name: str, num_classes: int = 1000) -> Supernet:
    """A supernet on the meta device: shapes without weights."""
    with torch.device("meta"):
        return SPACES[name](num_classes=num_classes)


def largest(net: Supernet, **fixed: Option) -> dict[str, Option]:
    """The last option of each choice, but for the variables that are named."""
    return {choice.name: fixed.get(choice.name.rpartition(".")[2], choice.options[-1]) for choice in net.space.choices}


def span_text(options: Sequence[Option]) -> str:
    """As the paper writes ranges: (min, max, step); {a, b, c} where the steps differ or are one."""
    numbers = [option for option in options if not isinstance(option, str)]
    steps = {round(b - a, 9) for a, b in itertools.pairwise(numbers)}
    if len(numbers) == len(options) > 1 and len(steps) == 1 and not set(numbers) <= {0, 1}:
        return f"({numbers[0]:g}, {numbers[-1]:g}, {steps.pop():g})"
    return str(options[0]) if len(options) == 1 else "{" + ", ".join(map(str, options)) + "}"


def shape_text(shape: tuple[int, ...]) -> str:
    """(C, H, W) as the paper writes it."""
    return f"{shape[1]}² × {shape[0]}"


def number(value: float) -> str:
    """Whole where people would read it so."""
    return f"{value:,.0f}" if value < 1e6 else f"{value:.3g}".replace("e+", "e")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    return "\n".join(results_file.table(head, rows))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the page differs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    page = PAGE.read_text()
    new = results_file.filled(page, tables())
    if not arguments.check:
        PAGE.write_text(new)
    elif new != page:
        print(f"{PAGE} isn't what the code says; run python benchmarks/space_tables.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`fpnas spaces`: what can be searched, and the figures here beside those that the papers print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fpnas.cli.options import Json
from fpnas.cli.output import print_json, print_table
from fpnas.text import short

if TYPE_CHECKING:
    from fpnas.elastic import Supernet

WithFlops = Annotated[
    bool, typer.Option("--flops", help="Also the median FLOPs of 10,000 random architectures; takes a minute.")
]
EXAMPLE = {"num_classes": 10, "in_channels": 3, "image_size": 32}
"""What spaces of one's own are built for, to be listed: choices don't hang on it."""


def spaces(with_flops: WithFlops = False, as_json: Json = False) -> None:
    """List the search spaces: choices, size, entropy, K0, the size of alpha, and the figures their papers print."""
    from fpnas.spaces import OWN, SPACES

    records = [describe(name, with_flops) for name in (*SPACES, *OWN)]
    if as_json:
        print_json(records)
        return
    columns = ["space", "choices", "size", "H0\nin nats", "K0\nat 1/4", "alpha\njoint / factorised"]
    rows = [
        [
            record["name"],
            str(len(record["choices"])),
            f"{record['size']:.4g}",
            f"{record['entropy']:.2f}",
            str(record["k0"]),
            f"{record['alpha_joint']:,} / {record['alpha_factorised']:,}",
        ]
        for record in records
    ]
    print_table("Search spaces", columns, rows)
    print("H0: the entropy before the search. K0: how many architectures the first step")
    print("samples, at lambda = 1/4; the default method, which counts each distinct")
    print("network once, begins with up to two fewer. alpha: how many numbers the")
    print("distribution learns.")
    columns = ["space", "input in px", "blocks", "architectures", "median FLOPs"]
    print_table("Here / in the paper (-: not printed)", columns, [_beside(r) for r in records])
    if not with_flops:
        print("--flops measures the median FLOPs here")


def describe(name: str, with_flops: bool = False) -> dict[str, Any]:
    """A space in figures: what `fpnas spaces --json` prints of it.

    Args:
        name: of the space.
        with_flops: with the median multiply-adds of 10,000 random architectures at the space's own input size.
    """
    import torch

    from fpnas.distribution import ArchDistribution, groups
    from fpnas.estimators import SampleSize
    from fpnas.spaces import IMAGE_SIZES, PUBLISHED, SPACES, by_name
    from fpnas.spaces.macro import MacroNet

    with torch.device("meta"):  # no memory for weights that nobody reads
        supernet = by_name(name)(**({} if name in SPACES else EXAMPLE))
    image_size = IMAGE_SIZES.get(name)
    space, published = supernet.space, PUBLISHED.get(name)
    return {
        "name": name,
        "choices": {choice.name: list(choice.options) for choice in space.choices},
        "size": space.size,
        "entropy": space.max_entropy,
        "k0": SampleSize.adaptive(0.25)(space.max_entropy),
        "alpha_joint": ArchDistribution(space, groups(space)).num_logits,
        "alpha_factorised": ArchDistribution(space).num_logits,
        "image_size": image_size,
        "blocks": len(supernet.module.blocks) if isinstance(supernet.module, MacroNet) else None,
        "median_flops": _median_flops(supernet, image_size) if with_flops and image_size else None,
        "published": None if published is None else asdict(published),
    }


def _median_flops(supernet: Supernet, image_size: int) -> float:
    from fpnas.cost import Flops
    from fpnas.distribution import ArchDistribution
    from fpnas.streams import generator

    flops = Flops(supernet, (3, image_size, image_size))
    codes = ArchDistribution(supernet.space).sample(10_000, generator(0, "median FLOPs"))
    return float(flops(codes).quantile(0.5))


def _beside(record: dict[str, Any]) -> list[str]:
    """A row of the second table: each figure of ours / as printed."""
    printed: dict[str, Any] = record["published"] or {}
    shown = {"image_size": str, "blocks": str, "size": _count, "median_flops": short}
    pairs = [
        f"{_or(show, record[key], '?' if key == 'median_flops' else '-')} / {_or(show, printed.get(key), '-')}"
        for key, show in shown.items()
    ]
    return [record["name"], *pairs]


def _or(show: Callable[[Any], str], value: Any, otherwise: str) -> str:
    return otherwise if value is None else show(value)


def _count(value: float) -> str:
    return f"{value:,.0f}" if value < 1e6 else f"{value:.3g}"

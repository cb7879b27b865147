"""`fpnas spaces`: what can be searched."""

from __future__ import annotations

from typing import Any

import torch

from fpnas.cli.options import Json
from fpnas.cli.output import print_json, print_table
from fpnas.distribution import ArchDistribution, groups
from fpnas.estimators import SampleSize
from fpnas.spaces import SPACES


def spaces(as_json: Json = False) -> None:
    """List the search spaces: choices, size, entropy, K0 and the size of alpha."""
    records = [_record(name) for name in SPACES]
    if as_json:
        print_json(records)
        return
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
    columns = ["space", "choices", "architectures", "H0 (nats)", "K0 at 1/4", "alpha joint / factorised"]
    print_table("Search spaces", columns, rows)


def _record(name: str) -> dict[str, Any]:
    with torch.device("meta"):  # no memory for weights that nobody reads
        space = SPACES[name]().space
    return {
        "name": name,
        "choices": {choice.name: list(choice.options) for choice in space.choices},
        "size": space.size,
        "entropy": space.max_entropy,
        "k0": SampleSize.adaptive(0.25)(space.max_entropy),
        "alpha_joint": ArchDistribution(space, groups(space)).num_logits,
        "alpha_factorised": ArchDistribution(space).num_logits,
    }

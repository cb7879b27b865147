"""Whether a supernet, its data and the ranks that share them go together, and what arch.json says of a network."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from fpnas import parallel
from fpnas.cost import Flops, Params, layer_table
from fpnas.data import Data, EpochOrder
from fpnas.elastic import Supernet, batch_statistics
from fpnas.errors import InputError, unknown_name
from fpnas.evaluators.ranks import Split
from fpnas.space import Arch
from fpnas.spaces import SPACES


def check_fit(supernet: Supernet, data: Data) -> None:
    """`InputError` where the space can't take the data's image size."""
    size = data.describe().get("image_size")
    check_size(supernet, size, f"examples of shape {data.input_shape}" if size is None else str(size))


def check_size(supernet: Supernet, size: int | None, got: str) -> None:
    """`InputError`, which names what was `got`, where the space can't take images of that size."""
    if supernet.image_sizes is None:
        return
    least, most = supernet.image_sizes
    if size is None or not least <= size <= most:
        expected = f"an image size of {least} to {most} for the space {supernet.name!r}"
        raise InputError(expected, got, "give --image-size, or take another space")


def own_space(supernet: Supernet, input_shape: tuple[int, ...], input_dtype: torch.dtype | None) -> dict[str, str]:
    """What tells the code of a space of one's own from what it was: its choices, and the largest network's layers."""
    if supernet.name in SPACES:
        return {}
    largest = supernet.space.decode([len(choice.options) - 1 for choice in supernet.space.choices])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there is to say has been said when costs were first counted
        layers = layer_table(supernet, largest, input_shape, input_dtype)
    told = [[choice.name, list(choice.options)] for choice in supernet.space.choices], layers
    return {"space_digest": hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]}


def facts_of(
    supernet: Supernet, data: Data, costs: tuple[Flops, Params], arch: Arch, size: int | None = None
) -> dict[str, Any]:
    """Of an architecture: space, input, choices, FLOPs and parameters; `size` of its images where not the data's."""
    return {
        "space": supernet.name,
        **supernet.facts,
        **data.describe(),
        **({} if size is None else {"image_size": size}),
        "num_classes": data.num_classes,
        "choices": dict(arch),
        "flops": costs[0].of(arch),
        "params": costs[1].of(arch),
    }


def check_classes(supernet: Supernet, data: Data, inputs: Tensor) -> None:
    """`InputError` where the supernet's classes aren't the data's."""
    with torch.no_grad(), batch_statistics(supernet):
        outputs = supernet(inputs).shape[-1]
    if outputs != data.num_classes:
        expected = f"a supernet of {data.num_classes} classes, as in {data.name!r}"
        raise InputError(expected, f"one of {outputs}", "give it num_classes")


def check_ranks(split: Split, orders: Sequence[EpochOrder], accumulate: int = 1) -> None:
    """`InputError` where the ranks there are can't share a step, or its parts would be too small."""
    if split not in get_args(Split):
        raise unknown_name("split", split, get_args(Split))
    for order in orders:
        check_parts(order, accumulate, split == "data")


def check_parts(order: EpochOrder, accumulate: int, by_data: bool = True) -> None:
    """`InputError` where a part of a batch would have fewer than the two images that batch norms need.

    Args:
        order: of the batches.
        accumulate: parts that each rank runs one after the other.
        by_data: whether ranks split the batch before that.
    """
    if accumulate < 1:
        raise InputError("accumulate of 1 or more", str(accumulate), "leave it out")
    ranks = parallel.world_size() if by_data else 1
    least = order.n // order.steps_per_epoch
    if least < 2 * ranks * accumulate:
        each = "each rank" if accumulate == 1 else "each part of them"
        fixes = ["raise the batch size", *["start fewer ranks"] * (ranks > 1), *["lower accumulate"] * (accumulate > 1)]
        raise InputError(
            f"batches of at least {2 * ranks * accumulate} images, two for {each}", str(least), " or ".join(fixes)
        )

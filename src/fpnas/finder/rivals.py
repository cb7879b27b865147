"""What a found network is set beside (`--compare`): a random one of its cost, and one that is ready made."""

from __future__ import annotations

import re
from dataclasses import replace

import torch

from fpnas.cost import Flops
from fpnas.data import ImageData
from fpnas.errors import InputError
from fpnas.runner import ArchRecord
from fpnas.space import Arch, Choice, Option
from fpnas.spaces import Smaller, is_model
from fpnas.streams import generator
from fpnas.text import short

LEAST = 0.95
"""Of the found network's multiply-adds, what a random one has at least."""
_WIDTH = re.compile(r"_(width|heads)(_\d+)?$")
"""How `make_elastic` names widths."""
_DRAWS, _ROUNDS = 4096, 64

READY_MADE = "torchvision/mobilenet_v2"
"""Which network is narrowed to the budget, trained from scratch like the others."""
FRACTIONS = tuple(number / 20 for number in range(2, 21))
"""The width multipliers that are tried."""


def random_one(record: ArchRecord, images: ImageData, seed: int) -> ArchRecord:
    """A network of the same space with 95 to 100 % of the found one's multiply-adds, drawn uniformly.

    Where so many draws hit none, that of them which comes nearest from below; where all cost more, the cheapest.
    """
    supernet, found = record.as_recorded, record.arch
    cost = Flops(supernet, images.input_shape)
    most = cost.of(found)
    draws, best, nearest = generator(seed, "rival"), torch.inf, None
    for _ in range(_ROUNDS):
        codes = torch.stack([torch.randint(n, (_DRAWS,), generator=draws) for n in supernet.space.cardinalities], dim=1)
        costs = cost(codes)
        for row in codes[(costs >= LEAST * most) & (costs <= most)].tolist():
            arch = supernet.space.decode(row)
            if arch != found:
                return replace(record, arch=arch)
        distance = torch.where(costs <= most, most - costs, most + costs)
        if float(distance.min()) < best:
            best, nearest = float(distance.min()), codes[int(distance.argmin())]
    assert nearest is not None
    return replace(record, arch=supernet.space.decode(nearest.tolist()))


def ready_made(record: ArchRecord, images: ImageData) -> ArchRecord:
    """What one would take without a search: the network of `--from`, or MobileNetV2 with fresh weights, all its widths
    narrowed alike until it costs no more than the found one.

    Raises:
        InputError: torchvision isn't installed, or no such network is so small.
    """
    most = Flops(record.as_recorded, images.input_shape).of(record.arch)
    if not is_model(record.space):
        record = replace(record, space=READY_MADE, smaller=Smaller(), pretrained=False)
    assert record.smaller is not None
    record = replace(record, smaller=replace(record.smaller, widths=FRACTIONS))
    cost, whole = Flops(record.as_recorded, images.input_shape), record.as_recorded.given
    assert whole is not None, "it was made of a network"
    arches = [Arch({c.name: _narrowed(c, whole[c.name], share) for c in cost.space.choices}) for share in FRACTIONS]
    within = [arch for arch in arches if cost.of(arch) <= most]
    if not within:
        got = f"{short(cost.of(arches[0]))} of {record.space} at its narrowest"
        raise InputError(f"a network of at most {short(most)} multiply-adds", got, "raise the target")
    return replace(record, arch=within[-1])


def _narrowed(choice: Choice, whole: Option, share: float) -> Option:
    """The width nearest to a share of the whole; of other choices the network's own option."""
    if not _WIDTH.search(choice.name):
        return whole
    return min(choice.options, key=lambda option: abs(float(option) - share * float(whole)))

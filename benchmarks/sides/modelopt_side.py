"""nvidia-modelopt's side: AutoNAS on the space's largest network, whose expansions and kernels it makes elastic.

A forward pass in training draws an architecture by itself, evenly over the options. In channels-last it is converted
first and laid out then: the other way round its slices lose the layout.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import modelopt.torch.nas as mtn
import torch
import torch.nn.functional as F
from modelopt.torch.nas.search_space import SearchSpace
from torch import Tensor, nn

from sides.clock import batches, measure, parser, sgd, timed
from sides.layers import EXPANSIONS, HEAD, KERNELS, ROWS, STEM, ConvNorm, MBConv

RATIOS = tuple(expansion / max(EXPANSIONS) for expansion in EXPANSIONS)
HIDDEN = ("*.expand.*", "*.depthwise.*")
"""Modules whose width is a block's hidden one."""


class Largest(nn.Module):
    """The space's largest network."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, STEM, 3)
        self.layers = nn.ModuleList(MBConv(*row, kernel=max(KERNELS), expansion=max(EXPANSIONS)) for row in ROWS)
        self.head = ConvNorm(ROWS[-1][1], HEAD)
        self.classes = nn.Linear(HEAD, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return self.classes(self.head(x).mean(dim=(2, 3)))


def converted() -> nn.Module:
    """Its supernet."""
    fixed, free = {"channels_ratio": (1.0,), "kernel_size": (), "channel_divisor": 1}, {"channels_ratio": RATIOS}
    config: dict[str, Any] = {
        "nn.Conv2d": {
            "*": fixed,
            "*.expand.conv": {**fixed, **free},
            "*.depthwise.conv": {**fixed, **free, "kernel_size": KERNELS},
            "*.project.conv": {**fixed, **free},  # its input; the norm behind it keeps its output
        },
        "nn.BatchNorm2d": {
            "*": {"features_ratio": (1.0,), "feature_divisor": 1},
            **{name: {"features_ratio": RATIOS, "feature_divisor": 1} for name in HIDDEN},
        },
        "nn.Linear": {"*": {"features_ratio": (1.0,), "feature_divisor": 1}},
    }
    return mtn.convert(Largest(), mode=[("autonas", config)])


def check(supernet: nn.Module) -> None:
    """Its choices are the space's: three widths and two kernels a layer."""
    found = {name: hp.choices for name, hp in SearchSpace(supernet).named_hparams(configurable=True)}
    widths = [sorted(choices) for choices in found.values() if not isinstance(choices[0], tuple)]
    kernels = [sorted(choices) for choices in found.values() if isinstance(choices[0], tuple)]
    assert sorted(widths) == sorted([ins * expansion for expansion in EXPANSIONS] for ins, *_ in ROWS), found
    assert kernels == [[(k, k) for k in KERNELS]] * len(ROWS), found


def main() -> int:
    options: Namespace = parser().parse_args()
    stream = batches(options)
    next(stream)  # the images are in memory before the supernet is made

    def make() -> Callable[[], float]:
        supernet = converted().train()
        check(supernet)
        if options.channels_last:
            supernet.to(memory_format=torch.channels_last)
        optimizer = sgd(supernet.parameters())

        def work(images: Tensor, labels: Tensor) -> None:
            optimizer.zero_grad()
            F.cross_entropy(supernet(images), labels).backward()
            optimizer.step()

        def step() -> float:
            images, labels = next(stream)
            return timed(lambda: work(images, labels))

        return step

    measure(options, make)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""NNI 3.0's side: its one-shot strategies on the space, a layer choice of six blocks for each layer.

The supernet is the strategy's own (`mutate_model`); the step is that of the strategy's Lightning module, phase by phase
(nni/nas/oneshot/pytorch/sampling.py and differentiable.py of 3.0), driven without the Trainer, whose own time an
experiment pays beside it. Alpha's optimizer is the one of `configure_architecture_optimizers`.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from nni.nas.nn.pytorch import LayerChoice, ModelSpace
from nni.nas.oneshot.pytorch.supermodule.base import BaseSuperNetModule
from nni.nas.strategy import DARTS, GumbelDARTS, Proxyless, RandomOneShot
from torch import Tensor, nn

from sides.clock import Batch, batches, measure, parser, sgd, timed
from sides.layers import EXPANSIONS, HEAD, KERNELS, ROWS, STEM, ConvNorm, MBConv

STRATEGIES: dict[str, Callable[[], Any]] = {
    "single_path": RandomOneShot,
    "darts": DARTS,
    "gumbel": GumbelDARTS,
    "proxyless": Proxyless,
}


class SharedSpace(ModelSpace):
    """The space of `sides`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, STEM, 3)
        self.layers = nn.Sequential()
        for number, row in enumerate(ROWS):
            blocks = {f"k{k}_e{e}": MBConv(*row, kernel=k, expansion=e) for k in KERNELS for e in EXPANSIONS}
            self.layers.append(LayerChoice(blocks, label=f"layer{number}"))
        self.head = ConvNorm(ROWS[-1][1], HEAD)
        self.classes = nn.Linear(HEAD, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.classes(self.head(self.layers(self.stem(x))).mean(dim=(2, 3)))


class OneShot:
    """A supernet with its strategy's step."""

    def __init__(self, strategy: str, channels_last: bool) -> None:
        self.network = STRATEGIES[strategy]().mutate_model(SharedSpace()).train()
        if channels_last:
            self.network.to(memory_format=torch.channels_last)
        self.supermodules = [module for module in self.network.modules() if isinstance(module, BaseSuperNetModule)]
        alpha = {
            p for module in self.supermodules if hasattr(module, "arch_parameters") for p in module.arch_parameters()
        }
        self.weights = sgd(p for p in self.network.parameters() if p not in alpha)
        self.alpha = torch.optim.Adam(alpha, 3e-4, betas=(0.5, 0.999), weight_decay=1e-3) if alpha else None

    def resample(self) -> None:
        """`BaseOneShotLightningModule.resample`."""
        sample: dict[str, Any] = {}
        for module in self.supermodules:
            sample.update(module.resample(memo=sample))

    def loss(self, batch: Batch) -> Tensor:
        return F.cross_entropy(self.network(batch[0]), batch[1])

    def step(self, batch: Batch, second: Batch | None) -> None:
        """`training_step` of the strategy: alpha on the second batch where it is learnt, then the weights."""
        if self.alpha is not None and second is not None:
            self.resample()
            self.alpha.zero_grad()
            self.loss(second).backward()
            self.alpha.step()
        self.resample()
        loss = self.loss(batch)
        self.weights.zero_grad()
        loss.backward()
        self.weights.step()


def main() -> int:
    options: Namespace = parser().parse_args()
    stream = batches(options)
    next(stream)  # the images are in memory before the supernet is made

    def make() -> Callable[[], float]:
        supernet = OneShot(options.strategy, options.channels_last)

        def step() -> float:
            batch, second = next(stream), None if supernet.alpha is None else next(stream)
            return timed(lambda: supernet.step(batch, second))

        return step

    measure(options, make)
    return 0


if __name__ == "__main__":
    sys.exit(main())

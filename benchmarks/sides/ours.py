"""fpnas's side: the space as a user would write it, and steps of the library's own search.

"weights" takes K = 1 and moves the weights alone; "whole" takes K = 3, which lambda = 1/4 gives at this space's
entropy of 10.75 nats, and moves weights and alpha. A step is `Search.step`, with all of its bookkeeping; taking images
out of the data set and normalizing them, which the peers find done, is on the clock too.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable

import torch
from torch import Tensor, nn

import fpnas
from fpnas import Choice
from fpnas.data import ImageData, ImageSet
from fpnas.elastic import Linear, MBConv, conv_norm
from sides.clock import LR, WEIGHT_DECAY, measure, parser, timed
from sides.layers import EXPANSIONS, HEAD, KERNELS, ROWS, STEM

SAMPLES = {"weights": 1, "whole": 3}


class SharedSpace(nn.Module):
    """The space of `sides`."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = conv_norm(3, STEM, act="relu", kernel=3)
        self.layers = nn.Sequential()
        for number, (ins, outs, stride) in enumerate(ROWS):
            kernel, expansion = Choice(f"layer{number}.kernel", KERNELS), Choice(f"layer{number}.expansion", EXPANSIONS)
            self.layers.append(MBConv(ins, outs, kernel, stride, expansion, act="relu"))
        self.head = conv_norm(ROWS[-1][1], HEAD, act="relu")
        self.classes = Linear(HEAD, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classes(self.head(self.layers(self.stem(x))).mean(dim=(2, 3)))


def shared_space(num_classes: int = 10) -> fpnas.Supernet:
    """Its supernet: 46,656 architectures."""
    return fpnas.Supernet(SharedSpace(num_classes), name="shared", input_shape=(3, 32, 32))


def search_of(data: ImageData, strategy: str, batch_size: int) -> fpnas.Search:
    """A search on it, of weights alone or of weights and alpha."""
    task = fpnas.SupernetEvaluator(
        shared_space(data.num_classes), data, batch_size=batch_size, optimizer="sgd", lr=LR, weight_decay=WEIGHT_DECAY
    )
    warmup = 1.0 if strategy == "weights" else 0.0
    return fpnas.methods.fpnas_posterior(task, epochs=100, lam=0.0, at_least=SAMPLES[strategy], warmup=warmup)


def data_of(held: dict[str, Tensor]) -> ImageData:
    """The images of the file that all sides read."""
    train = ImageSet(held["images"], held["labels"])
    classes = tuple(map(str, range(int(held["labels"].max()) + 1)))
    heldout = train.subset(torch.arange(2))  # never looked at here
    return ImageData.of("shared", train, heldout, classes=classes, heldout_from="val")


def main() -> int:
    options: Namespace = parser().parse_args()
    data = data_of(torch.load(options.images, weights_only=True))

    def make() -> Callable[[], float]:
        search = search_of(data, options.strategy, options.batch_size)
        return lambda: timed(search.step)

    measure(options, make)
    return 0


if __name__ == "__main__":
    sys.exit(main())

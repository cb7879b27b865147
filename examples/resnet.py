"""A ResNet made elastic in one call: widths of its layers and which blocks run, on scikit-learn's digits.

    python examples/resnet.py --epochs 5 --out runs/resnet

Needs scikit-learn. The module below is plain torch; `make_elastic` finds which layers share a width. The space is
registered, so that the command line knows it too:

    fpnas --import examples/resnet.py search --space resnet --data digits --out runs/resnet
"""

from __future__ import annotations

import argparse

import torch.nn.functional as F
from torch import Tensor, nn

import fpnas
from fpnas.elastic import make_elastic


class Block(nn.Module):
    """Two 3x3 convolutions and the sum with the input; a 1x1 convolution where the shapes differ."""

    def __init__(self, ins: int, outs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(ins, outs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outs)
        self.conv2 = nn.Conv2d(outs, outs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outs)
        self.shortcut = nn.Sequential()
        if stride > 1 or ins != outs:
            self.shortcut = nn.Sequential(nn.Conv2d(ins, outs, 1, stride, bias=False), nn.BatchNorm2d(outs))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """(N, channels, H, W) -> (N, classes), three stages of two blocks."""

    def __init__(self, channels: int, classes: int, widths: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]))
        blocks: list[nn.Module] = []
        for ins, outs in zip((widths[0], *widths), widths, strict=False):
            blocks += [Block(ins, outs, 1 if ins == outs else 2), Block(outs, outs, 1)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu(self.stem(x)))
        return self.head(x.mean((2, 3)))


@fpnas.spaces.register("resnet")
def resnet(num_classes: int, in_channels: int, image_size: int) -> fpnas.Supernet:
    """Widths in quarters, and residual blocks that may be left out."""
    module, shape = ResNet(in_channels, num_classes), (in_channels, image_size, image_size)
    return make_elastic(module, widths=(0.25, 0.5, 0.75, 1.0), skips=True, name="resnet", input_shape=shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--image-size", type=int, default=16)
    parser.add_argument("--target-flops", type=float, default=3e6)
    parser.add_argument("--out", default="runs/resnet")
    options = parser.parse_args()

    data = fpnas.data.load("digits", image_size=options.image_size)
    supernet = resnet(data.num_classes, data.in_channels, data.image_size)
    for choice in supernet.space.choices:
        print(choice.name, choice.options)

    task = fpnas.SupernetEvaluator(supernet, data)
    budget = fpnas.Budget(fpnas.Flops(supernet, data.input_shape), target=options.target_flops)
    answer = fpnas.run(fpnas.methods.fpnas_posterior(task, budget, epochs=options.epochs), options.out).best_within()
    print(f"found {dict(answer.arch)} of {answer.cost:,.0f} multiply-adds")

    network = fpnas.from_scratch(supernet, answer.arch)
    training = fpnas.Training(network, data, epochs=options.epochs)
    judged = fpnas.run(training, f"{options.out}/train")
    print(f"{judged.accuracy:.1f} % of {judged.num_images} held-out images")


if __name__ == "__main__":
    main()

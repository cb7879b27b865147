"""A vision transformer: width, depth, and heads and MLP of each block are searched, on scikit-learn's digits.

    python examples/vit.py --epochs 10 --out runs/vit

Needs scikit-learn. Each block chooses for itself; all share the width, which the sums tie. The command line knows the
space by `fpnas --import examples/vit.py`.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

import fpnas
from fpnas.elastic import Activation, Conv2d, Embedding, LayerNorm, Linear, MultiHeadAttention, Repeat, scaled

WIDTH = fpnas.Choice("model.width", (16, 24, 32))
DEPTH = fpnas.Choice("model.depth", (1, 2, 3))
PATCH = 4


class Block(nn.Module):
    """Attention, then an MLP, each with a norm before it and a sum after it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        heads = fpnas.Choice(f"block{number}.heads", (1, 2, 4))
        hidden = scaled(WIDTH, fpnas.Choice(f"block{number}.expansion", (1, 2, 3)))
        self.norm = LayerNorm(WIDTH)
        self.attention = MultiHeadAttention(WIDTH, heads, head_dim=8)
        self.mlp = nn.Sequential(LayerNorm(WIDTH), Linear(WIDTH, hidden), Activation("gelu"), Linear(hidden, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x))
        return x + self.mlp(x)


class ViT(nn.Module):
    """(N, channels, image_size, image_size) -> (N, classes)."""

    def __init__(self, channels: int, image_size: int, classes: int) -> None:
        super().__init__()
        tokens = (image_size // PATCH) ** 2
        self.patches = Conv2d(channels, WIDTH, kernel_size=PATCH, stride=PATCH, bias=True, padding=0)
        self.places = Embedding(tokens, WIDTH)
        self.register_buffer("index", torch.arange(tokens))
        self.blocks = Repeat(DEPTH, [Block(number) for number in range(3)])
        self.head = nn.Sequential(LayerNorm(WIDTH), Linear(WIDTH, classes))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)  # (N, tokens, width)
        x = self.blocks(tokens + self.places(self.index))
        return self.head(x.mean(dim=1))


@fpnas.spaces.register("vit")
def vit(num_classes: int, in_channels: int, image_size: int) -> fpnas.Supernet:
    """The space for images of this size, whose number of patches the positions depend on."""
    module = ViT(in_channels, image_size, num_classes)
    return fpnas.Supernet(module, name="vit", input_shape=(in_channels, image_size, image_size))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--image-size", type=int, default=16)
    parser.add_argument("--target-flops", type=float, default=150e3)
    parser.add_argument("--out", default="runs/vit")
    options = parser.parse_args()

    data = fpnas.data.load("digits", image_size=options.image_size)
    supernet = vit(data.num_classes, data.in_channels, data.image_size)

    task = fpnas.SupernetEvaluator(supernet, data)
    budget = fpnas.Budget(fpnas.Flops(supernet, data.input_shape), target=options.target_flops)
    answer = fpnas.run(fpnas.methods.fpnas_posterior(task, budget, epochs=options.epochs), options.out).best_within()
    print(f"found {dict(answer.arch)} of {answer.cost:,.0f} multiply-adds")
    for layer in fpnas.layer_costs(supernet, answer.arch, data.input_shape):
        print(f"{layer.name:28} {layer.kind:20} {layer.flops:>8,} multiply-adds {layer.params:>6,} parameters")

    network = supernet.extract(answer.arch).eval()  # a plain torch module with the supernet's weights
    with torch.no_grad():
        right = network(data.normalize(data.heldout.inputs)).argmax(dim=1) == data.heldout.labels
    print(f"{100 * right.double().mean():.1f} % of {len(right)} held-out images")


if __name__ == "__main__":
    main()

"""A network for tables: width, depth and activation of an MLP on scikit-learn's breast cancer data (MIT-licensed copy).

    python examples/tabular_mlp.py --epochs 20 --out runs/tabular

Needs scikit-learn. The table's columns are brought to mean 0 and standard deviation 1 by `TensorData`.
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn

import fpnas
from fpnas.elastic import Activation, BatchNorm1d, Linear, Repeat

WIDTH = fpnas.Choice("mlp.width", (8, 16, 32, 64))
DEPTH = fpnas.Choice("mlp.depth", (0, 1, 2, 3))
ACT = fpnas.Choice("mlp.act", ("relu", "swish"))


class Block(nn.Module):
    """A residual layer; both sides of the sum read the same choice of width."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = Linear(WIDTH, WIDTH, bias=False)
        self.norm = BatchNorm1d(WIDTH)
        self.act = Activation(ACT)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.act(self.norm(self.layer(x)))


class TabularMLP(nn.Module):
    """(N, columns) -> (N, classes)."""

    def __init__(self, columns: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(Linear(columns, WIDTH, bias=False), BatchNorm1d(WIDTH), Activation(ACT))
        self.body = Repeat(DEPTH, [Block() for _ in range(3)])
        self.head = Linear(WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--target-flops", type=float, default=2000.0)
    parser.add_argument("--out", default="runs/tabular")
    options = parser.parse_args()

    table = load_breast_cancer()
    features, labels = torch.tensor(table.data), torch.tensor(table.target)
    data = fpnas.data.TensorData.of("breast-cancer", features, labels, classes=tuple(table.target_names))
    module = TabularMLP(*data.input_shape, data.num_classes)
    supernet = fpnas.Supernet(module, name="tabular-mlp", input_shape=data.input_shape)

    task = fpnas.SupernetEvaluator(supernet, data, batch_size=32)
    budget = fpnas.Budget(fpnas.Flops(supernet, data.input_shape), target=options.target_flops)
    search = fpnas.methods.fpnas_posterior(task, budget, epochs=options.epochs)
    answer = fpnas.run(search, options.out).best_within()
    print(f"found {dict(answer.arch)} of {answer.cost:,.0f} multiply-adds")

    network = fpnas.from_scratch(supernet, answer.arch)  # a plain torch module
    training = fpnas.Training(network, data, epochs=options.epochs, batch_size=32, lr=0.05)
    judged = fpnas.run(training, f"{options.out}/train")
    print(f"{judged.accuracy:.1f} % of {judged.num_images} held-out rows")


if __name__ == "__main__":
    main()

"""A small transformer that says what a text is about: width, heads, depth and MLP of it are searched.

    python examples/text_classifier.py --epochs 10 --out runs/text

The texts are made up on the spot: sentences of a few templates, whose subject (sport, food or weather) is to be told.
"""

from __future__ import annotations

import argparse
import random

import torch
from torch import Tensor, nn

import fpnas
from fpnas.elastic import Activation, Embedding, LayerNorm, Linear, MultiHeadAttention, Repeat, scaled

WIDTH = fpnas.Choice("model.width", (8, 16, 24))
DEPTH = fpnas.Choice("model.depth", (1, 2))
HEADS = fpnas.Choice("block.heads", (1, 2, 4))
EXPANSION = fpnas.Choice("block.expansion", (1, 2, 4))
LENGTH = 12

SUBJECTS = {
    "sport": ("the team won the match", "she ran a fast race", "he kicked the ball hard", "the goal came late"),
    "food": ("the soup was too hot", "she baked fresh bread", "he ate a ripe pear", "the sauce needs salt"),
    "weather": ("the rain will come late", "a hot day with no wind", "snow fell on the hills", "the storm hit hard"),
}
OPENINGS = ("they say", "last week", "i heard that", "well", "as we know")


def made_up_texts(count: int, seed: int = 0) -> tuple[Tensor, Tensor, int]:
    """Tokens (N, LENGTH), where 0 fills up, labels (N,), and the number of words."""
    rng = random.Random(seed)
    words = sorted({word for text in [*OPENINGS, *sum(SUBJECTS.values(), ())] for word in text.split()})
    number = {word: index + 1 for index, word in enumerate(words)}
    tokens, labels = torch.zeros(count, LENGTH, dtype=torch.long), torch.zeros(count, dtype=torch.long)
    for row in range(count):
        labels[row] = rng.randrange(len(SUBJECTS))
        text = f"{rng.choice(OPENINGS)} {rng.choice(list(SUBJECTS.values())[labels[row]])}".split()
        text = [word for word in text if rng.random() > 0.2][:LENGTH] or text[-1:]  # some words go missing
        tokens[row, : len(text)] = torch.tensor([number[word] for word in text])
    return tokens, labels, len(words) + 1


class Block(nn.Module):
    """Attention, then an MLP, each with a norm before it and a sum after it."""

    def __init__(self) -> None:
        super().__init__()
        hidden = scaled(WIDTH, EXPANSION)
        self.norm = LayerNorm(WIDTH)
        self.attention = MultiHeadAttention(WIDTH, HEADS, head_dim=4)
        self.mlp = nn.Sequential(LayerNorm(WIDTH), Linear(WIDTH, hidden), Activation("gelu"), Linear(hidden, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x))
        return x + self.mlp(x)


class TextClassifier(nn.Module):
    """Tokens (N, LENGTH) -> (N, classes)."""

    def __init__(self, words: int, classes: int) -> None:
        super().__init__()
        self.words = Embedding(words, WIDTH)
        self.places = Embedding(LENGTH, WIDTH)
        self.register_buffer("index", torch.arange(LENGTH))
        self.blocks = Repeat(DEPTH, [Block(), Block()])
        self.head = nn.Sequential(LayerNorm(WIDTH), Linear(WIDTH, classes))

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.blocks(self.words(tokens) + self.places(self.index))
        return self.head(x.mean(dim=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--target-flops", type=float, default=30e3)
    parser.add_argument("--out", default="runs/text")
    options = parser.parse_args()

    tokens, labels, words = made_up_texts(options.texts)
    data = fpnas.data.TensorData.of("made-up-texts", tokens, labels, classes=tuple(SUBJECTS))
    like = {"input_shape": data.input_shape, "input_dtype": data.input_dtype}  # of one example: tokens are integers
    supernet = fpnas.Supernet(TextClassifier(words, data.num_classes), name="text-classifier", **like)

    task = fpnas.SupernetEvaluator(supernet, data)
    budget = fpnas.Budget(fpnas.Flops(supernet, **like), target=options.target_flops)
    answer = fpnas.run(fpnas.methods.fpnas_posterior(task, budget, epochs=options.epochs), options.out).best_within()
    print(f"found {dict(answer.arch)} of {answer.cost:,.0f} multiply-adds")

    network = supernet.extract(answer.arch).eval()  # a plain torch module with the supernet's weights
    with torch.no_grad():
        right = network(data.heldout.inputs).argmax(dim=1) == data.heldout.labels
    print(f"{100 * right.double().mean():.1f} % of {len(right)} held-out texts")


if __name__ == "__main__":
    main()

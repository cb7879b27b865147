"""Which channels a narrow network should keep of a pretrained one: a quarter of EfficientNet-Lite0 on trashnet.

All widths are narrowed alike, as in rates.py, but the channels are those of the largest norms ("l2"), or those without
which the loss would change most ("taylor"). Each network is then trained on four fifths of the photographs; the
rest judges.

    python benchmarks/pretrained/orders.py [--data ../shared/data/trashnet] [--seeds 0 1] [--results FILE.md]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import lite0
import torch
from rates import HALF, SHARE, results_file

import fpnas
from fpnas.spaces import Model, Smaller


def fraction(model: Model, data: fpnas.data.ImageData) -> tuple[float, float]:
    """The greatest fraction of all widths at which the network costs at most a quarter, and that cost's share."""
    for percent in range(95, 5, -5):
        supernet = model.supernet(data.num_classes, 3, data.image_size, Smaller(widths=(percent / 100,)))
        flops = fpnas.Flops(supernet, data.input_shape)
        share = flops.of(smallest(supernet)) / flops.bounds()[1]
        if share <= SHARE:
            return percent / 100, share
    raise AssertionError("no fraction is small enough")


def smallest(supernet: fpnas.Supernet) -> fpnas.Arch:
    """The first option of each choice."""
    return supernet.space.decode([0] * len(supernet.space))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/trashnet"))
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rate", type=float, default=0.08)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = fpnas.data.load(asked.data, asked.size)
    model = Model("lite0", lite0.lite0(), normalization=(HALF, HALF), pretrained=True)
    recipe = fpnas.Recipe(epochs=asked.epochs, batch_size=64, crop="pad", flip=True, lr=asked.rate)
    rows: list[list[str]] = []
    width, share = fraction(model, data)
    for seed in asked.seeds:
        for sort in ("l2", "taylor"):
            started = time.process_time()
            smaller = Smaller(widths=(width,))
            supernet = model.supernet(data.num_classes, 3, data.image_size, smaller, seed, sort, data)
            made_in = time.process_time() - started
            network = fpnas.inherited(supernet, smallest(supernet), data)
            training = fpnas.Training(network, data, recipe=recipe, seed=seed)
            while training.steps_done < training.steps_total:
                training.step()
            found = training.result()
            cells = [f"{found.accuracy:.1f}", f"{found.balanced_accuracy:.1f}", f"{made_in:.0f}"]
            rows.append([sort, str(seed), *cells])
            print(rows[-1], flush=True)
    lines = [
        *results_file.head(
            "Which channels of weights that were trained before",
            f"EfficientNet-Lite0, all widths alike, {share:.0%} of the multiply-adds of the whole; {asked.size} px",
            f"{len(data.train):,} photographs of trashnet to train on, {len(data.heldout):,} to judge; {asked.epochs}"
            f" epochs of SGD, rate {asked.rate:g}, batches of 64, shifted by up to an eighth, half of them mirrored",
            "a seed decides the new head, the photographs that taylor looks at and the order of batches",
        ),
        *results_file.table(["order", "seed", "accuracy, %", "balanced, %", "made in, processor s"], rows),
    ]
    print("\n".join(lines))
    results_file.write(asked.results, lines)


if __name__ == "__main__":
    main()

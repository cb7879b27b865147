"""What a network should learn and keep before it is narrowed: a quarter of EfficientNet-Lite0 on photographs.

All widths are narrowed alike, as in rates.py. The channels that stay are those of the largest norms ("l2"), or those
without which the loss would change most ("taylor"). Before that, the whole network learns the data for some epochs
(`runner.tuned`), or it doesn't. Each narrow network is then trained on four fifths of the photographs; the rest judges.
One row gets the time of the tuned ones as epochs of its own.

    python benchmarks/pretrained/orders.py [--data ../shared/data/trashnet] [--classes N] [--images N] [--size 96]
                                           [--seeds 0 1] [--results FILE.md]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import lite0
import torch
from rates import HALF, SHARE, results_file
from train_recipes import part_of

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
    parser.add_argument("--classes", type=int)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--longer", type=int, default=18)
    parser.add_argument("--tuned", type=int, nargs="+", default=[0, 3, 6])
    parser.add_argument("--rate", type=float, default=0.08)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = part_of(fpnas.data.load(asked.data, asked.size, classes=asked.classes), asked.images, asked.images)
    given = Model("lite0", lite0.lite0(), normalization=(HALF, HALF), pretrained=True)
    rows: list[list[str]] = []
    width, share = fraction(given, data)
    ways = [(tuned, sort, asked.epochs) for tuned in asked.tuned for sort in ("l2", "taylor")]
    for seed in asked.seeds:
        models = {0: given}
        for tuned, sort, epochs in [*ways, (0, "taylor", asked.longer)]:
            started = time.process_time()
            if tuned not in models:
                with TemporaryDirectory() as folder:
                    models[tuned] = fpnas.runner.tuned(given, data, folder, how={"epochs": tuned, "seed": seed})
            smaller = Smaller(widths=(width,))
            supernet = models[tuned].supernet(data.num_classes, 3, data.image_size, smaller, seed, sort, data)
            network = fpnas.inherited(supernet, smallest(supernet), data)
            recipe = fpnas.Recipe(epochs=epochs, batch_size=64, crop="pad", flip=True, lr=asked.rate)
            training = fpnas.Training(network, data, recipe=recipe, seed=seed)
            while training.steps_done < training.steps_total:
                training.step()
            found = training.result()
            cells = [f"{found.accuracy:.1f}", f"{found.balanced_accuracy:.1f}", f"{time.process_time() - started:.0f}"]
            rows.append([str(tuned), sort, str(epochs), str(seed), *cells])
            print(rows[-1], flush=True)
    columns = ["epochs of the whole", "order", "epochs", "seed", "accuracy, %", "balanced, %", "processor s"]
    lines = [
        *results_file.head(
            "What to learn and to keep before a network is narrowed",
            f"EfficientNet-Lite0, all widths alike, {share:.0%} of the multiply-adds of the whole; {asked.size} px",
            f"{len(data.train):,} photographs of {data.name} to train on, {len(data.heldout):,} to judge; "
            f"SGD, rate {asked.rate:g}, batches of 64, shifted by up to an eighth, half of them mirrored",
            "a seed decides the new head, the photographs that taylor looks at and the order of batches",
            "seconds are those of all that a row is the first to need",
        ),
        *results_file.table(columns, rows),
    ]
    print("\n".join(lines))
    results_file.write(asked.results, lines)


if __name__ == "__main__":
    main()

"""Learning rates for weights that were trained before: a quarter of EfficientNet-Lite0 on photographs of waste.

Each width of the network is narrowed alike until it costs a quarter of the whole. What is left of its ImageNet weights,
and the same network with fresh weights, is trained on four fifths of trashnet; the rest judges.

    python benchmarks/pretrained/rates.py [--data ../shared/data/trashnet] [--size 96] [--epochs 6] [--results FILE.md]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import lite0
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import results_file

import fpnas
from fpnas.spaces import Model, Smaller

SHARE = 0.25
RATES = {"inherited": (0.005, 0.02, 0.08, 0.2), "fresh": (0.08, 0.2)}
HALF = (0.5, 0.5, 0.5)


def narrowed(model: Model, data: fpnas.data.ImageData, share: float) -> tuple[fpnas.Supernet, fpnas.Arch, float]:
    """The supernet of one fraction of all widths whose smallest network costs at most `share` of the whole, greatest
    fraction first; that network, and its cost's share."""
    for percent in range(95, 5, -5):
        supernet = model.supernet(data.num_classes, 3, data.image_size, Smaller(widths=(percent / 100,)))
        flops = fpnas.Flops(supernet, data.input_shape)
        arch = supernet.space.decode([0] * len(supernet.space))
        part = flops.of(arch) / flops.bounds()[1]
        if part <= share:
            return supernet, arch, part
    raise AssertionError("no fraction is small enough")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/trashnet"))
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--results", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    data = fpnas.data.load(asked.data, asked.size)
    model = Model("lite0", lite0.lite0().eval(), 224, (HALF, HALF), pretrained=True)
    supernet, arch, part = narrowed(model, data, SHARE)
    recipe = fpnas.Recipe(epochs=asked.epochs, batch_size=64, crop="pad", flip=True)
    rows: list[list[str]] = []
    for weights, rates in RATES.items():
        for rate in rates:
            started = time.process_time()
            make = fpnas.inherited if weights == "inherited" else lambda net, found, _: fpnas.from_scratch(net, found)
            training = fpnas.Training(make(supernet, arch, data), data, recipe=recipe.with_fields({"lr": rate}))
            while training.steps_done < training.steps_total:
                training.step()
            found = training.result()
            seconds = time.process_time() - started
            cells = [f"{found.accuracy:.1f}", f"{found.balanced_accuracy:.1f}", f"{seconds:.0f}"]
            rows.append([weights, f"{rate:g}", *cells])
            print(rows[-1], flush=True)
    lines = [
        *results_file.head(
            "Learning rates for weights that were trained before",
            f"EfficientNet-Lite0, all widths alike, {part:.0%} of the multiply-adds of the whole; {asked.size} px",
            f"{len(data.train):,} photographs of trashnet to train on, {len(data.heldout):,} to judge; "
            f"{asked.epochs} epochs of SGD, batches of 64, shifted by up to an eighth, half of them mirrored; one seed",
        ),
        *results_file.table(["weights", "rate", "accuracy, %", "balanced, %", "processor s"], rows),
    ]
    print("\n".join(lines))
    results_file.write(asked.results, lines)


if __name__ == "__main__":
    main()

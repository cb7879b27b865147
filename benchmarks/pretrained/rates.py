"""What weights that were trained before are worth: a quarter of EfficientNet-Lite0 on photographs of waste.

Each width of the network is narrowed alike until it costs a quarter of the whole. What is left of its ImageNet weights,
the channels in their order or the largest first, and the same network with fresh weights, is trained at several rates
on four fifths of trashnet; the rest judges.

    python benchmarks/pretrained/rates.py [--data ../shared/data/trashnet] [--size 96] [--epochs 6] [--results FILE.md]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import lite0
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import results_file

import fpnas
from fpnas.elastic import make_elastic
from fpnas.spaces.heads import with_classes

SHARE = 0.25
RATES = {
    "inherited, as they are": (0.005, 0.02, 0.08, 0.2),
    "inherited, sorted by l1": (0.02,),
    "inherited, sorted by l2": (0.005, 0.02, 0.08),
    "fresh": (0.08, 0.2),
}
HALF = (0.5, 0.5, 0.5)


def narrowed(
    module: nn.Module, data: fpnas.data.ImageData, share: float, sort: Any
) -> tuple[fpnas.Supernet, fpnas.Arch, float]:
    """The supernet of one fraction of all widths whose smallest network costs at most `share` of the whole, greatest
    fraction first; that network, and its cost's share."""
    for percent in range(95, 5, -5):
        widths = (percent / 100,)
        supernet = make_elastic(module, widths=widths, name="lite0", input_shape=data.input_shape, sort=sort)
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
    data = data.normalized_by((HALF, HALF))
    module = with_classes(lite0.lite0(), data.num_classes, data.input_shape, 0, "lite0")
    part = 0.0
    recipe = fpnas.Recipe(epochs=asked.epochs, batch_size=64, crop="pad", flip=True)
    rows: list[list[str]] = []
    for weights, rates in RATES.items():
        sort = weights.rpartition(" ")[2] if "sorted" in weights else None
        supernet, arch, part = narrowed(module, data, SHARE, sort)
        for rate in rates:
            started = time.process_time()
            fresh = weights == "fresh"
            network = fpnas.from_scratch(supernet, arch) if fresh else fpnas.inherited(supernet, arch, data)
            training = fpnas.Training(network, data, recipe=recipe.with_fields({"lr": rate}))
            while training.steps_done < training.steps_total:
                training.step()
            found = training.result()
            seconds = time.process_time() - started
            cells = [f"{found.accuracy:.1f}", f"{found.balanced_accuracy:.1f}", f"{seconds:.0f}"]
            rows.append([weights, f"{rate:g}", *cells])
            print(rows[-1], flush=True)
    lines = [
        *results_file.head(
            "Rates and order of channels for weights that were trained before",
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

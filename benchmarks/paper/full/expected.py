"""What the lines of this folder take: hours and memory of each arm, from multiply-adds, a GPU's speed and a link's.

    python benchmarks/paper/full/expected.py [--images-per-second N] [--link-gbit 100] [TABLE ...]

* A search takes samples x images x (3 + 1) forward passes: each sampled network learns from a batch (forward and
  backward, as three) and is scored on another. Networks have the mean of uniformly drawn ones at the start and the
  target at the end; half of both is taken. A mixture runs all candidates, on alpha's batch backward too: 3 + 2.
* Of adaptive K the mean over a search is the share of K0 that the paper's table of theta has: 54.3 of 150 thousand.
* A training takes epochs x images x 3 forward passes of the target.
* Memory of a GPU: weights with gradient and two moments, and what the backward pass keeps of the largest network (or of
  all candidates) for a GPU's images, in bfloat16; libraries come on top.
* Efficiency is the part of a step that is left beside the all-reduce on a ring, which is taken not to overlap.

--images-per-second is what one GPU trains, forward and backward, of a network of 100 M multiply-adds. benchmarks/gpu.py
prints it for a GPU at hand. The default is that of the paper's GPUs, from its own row of K = 14: 150 thousand samples
of 1,077 images (180 epochs of half of ImageNet-100 in 10.7 thousand steps) took 4.3 GPU-days.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "ground"))
sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

import results_file
import torch
from command import Plan
from protocol import Arm, supernet
from scaling_page import ring_seconds
from torch import Tensor

import fpnas

TABLES = ("adaptive", "theta", "fine", "fbnetv2", "splits", "large")
HALF, TRAINED_ON = 64_000, 1_281_167
"""Images of half of ImageNet-100, and of ImageNet."""
SEARCHERS, TRAINERS = 8, 64
K14_SAMPLES, K14_BATCH, K14_DAYS = 150e3, 1077, 4.3
STAYS = 54.3 / 150
"""Mean K over K0 of an adaptive search."""
MIXES = ("darts", "fbnetv2")


@dataclass(frozen=True)
class Size:
    """What an arm's space takes at its image size.

    Args:
        uniform: multiply-adds of networks drawn uniformly, on average.
        mixture: of all candidates together.
        weights: of the supernet, numbers.
        kept: values that the backward pass of the largest network keeps, an image.
        kept_mixed: the same of all candidates.
        first_k: H0, in nats.
    """

    uniform: float
    mixture: float
    weights: int
    kept: float
    kept_mixed: float
    entropy: float


def size_of(arm: Arm, mixes: bool) -> Size:
    """Counted on the meta device, which has shapes and no values."""
    shape = (3, arm.image_size, arm.image_size)
    with torch.device("meta"):
        net = supernet(arm, "full", SimpleNamespace(num_classes=100, in_channels=3), 0)  # pyright: ignore
    flops = fpnas.Flops(net, shape)
    alpha = fpnas.ArchDistribution(net.space)
    drawn = alpha.sample(200, torch.Generator().manual_seed(0))
    largest = net.extract(net.space.decode(list(flops.table.extreme(-1)[1]))).train()
    mixture = kept_mixed = 0.0
    if mixes:
        even = {c.name: torch.full((len(c.options),), 1 / len(c.options)) for c in net.space.choices}
        kept_mixed, mixture = kept(lambda images: net.train().mix(even)(images), list(net.parameters()), shape)
    weights = sum(parameter.numel() for parameter in net.parameters())
    one = kept(largest, list(largest.parameters()), shape)[0]
    return Size(float(flops(drawn).double().mean()), mixture, weights, one, kept_mixed, float(alpha.entropy().detach()))


def kept(run: Any, parameters: list[Tensor], shape: tuple[int, ...]) -> tuple[float, float]:
    """Values that the graph of an image keeps beside the parameters, and the multiply-adds of the forward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    own = {parameter.untyped_storage()._cdata for parameter in parameters}
    found: dict[int, int] = {}
    alive: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        alive.append(tensor)
        if tensor.untyped_storage()._cdata not in own:
            found[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    images = torch.empty(2, *shape, device="meta")  # batch norms want two
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor), FlopCounterMode(display=False) as count:
        run(images)
    return sum(found.values()) / 2, count.get_total_flops() / 2 / 2


def mean_k(arm: Arm, entropy: float) -> float:
    """Networks a step, on average over the search."""
    options = dict(arm.options)
    if arm.method in MIXES:
        return 1.0
    if "num_samples" in options:
        return float(options["num_samples"])
    return max(2.0, STAYS * options.get("lam", 0.25) * entropy)


def speed_of_the_paper(uniform: float, target: float) -> float:
    """Multiply-adds a second of one of its GPUs."""
    return K14_SAMPLES * K14_BATCH * 4 * (uniform + target) / 2 / (K14_DAYS * 86_400)


def row(arm: Arm, size: Size, speed: float, link: float, asked: Plan) -> list[str]:
    """An arm's line of the table."""
    target = arm.target[1]
    mixes = arm.method in MIXES
    k = mean_k(arm, size.entropy)
    forward = size.mixture if mixes else (size.uniform + target) / 2
    steps = asked.epochs * HALF / asked.batch_size
    compute = k * asked.batch_size * (5 if mixes else 4) * forward / speed / SEARCHERS
    searching = compute / (compute + ring_seconds(size.weights, SEARCHERS, link))
    learning = asked.train_batch_size * 3 * target / speed / TRAINERS
    training = learning / (learning + ring_seconds(int(0.3 * size.weights), TRAINERS, link))
    hours = steps * compute / searching / 3600
    train_hours = asked.train_epochs * TRAINED_ON / asked.train_batch_size * learning / training / 3600
    images = asked.batch_size / SEARCHERS / asked.accumulate
    memory = 16 * size.weights + 2 * images * (size.kept_mixed if mixes else size.kept)
    return [
        arm.name,
        f"{k * steps / 1e3:,.1f}",
        f"{hours:,.1f}",
        f"{hours * SEARCHERS / 24:,.1f}",
        f"{searching:.0%}",
        f"{memory / 2**30:,.1f}",
        f"{train_hours:,.1f}",
        f"{training:.0%}",
        arm.published,
    ]


HEAD = [
    "arm",
    "thousand samples",
    f"search on {SEARCHERS} GPUs, h",
    "GPU-days",
    "efficiency",
    "GiB a GPU",
    f"training on {TRAINERS} GPUs, h",
    "efficiency",
    "published",
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--images-per-second", type=float, help="of a network of 100 M multiply-adds, on one GPU")
    parser.add_argument("--link-gbit", type=float, default=100.0, help="of each machine's link to the others")
    parser.add_argument("--results", type=Path, help="write them here, too")
    given = parser.parse_args()
    if wrong := [name for name in given.tables if name not in TABLES]:
        parser.error(f"{', '.join(TABLES)} are there, not {wrong[0]}")
    asked = Plan("full", 1, 180, Path("runs"))
    sizes: dict[Any, Size] = {}

    def known(arm: Arm) -> Size:
        key = (arm.fine, arm.micro, arm.rows, arm.image_size, arm.method in MIXES)
        if key not in sizes:
            sizes[key] = size_of(arm, arm.method in MIXES)
        return sizes[key]

    speed = speed_of_the_paper(known(Arm("K = 14")).uniform, Arm("K = 14").target[1])
    source = "of the paper's GPUs, by its row of K = 14"
    if given.images_per_second is not None:
        speed, source = given.images_per_second * 3 * 100e6, "as given"
    facts = [
        f"A GPU: {speed / 3 / 100e6:,.0f} images a second of 100 M multiply-adds, forward and backward; {source}",
        f"Links: {given.link_gbit:g} Gbit/s",
        f"Images a step: {asked.batch_size:,} of a search, {asked.train_batch_size:,} of a training",
    ]
    lines = results_file.head("Expected hours and memory of the paper's tables", *facts)
    for name in given.tables or TABLES:
        arms = importlib.import_module(name).arms("full")
        rows = [row(arm, known(arm), speed, given.link_gbit / 8 * 1e9, asked) for arm in arms]
        lines += [f"## {name}", "", *results_file.table(HEAD, rows), ""]
    print("\n".join(lines))
    results_file.write(given.results, lines[:-1])
    return 0


if __name__ == "__main__":
    sys.exit(main())

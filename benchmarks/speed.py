"""What the benchmarks of speed and memory share: images, a supernet with steps behind it, plain networks, results.

Images are a part of CIFAR-10 from ../shared/data, brought to the size wanted; where that folder is absent they are made
up, and the facts that a script prints say so. `--data` also takes an .npz, where parquet can't be read.
"""

from __future__ import annotations

import json
import platform
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import results_file
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fpnas
from fpnas.data import ImageData, ImageSet, load, stratified_split
from fpnas.data.decode import decode
from fpnas.data.readers import parquet
from fpnas.data.request import Encoded, Request
from fpnas.estimators import Temperature
from fpnas.search import CostTerm
from fpnas.spaces import by_name
from fpnas.streams import generator

CIFAR10 = Path(__file__).parents[2] / "shared" / "data" / "cifar10"
STATES = Path("runs") / "speed"
WARM_BATCH, WARM_SAMPLES = 16, 2
"""Of the steps that a supernet has behind it: weights and alpha have moved, and a minute or so is enough."""


@dataclass(frozen=True)
class Warm:
    """A supernet, and alpha's logits, factorised, that have steps of a search behind them."""

    supernet: fpnas.Supernet
    alpha: Tensor


def parser(doc: str | None) -> ArgumentParser:
    """The flags that all of them have."""
    made = ArgumentParser(description=doc, formatter_class=RawDescriptionHelpFormatter)
    made.add_argument("--json", action="store_true", help="print one flat JSON object and nothing else")
    made.add_argument("--space", default="fbnetv2-f")
    made.add_argument("--image-size", type=int, default=64)
    made.add_argument("--batch-size", type=int, default=64)
    made.add_argument("--threads", type=int, default=2)
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    made.add_argument("--data", type=Path, default=CIFAR10, help="CIFAR-10 as a folder of parquet files, or an .npz")
    made.add_argument("--results", type=Path, default=None, help="also write a results file")
    return made


def images(options: Namespace, count: int = 2560) -> ImageData:
    """So many training images of 10 classes alike; by default either half is 20 batches of 64. (A search cuts an epoch
    into batches that differ by an image where it must, and each size has kernels of its own to be compiled.)"""
    if options.data.is_file():
        source = load(options.data, options.image_size).train
        chosen = torch.arange(len(source))
        if count < len(source):
            chosen = stratified_split(source.labels, count / len(source), 0)[1]
        part = source.subset(chosen)
        name, pixels, labels = options.data.stem, part.inputs, part.labels
    elif options.data.is_dir():
        source = parquet.read(Request(options.data)).train
        assert isinstance(source, Encoded)
        chosen = torch.arange(len(source.labels))
        if count < len(chosen):
            chosen = stratified_split(source.labels, count / len(chosen), 0)[1]
        pixels = torch.stack([torch.tensor(decode(item.content, 3)) for item in source.items(chosen)])
        name, labels = "cifar10", source.labels[chosen]
    else:
        size = options.image_size
        pixels = torch.randint(0, 256, (count, 3, size, size), generator=generator(0, "made-up images"))
        name, pixels, labels = "made up", pixels.to(torch.uint8), torch.arange(count) % 10
    train = ImageSet(pixels, labels).resized(options.image_size)
    heldout = train.subset(torch.arange(10))  # never looked at here
    return ImageData.of(name, train, heldout, classes=tuple(map(str, range(10))), heldout_from="val")


def search_of(
    warm: Warm,
    data: ImageData,
    batch_size: int,
    samples: int,
    temperature: Temperature = "mean",
    device: str = "cpu",
    precision: str = "fp32",
) -> fpnas.Search:
    """FP-NAS with a fixed K and a FLOPs target that binds; alpha moves from the first step on."""
    where = {"device": device, "precision": precision}
    task = fpnas.SupernetEvaluator(warm.supernet, data, batch_size=batch_size, temperature=temperature, **where)
    cost = fpnas.Flops(warm.supernet, data.input_shape)
    least, most = cost.bounds()
    budget = fpnas.Budget(cost, least + (most - least) / 4)
    settings: dict[str, Any] = {"lam": 0.0, "at_least": samples, "temperature": "product", "baseline": "mean"}
    term = CostTerm(floor=0.05, estimator="many")
    search = fpnas.methods.fpnas(task, budget, epochs=100, warmup=0.0, cost_term=term, **settings)
    search.distribution.set_logits(warm.alpha)
    return search


def fresh(options: Namespace, data: ImageData) -> Warm:
    """A new supernet, and uniform alpha."""
    supernet = by_name(options.space)(num_classes=data.num_classes, in_channels=data.in_channels)
    return Warm(supernet, torch.zeros_like(fpnas.ArchDistribution(supernet.space).logits.detach()))


def warmed(options: Namespace, data: ImageData, steps: int) -> Warm:
    """A supernet and alpha with so many steps behind them; kept in a file, so that a second call is quick."""
    warm = fresh(options, data)
    file = STATES / f"{options.space}-{options.image_size}px-{data.name.replace(' ', '-')}-{steps}-steps.pt"
    if file.exists():
        state = torch.load(file, weights_only=True, map_location="cpu")
        warm.supernet.load_state_dict(state["supernet"])
        return Warm(warm.supernet, state["alpha"])
    search = search_of(warm, data, WARM_BATCH, WARM_SAMPLES, device=options.device)
    for _ in range(steps):
        search.step()
    alpha = search.distribution.logits.detach().clone()
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"supernet": warm.supernet.state_dict(), "alpha": alpha}, file)
    return Warm(warm.supernet, alpha)


def batch_of(data: ImageData, size: int, seed: int = 0, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Normalized images, channels last, and labels."""
    chosen = torch.randperm(len(data.train), generator=generator(seed, "batch"))[:size]
    part = data.train.subset(chosen)
    images = data.normalize(part.inputs.to(device)).contiguous(memory_format=torch.channels_last)
    return images, part.labels.to(device)


def timed(work: Callable[[], object]) -> float:
    """Seconds until it has ended, on a GPU too."""
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def wait() -> None:
    """Until the GPU, where one is in use, has done all that it was told."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def plain_of(supernet: fpnas.Supernet, arch: Mapping[str, Any]) -> nn.Module:
    """The plain module of an architecture, channels last, as it is trained."""
    return supernet.extract(arch).to(memory_format=torch.channels_last).train()  # pyright: ignore


def plain_learn(network: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Forward and backward; gradients are new each time."""
    network.zero_grad()
    F.cross_entropy(network(images), labels).backward()


def codes_of(space: fpnas.SearchSpace, count: int) -> Tensor:
    """So many architectures, drawn uniformly: (count, V)."""
    return fpnas.ArchDistribution(space).sample(count, generator(0, "drawn architectures"))


def table(measured: Mapping[str, Any], wanted: Mapping[str, float] | None = None) -> list[str]:
    """Lines of a table of what was measured; with `wanted`, by the same names, a column of the most it may be."""
    if wanted is None:
        return results_file.table(["what", "measured"], measured.items())
    rows = [(name, value, wanted.get(name, "")) for name, value in measured.items()]
    return results_file.table(["what", "measured", "at most"], rows)


def show(
    title: str,
    facts: Mapping[str, Any],
    measured: Mapping[str, Any],
    options: Namespace,
    wanted: Mapping[str, float] | None = None,
) -> None:
    """Prints and, where asked, writes what was measured, beside the most that is `wanted`; `--json` prints one flat
    object."""
    machine = {
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu",
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
    if options.json:
        print(json.dumps({**measured, **facts, **machine}))
    told = [f"{name.replace('_', ' ')}: {value}" for name, value in facts.items()]
    lines = [*results_file.head(title, *told, f"device: {machine['device']}"), *table(measured, wanted)]
    if not options.json:
        print("\n".join(lines))
    results_file.write(options.results, lines)

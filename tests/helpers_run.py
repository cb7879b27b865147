"""What the tests of the loops, the runner and the trainings share: a small supernet, made-up images, a table as judge.

Nothing here is under test, so nothing here borrows the library's arithmetic: images are integers from a generator, the
table is a formula on codes, and files are read with `json` alone.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import fpnas
from fpnas.data import ImageData, ImageSet
from fpnas.elastic import Linear, conv_norm, searchable_mbconv
from fpnas.evaluators.base import Learned
from fpnas.runner import Progress
from fpnas.search import CostTerm

CLASSES = 4

# Defaults move by measurement; what the tests say of steps and numbers holds for these.
PINNED = {
    "join_at": 0.45,
    "warmup": 0.1,
    "temperature": 8.0,
    "baseline": "mean",
    "cost_term": CostTerm(beta=0.3, floor=0.05, estimator="many"),
    "lr": 0.1,
    "at_least": 2,
}


# ------------------------------------------------------------------------------------------------------ made-up images


def images_of(count: int, seed: int, size: int = 8, channels: int = 1, noise: int = 60) -> ImageSet:
    """Images of `CLASSES` classes, in each a bright quarter; pixel (0, 0) of channel 0 holds the image's number."""
    assert count <= 256, "the number must fit into a byte"
    g = torch.Generator().manual_seed(seed)
    labels = torch.randperm(count, generator=g) % CLASSES
    pixels = torch.randint(0, noise, (count, channels, size, size), generator=g)
    half = size // 2
    for number, label in enumerate(labels.tolist()):
        top, left = half * (label // 2), half * (label % 2)
        pixels[number, :, top : top + half, left : left + half] += 150
    pixels[:, 0, 0, 0] = torch.arange(count)
    return ImageSet(pixels.to(torch.uint8), labels)


def made_up(train: int = 48, heldout: int = 16, size: int = 8, channels: int = 1, **options: Any) -> ImageData:
    """A data set of such images."""
    return ImageData.of(
        "made-up",
        images_of(train, 1, size, channels, **options),
        images_of(heldout, 2, size, channels, **options),
        classes=tuple("abcd"),
        heldout_from="test",
    )


def numbers_in(batch: Tensor, data: ImageData) -> list[int]:
    """Which training images a normalized batch holds, from pixel (0, 0)."""
    return ((batch[:, 0, 0, 0].double() * data.std[0] + data.mean[0]) * 255).round().long().tolist()


class Untouchable(ImageSet):
    """Images that can be measured while a data set is made, and then never be read again."""

    armed = False

    def __getattribute__(self, name: str) -> Any:
        if name in ("inputs", "labels", "subset", "resized") and type(self).armed:
            raise AssertionError(f"held-out {name} were read")
        return super().__getattribute__(name)


# ---------------------------------------------------------------------------------------------------- a small supernet


class SmallNet(nn.Module):
    """Stem, two searchable blocks, classifier; `double` casts its input, so that all arithmetic is float64.

    No width is below 8: oneDNN writes past its buffers in the weights' gradient of a 1x1 convolution with stride 2, as
    a bypass is, that has fewer input channels in channels-last memory (uxlfoundation/oneDNN#6035, torch 2.13).
    """

    def __init__(self, in_channels: int, classes: int, double: bool) -> None:
        super().__init__()
        self.double_input = double

        def choice(name: str, *options: Any) -> fpnas.Choice:
            return fpnas.Choice(name, options)

        first, second = choice("a.channels", 8, 12), choice("b.channels", 12, 16)
        self.stem = conv_norm(in_channels, 8, stride=2, act="relu", kernel=3)
        self.a = searchable_mbconv(
            8, first, choice("a.kernel", 0, 3), 1, choice("a.expansion", 1, 2), "relu", choice("a.splits", 0, 1, 2)
        )
        self.b = searchable_mbconv(
            first, second, choice("b.kernel", 0, 3, 5), 2, 2, choice("b.act", "relu", "swish"), choice("b.splits", 0, 2)
        )
        self.head = conv_norm(second, 16, act="relu")
        self.classifier = Linear(16, classes)

    def forward(self, x: Tensor) -> Tensor:
        if self.double_input:
            x = x.double()
        return self.classifier(self.head(self.b(self.a(self.stem(x)))).mean((2, 3)))


def small_tiny(num_classes: int = 10, in_channels: int = 3, seed: int = 0) -> fpnas.Supernet:
    """What stands in for `tiny`: 576 architectures, a few thousand weights."""
    net = SmallNet(in_channels, num_classes, double=False)
    return fpnas.Supernet(net, seed=seed, name="tiny", image_sizes=(16, 128))


def small_supernet(double: bool = False, seed: int = 0, in_channels: int = 1, classes: int = CLASSES) -> fpnas.Supernet:
    """Two groups, eight choices, 576 architectures; a few thousand weights. Branches are told apart from the start."""
    supernet = fpnas.Supernet(SmallNet(in_channels, classes, double), seed=seed, aligned=False)
    # Larger weights of the classifier than a fresh network's, so that architectures differ in their losses.
    with torch.no_grad():
        supernet.module.classifier.weight.mul_(30)
    return supernet.double() if double else supernet


def small_search(data: ImageData | None = None, **options: Any) -> fpnas.Search:
    """FP-NAS on the small supernet: 3 epochs of 4 steps; theta at step 5, in the midst of the second epoch."""
    images = made_up() if data is None else data
    evaluator = {"batch_size": 6, "optimizer": "sgd", "seed": options.get("seed", 0), "temperature": 4.0}
    evaluator |= options.pop("evaluator", {})
    supernet = small_supernet(seed=options.get("seed", 0))
    task = fpnas.SupernetEvaluator(supernet, images, **evaluator)
    shape = (images.in_channels, images.image_size, images.image_size)
    budget = fpnas.Budget(fpnas.Flops(supernet, shape), target=options.pop("target", 6e3))
    return fpnas.methods.fpnas(task, budget, **{**PINNED, "lam": 0.4, "epochs": 3, **options})


# ---------------------------------------------------------------------------------------------------- a table as judge

TABLE_SPACE = fpnas.SearchSpace(
    [
        fpnas.Choice("a.kernel", (0, 3, 5)),
        fpnas.Choice("a.act", ("relu", "swish")),
        fpnas.Choice("b.kernel", (0, 3, 5)),
        fpnas.Choice("b.width", (8, 16, 24, 32)),
        fpnas.Choice("c", (1, 2)),
    ]
)


def table_loss(code: tuple[int, ...]) -> float:
    """Nats an image: wide and large is good; in group a only kernel 3 with swish is, whatever each is by itself."""
    a_kernel, a_act, b_kernel, b_width, c = code
    pair = 0.0 if (a_kernel, a_act) == (1, 1) else 0.5 + 0.05 * a_kernel
    return 0.5 + pair + 0.2 * (2 - b_kernel) + 0.15 * (3 - b_width) + 0.1 * c


def table_cost(code: tuple[int, ...]) -> float:
    """Wide and large is dear."""
    a_kernel, a_act, b_kernel, b_width, c = code
    return 10.0 + 5 * a_kernel + a_act + 10 * b_kernel + 20 * b_width + 3 * c


ALL_CODES = list(itertools.product(*(range(n) for n in TABLE_SPACE.cardinalities)))


class TableEvaluator:
    """Known losses instead of a network; counts what is asked of it."""

    space = TABLE_SPACE
    num_images = 16
    stationary = True

    def __init__(self, steps_per_epoch: int = 10) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.learned: list[Tensor] = []
        self.progress: list[float] = []
        self.scored: list[Tensor] = []

    def train_step(self, codes: Tensor, progress: float) -> Learned:
        self.learned.append(codes)
        self.progress.append(progress)
        return Learned(sum(table_loss(tuple(row)) for row in codes.tolist()) / len(codes))

    def score(self, codes: Tensor) -> Tensor:
        self.scored.append(codes)
        losses = [table_loss(tuple(row)) for row in codes.tolist()]
        return -self.num_images * torch.tensor(losses, dtype=torch.float64)

    def describe(self, arch: fpnas.Arch) -> dict[str, Any]:
        return {"space": "table", "choices": dict(arch)}

    def settings(self) -> dict[str, Any]:
        return {"space": "table", "steps_per_epoch": self.steps_per_epoch}

    def state_dict(self) -> dict[str, Any]:
        return {"steps": len(self.learned)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learned = [torch.empty(0)] * state["steps"]


class TableCost:
    """A cost model that reads `table_cost`."""

    name = "coins"
    space = TABLE_SPACE

    def __init__(self) -> None:
        # Looked up, not worked out anew: searches ask for the costs of thousands at each step.
        costs = torch.tensor([table_cost(code) for code in ALL_CODES], dtype=torch.float64)
        self._costs = costs.reshape(TABLE_SPACE.cardinalities)

    def __call__(self, codes: Tensor) -> Tensor:
        return self._costs[codes.unbind(dim=1)]

    def bounds(self) -> tuple[float, float]:
        costs = [table_cost(code) for code in ALL_CODES]
        return min(costs), max(costs)


def table_search(**options: Any) -> fpnas.Search:
    """FP-NAS on the table, without a budget: 10 steps, 5 an epoch."""
    return fpnas.methods.fpnas(TableEvaluator(5), None, **{**PINNED, "epochs": 2, **options})


# -------------------------------------------------------------------------------------------------------- what is left


def run(job: Any, folder: Path, **options: Any) -> Any:
    """`fpnas.run` that shows nothing."""
    return fpnas.run(job, folder, progress=Progress(), **options)


def read(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text())


def write_lines(path: Path, lines: Iterable[object]) -> None:
    """A log: a line of JSON each."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def through_file(state: dict[str, Any]) -> dict[str, Any]:
    """A state as it comes back from a checkpoint."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a log, each line of which must be whole."""
    text = path.read_text()
    assert text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def without_seconds(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metrics without the one field in which equal runs differ, which must be there."""
    return [{name: value for name, value in line.items() if name != "seconds" or value < 0} for line in lines]


def outcome(folder: Path) -> dict[str, Any]:
    """All that equal runs must agree in."""
    result = read(folder / "result.json")
    found: dict[str, Any] = {
        "arch.json": (folder / "arch.json").read_bytes(),
        "metrics.jsonl": without_seconds(json_lines(folder / "metrics.jsonl")),
        "result.json": {k: v for k, v in result.items() if k not in ("seconds", "peak_memory_mb")},
    }
    for name in ("distribution.jsonl", "model.safetensors"):
        if (folder / name).exists():
            found[name] = (folder / name).read_bytes()
    return found


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder (locks aside, which hold nothing) and the hash of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its time of last change and its inode: a rewritten file has others."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def gloo_threads() -> list[str]:
    """Names of this process's threads that belong to a process group of gloo, on Linux; elsewhere none are seen."""
    names = [file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]

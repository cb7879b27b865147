"""`SupernetEvaluator`: a supernet and a data set; trains shared weights on one half of the training images and scores
architectures on the other.

Everything is run with the batch's own statistics. One network at a time is in memory, whatever K. Under torchrun the
ranks share each step, see `ranks`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float64, Int64
from torch import Tensor

from fpnas import parallel
from fpnas.data import Batches, Data, EpochOrder, halves
from fpnas.elastic import Supernet, batch_statistics
from fpnas.elastic.gathered import Gathered
from fpnas.errors import InputError
from fpnas.estimators import Temperature, divisor
from fpnas.evaluators.base import Learned
from fpnas.evaluators.fit import check_classes, check_ranks
from fpnas.evaluators.gradients import OnlineWeights
from fpnas.evaluators.of_supernet import OfSupernet
from fpnas.evaluators.optimizer import WeightsOptimizer
from fpnas.evaluators.prefixes import Chain, Walk
from fpnas.evaluators.ranks import Split, combine, first_order, own_images, own_rows, sum_over_ranks
from fpnas.evaluators.rehearsal import rehearse
from fpnas.streams import generator

JUDGED_AT_ONCE = 250
"""Images that share their batch statistics where architectures are judged on many."""


class SupernetEvaluator(OfSupernet):
    """Judges architectures by a supernet's shared weights.

    Letters: K architectures, V choices, B images of a batch.

    Args:
        supernet: takes the data's channels and classes.
        data: its training images are cut, class by class, into a half for the weights and a half for alpha.
        batch_size: of either half.
        optimizer: of the weights, with its lr, weight_decay and clip; see `optimizer.WeightsOptimizer`.
        temperature: of the likelihood that weighs the weights' gradients; see `estimators.divisor`.
        negligible: gradients below this share of the greatest are left out; 0 is exact.
        seed: of the halves and the batches' order.
        device: where the supernet runs.
        precision: "fp32", or "bf16" by autocast.
        split: what ranks split, where there are several: the "data" of a batch, or the "architectures" of a step.
        accumulate: parts of a rank's images that run one after the other, for less memory, each with its own batch
            statistics. Beyond 1 each network runs forward once more: its weight needs the losses of all parts.
        judged_on: images of the alpha half that `judge` looks at, at most.

    Raises:
        InputError: the supernet and the data don't fit each other, a number is out of range, or ranks can't share it.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: Data,
        *,
        batch_size: int = 64,
        optimizer: str = "adamw",
        lr: float | None = None,
        weight_decay: float = 1e-4,
        clip: float = 5.0,
        temperature: Temperature = "mean",
        negligible: float = 1e-3,
        seed: int = 0,
        device: str = "cpu",
        precision: str = "fp32",
        split: Split = "data",
        accumulate: int = 1,
        judged_on: int = 1000,
    ) -> None:
        super().__init__(supernet, data, device, precision)
        if batch_size < 2:
            raise InputError("a batch size of 2 or more", str(batch_size), "batch norm needs two images")
        if judged_on < 2:
            raise InputError("2 images or more to judge on", str(judged_on), "use the default")
        self.supernet = supernet.to(device).to(memory_format=torch.channels_last)  # pyright: ignore
        self.batch_size = batch_size
        self.temperature: Temperature = temperature
        self.negligible, self.seed = negligible, seed
        self._parameters = list(supernet.parameters())
        self._chain = Chain(supernet)
        self._weights = WeightsOptimizer(self._parameters, optimizer, lr, weight_decay, clip)
        first, second = halves(data.train, seed)
        # Indices, not copies: the images may be more than memory holds.
        self._train, self._val = first, second
        self._batches = Batches(data.train, device)
        self._train_order = EpochOrder(len(first), batch_size, seed, "weights")
        self._val_order = EpochOrder(len(second), batch_size, seed, "alpha")
        self._steps = 0
        # A stream of its own, so class by class about as the half is; sorted, so that a chunk is read in one sweep.
        chosen = torch.randperm(len(second), generator=generator(seed, "data", "judged"))[:judged_on]
        self._judged = second[chosen.sort().values]
        self.split: Split = split
        self.accumulate = accumulate
        check_ranks(split, (self._train_order, self._val_order), accumulate)
        divisor(temperature, batch_size)
        self._train_batches = self._batches.steps(own_images(first, self._train_order, split))
        self._val_batches = self._batches.steps(own_images(second, self._val_order, split))
        check_classes(supernet, data, self._batch(self._val_batches, 0)[0])

    @property
    def steps_per_epoch(self) -> int:
        return self._train_order.steps_per_epoch

    @property
    def stationary(self) -> bool:
        return False

    @property
    def num_images(self) -> int:
        """B of the last validation batch; batches differ by one image at most."""
        return len(self._val_order.batch(max(0, self._steps - 1)))

    def train_step(self, codes: Int64[Tensor, "K V"], progress: float) -> Learned:
        """One SGD step on the next batch of the weights' half; repeated architectures are run once."""
        inputs, labels = self._next_batch(progress)
        whole = len(self._train_order.batch(self._steps - 1))
        scale = whole / divisor(self.temperature, whole)
        rows, counts = codes.unique(dim=0, return_counts=True)
        own = self._own(rows)
        parts = self._parts(inputs, labels)
        known = (self._of_all(self._sums(rows[own], parts)) / whole).tolist() if self.accumulate > 1 else []
        self.supernet.train()
        with batch_statistics(self.supernet), self.supernet.gathering() as gathered:
            weights, repeats = OnlineWeights(self._parameters, self.negligible), counts[own]
            weights.lift(max((-scale * loss for loss in known if math.isfinite(loss)), default=-math.inf))
            for images, right in parts:
                walk = self._walk(rows[own], images, gathered)
                weights.pending = walk.leaves
                for numbers, logits in walk:
                    loss = F.cross_entropy(self._full(logits), right)
                    if len(right) * self.accumulate != whole:  # the parts' mean is the whole batch's
                        loss = loss * (len(right) * self.accumulate / whole)
                    mean = known[numbers[0]] if known else float(self._of_all(loss.detach().cpu().double()))
                    weights.add(loss, -scale * mean, int(repeats[list(numbers)].sum()))
                    del loss, logits  # a sample left out would hold all its activations beside the next one's
        combine(weights, self.split)
        loss_mean = weights.finish()
        moved = self._weights.step() and math.isfinite(loss_mean)
        return Learned(loss_mean, skipped=not moved)

    def mixed_train_step(self, weights: Mapping[str, Tensor], progress: float) -> Learned:
        """One step on the next batch of the weights' half, under a mixture of all architectures."""
        inputs, labels = self._next_batch(progress)
        self._weights.zero_grad()
        fixed = {name: weight.detach() for name, weight in weights.items()}
        losses: list[Tensor] = []
        for images, right in self._parts(inputs, labels):
            loss = self._soft_loss(fixed, images, right, len(self._train_order.batch(self._steps - 1)))
            loss.backward()
            losses.append(loss.detach())
        sum_over_ranks(self._parameters)
        moved = self._weights.step()
        return Learned(float(parallel.all_reduce_sum(sum(losses[1:], losses[0]))), skipped=not moved)

    def soft_loss(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy of the alpha half's batch that goes with the last step; differentiable in `weights`."""
        inputs, labels = self._batch(self._val_batches, max(0, self._steps - 1))
        whole = self.num_images
        with self._weights.frozen():  # the graph is for alpha alone
            if len(labels) == whole and self.accumulate == 1:
                return self._soft_loss(weights, inputs, labels, whole)
            return first_order(weights, self._parts(inputs, labels), partial(self._soft_loss, whole=whole))

    def _soft_loss(self, weights: Mapping[str, Tensor], inputs: Tensor, labels: Tensor, whole: int) -> Tensor:
        """A part's share of the mean over `whole` images."""
        self.supernet.train()
        with batch_statistics(self.supernet), self._autocast():
            logits = self.supernet.mix(weights)(inputs)
        loss = F.cross_entropy(self._full(logits), labels)
        return loss if len(labels) == whole else loss * (len(labels) / whole)

    def _next_batch(self, progress: float) -> tuple[Tensor, Tensor]:
        self._weights.set_rate(progress)
        batch = self._batch(self._train_batches, self._steps)
        self._steps += 1
        return batch

    def score(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """Log-likelihoods of the batch of the alpha half that goes with the last step, summed over its images."""
        inputs, labels = self._batch(self._val_batches, max(0, self._steps - 1))
        rows, back = codes.unique(dim=0, return_inverse=True)
        own = self._own(rows)
        losses = torch.zeros(len(rows), dtype=torch.float64)
        losses[own] = self._sums(rows[own], self._parts(inputs, labels))
        return -parallel.all_reduce_sum(losses)[back]

    @property
    def num_judged(self) -> int:
        """How many images `judge` looks at."""
        return len(self._judged)

    def judge(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """Log-likelihoods of the same images of the alpha half at every call, summed over them; weights as they are.

        In chunks of about `JUDGED_AT_ONCE` images, each normalized by its own statistics; each rank judges all.
        """
        rows, back = codes.unique(dim=0, return_inverse=True)
        chunks = self._judged.tensor_split(max(1, round(len(self._judged) / JUDGED_AT_ONCE)))
        batches = (self._batches.at(chunk) for chunk in chunks)
        return -self._sums(rows, ((self.data.normalize(inputs), labels) for inputs, labels in batches))[back]

    def _parts(self, inputs: Tensor, labels: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Those of this rank's images that run one after the other."""
        return list(zip(inputs.tensor_split(self.accumulate), labels.tensor_split(self.accumulate), strict=True))

    @torch.no_grad()
    def _sums(self, rows: Tensor, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        """Cross-entropies of distinct architectures, summed over the images of batches that run one by one."""
        losses = torch.zeros(len(rows), dtype=torch.float64)
        self.supernet.train()
        with batch_statistics(self.supernet):
            for inputs, labels in batches:
                for numbers, logits in self._walk(rows, inputs):
                    loss = F.cross_entropy(self._full(logits), labels, reduction="sum")
                    losses[list(numbers)] += loss.cpu().double()
        return losses

    def rehearse(self, mixed: bool = False, room: int | None = None) -> int:
        """Runs the largest architecture by FLOPs, or the mixture of all, on the first batch; see `rehearsal.rehearse`.

        Args:
            mixed: whether the search runs mixtures.
            room: bytes that are free, or None where that isn't known.

        Raises:
            InputError: the largest network doesn't fit into the memory.
        """
        inputs, labels = self._batch(self._train_batches, 0)
        largest = list(self._flops.table.extreme(-1)[1])
        even = {c.name: torch.full((len(c.options),), 1 / len(c.options)) for c in self.space.choices}

        def loss_of(num: int) -> Tensor:
            some, right = inputs[:num].clone(), labels[:num].clone()  # with storage of their own, whose size counts
            if mixed:
                weights = {name: weight.to(self.device) for name, weight in even.items()}
                return self._soft_loss(weights, some, right, num)
            self.supernet.train()
            with batch_statistics(self.supernet), self._autocast():
                logits = self.supernet.select(self.space.decode(largest))(some)
            return F.cross_entropy(self._full(logits), right)

        return rehearse(loss_of, self._parameters, -(-len(labels) // self.accumulate), room)

    def settings(self) -> dict[str, Any]:
        """What decides a trajectory, beside the machine."""
        return {
            **self._space_settings(),
            "batch_size": self.batch_size,
            **self._weights.settings(),
            "weight_temperature": self.temperature,
            "negligible": self.negligible,
            **({} if parallel.world_size() == 1 else {"ranks": parallel.world_size(), "split": self.split}),
            **({} if self.accumulate == 1 else {"accumulate": self.accumulate}),
            "judged_on": self.num_judged,
            "data_seed": self.seed,
            "device": self.device,
            "precision": self.precision,
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "supernet": self.supernet.state_dict(),
            "optimizer": self._weights.state_dict(),
            "steps": self._steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.supernet.load_state_dict(state["supernet"])
        self._weights.load_state_dict(state["optimizer"])
        self._steps = state["steps"]

    def _own(self, rows: Tensor) -> list[int]:
        """Which of the step's distinct architectures this rank runs."""
        if parallel.world_size() == 1 or self.split == "data":
            return list(range(len(rows)))
        return own_rows(self._flops(rows).double())

    def _walk(self, rows: Tensor, inputs: Tensor, gathered: Gathered | None = None) -> Walk:
        return Walk(self._chain, [self.space.decode(row) for row in rows.tolist()], inputs, gathered, self._autocast)

    def _of_all(self, losses: Tensor) -> Tensor:
        """The whole batch's, from those of this rank's part of it."""
        return parallel.all_reduce_sum(losses) if self.split == "data" else losses

    def _batch(self, batches: Callable[[int], tuple[Tensor, Tensor]], step: int) -> tuple[Tensor, Tensor]:
        inputs, labels = batches(step)
        return self.data.normalize(inputs), labels

"""`SupernetEvaluator`: a supernet and a data set; trains shared weights on one half of the training images and scores
architectures on the other.

Everything is run with the batch's own statistics. One network at a time is in memory, whatever K. Under torchrun the
ranks share each step, see `ranks`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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
from fpnas.evaluators.ranks import Split, combine, own_rows
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
        check_ranks(split, (self._train_order, self._val_order))
        divisor(temperature, batch_size)
        check_classes(supernet, data, self._batch(self._val, self._val_order, step=0)[0])

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
        self.supernet.train()
        with batch_statistics(self.supernet), self.supernet.gathering() as gathered:
            walk, repeats = self._walk(rows[own], inputs, gathered), counts[own]
            weights = OnlineWeights(self._parameters, self.negligible, walk.leaves)
            for numbers, logits in walk:
                loss = F.cross_entropy(self._full(logits), labels)
                if len(labels) < whole:
                    loss = loss * (len(labels) / whole)
                weights.add(loss, -scale * self._of_batch(loss), int(repeats[list(numbers)].sum()))
                # Of a sample left out they hold all activations, which the next one's would stand beside.
                del loss, logits
        combine(weights, self.split)
        loss_mean = weights.finish()
        moved = self._weights.step() and math.isfinite(loss_mean)
        return Learned(loss_mean, skipped=not moved)

    def mixed_train_step(self, weights: Mapping[str, Tensor], progress: float) -> Learned:
        """One step on the next batch of the weights' half, under a mixture of all architectures."""
        inputs, labels = self._next_batch(progress)
        self._weights.zero_grad()
        loss = self._soft_loss({name: weight.detach() for name, weight in weights.items()}, inputs, labels)
        loss.backward()
        moved = self._weights.step()
        return Learned(float(loss.detach()), skipped=not moved)

    def soft_loss(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy of the alpha half's batch that goes with the last step; differentiable in `weights`."""
        inputs, labels = self._batch(self._val, self._val_order, step=max(0, self._steps - 1))
        for parameter in self._parameters:  # the graph is for alpha alone
            parameter.requires_grad_(False)
        try:
            return self._soft_loss(weights, inputs, labels)
        finally:
            for parameter in self._parameters:
                parameter.requires_grad_(True)

    def _soft_loss(self, weights: Mapping[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
        self.supernet.train()
        with batch_statistics(self.supernet), self._autocast():
            logits = self.supernet.mix(weights)(inputs)
        return F.cross_entropy(self._full(logits), labels)

    def _next_batch(self, progress: float) -> tuple[Tensor, Tensor]:
        self._weights.set_rate(progress)
        batch = self._batch(self._train, self._train_order)
        self._steps += 1
        return batch

    @torch.no_grad()
    def score(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """Log-likelihoods of the batch of the alpha half that goes with the last step, summed over its images."""
        inputs, labels = self._batch(self._val, self._val_order, step=max(0, self._steps - 1))
        rows, back = codes.unique(dim=0, return_inverse=True)
        own = self._own(rows)
        self.supernet.train()
        with batch_statistics(self.supernet):
            losses = torch.zeros(len(rows), dtype=torch.float64)
            losses[own] = self._losses(rows[own], inputs, labels)
        return -parallel.all_reduce_sum(losses)[back]

    @property
    def num_judged(self) -> int:
        """How many images `judge` looks at."""
        return len(self._judged)

    @torch.no_grad()
    def judge(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """Log-likelihoods of the same images of the alpha half at every call, summed over them; weights as they are.

        In chunks of about `JUDGED_AT_ONCE` images, each normalized by its own statistics; each rank judges all.
        """
        rows, back = codes.unique(dim=0, return_inverse=True)
        losses = torch.zeros(len(rows), dtype=torch.float64)
        self.supernet.train()
        with batch_statistics(self.supernet):
            for part in self._judged.tensor_split(max(1, round(len(self._judged) / JUDGED_AT_ONCE))):
                inputs, labels = self._batches.at(part)
                losses += self._losses(rows, self.data.normalize(inputs), labels)
        return -losses[back]

    def _losses(self, rows: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropies of distinct architectures, summed over the images."""
        losses = torch.zeros(len(rows), dtype=torch.float64)
        for numbers, logits in self._walk(rows, inputs):
            losses[list(numbers)] = F.cross_entropy(self._full(logits), labels, reduction="sum").cpu().double()
        return losses

    def rehearse(self, mixed: bool = False, room: int | None = None) -> int:
        """Runs the largest architecture by FLOPs, or the mixture of all, on the first batch; see `rehearsal.rehearse`.

        Args:
            mixed: whether the search runs mixtures.
            room: bytes that are free, or None where that isn't known.

        Returns:
            Bytes that a step is expected to need beside the weights.

        Raises:
            InputError: the largest network doesn't fit into the memory.
        """
        inputs, labels = self._batch(self._train, self._train_order, step=0)
        largest = list(self._flops.table.extreme(-1)[1])
        even = {c.name: torch.full((len(c.options),), 1 / len(c.options)) for c in self.space.choices}

        def loss_of(num: int) -> Tensor:
            some, right = inputs[:num].clone(), labels[:num].clone()  # with storage of their own, whose size counts
            if mixed:
                weights = {name: weight.to(self.device) for name, weight in even.items()}
                return self._soft_loss(weights, some, right)
            self.supernet.train()
            with batch_statistics(self.supernet):
                return F.cross_entropy(self._logits(largest, some), right)

        return rehearse(loss_of, self._parameters, len(labels), room)

    def settings(self) -> dict[str, Any]:
        """What decides a trajectory, beside the machine."""
        return {
            **self._space_settings(),
            "batch_size": self.batch_size,
            **self._weights.settings(),
            "weight_temperature": self.temperature,
            "negligible": self.negligible,
            **({} if parallel.world_size() == 1 else {"ranks": parallel.world_size(), "split": self.split}),
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

    def _of_batch(self, loss: Tensor) -> float:
        """The whole batch's loss, from this rank's part of it."""
        value = loss.detach().cpu().double()
        return float(parallel.all_reduce_sum(value) if self.split == "data" else value)

    def _logits(self, row: list[int], inputs: Tensor) -> Tensor:
        with self._autocast():
            return self._full(self.supernet.select(self.space.decode(row))(inputs))

    def _full(self, logits: Tensor) -> Tensor:
        """In the precision that losses are taken in."""
        return logits.float() if self.precision == "bf16" else logits

    def _batch(self, half: Tensor, order: EpochOrder, step: int | None = None) -> tuple[Tensor, Tensor]:
        chosen = order.batch(self._steps if step is None else step)
        inputs, labels = self._batches.at(half[parallel.share(chosen) if self.split == "data" else chosen])
        return self.data.normalize(inputs), labels

"""`Training`: one plain network on all training images, by a `Recipe` that is the same for every compared network.

A step is a pure function of the state before it and of (seed, step, rank): all draws come from streams of their own, so
a resumed training equals an unbroken one bit for bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fpnas import parallel
from fpnas.allocator import keep_memory
from fpnas.data import Batches, Crops, Data, EpochOrder, ImageData, ImageSpec
from fpnas.elastic.weight_gradients import quicken
from fpnas.errors import InputError
from fpnas.evaluators.fit import check_parts
from fpnas.evaluators.loss import Loss, loss_name, mean_loss
from fpnas.job import Skips, Step
from fpnas.streams import as_global, generator
from fpnas.train.augment import augmentation
from fpnas.train.average import averaged
from fpnas.train.class_weights import ClassWeights, weight_tensor
from fpnas.train.distil import Teacher, distillation_loss, taught_logits, teacher_digest
from fpnas.train.drop_path import with_drop_path
from fpnas.train.evaluate import Accuracy, accuracy, evaluation_record
from fpnas.train.mix import mixed
from fpnas.train.network import check_outputs, facts_of, mend_statistics, optimizer_of, placed
from fpnas.train.recipe import Recipe, for_loss


class Training:
    """Trains a network by a recipe; a `Job`.

    Under torchrun each rank takes its part of a batch, and `recipe.accumulate` cuts that further; the gradient is that
    of the whole batch's mean loss, with each part's own batch-norm statistics, or with `recipe.sync_batch_norm` those
    of all ranks. Running statistics are those of rank 0, which also judges.

    Args:
        network: a plain module, trained in place. One that `Supernet.extract` made knows its space and its choices,
            which arch.json then says.
        data: trained on all its training images, judged on the held-out ones at the end of each epoch.
        recipe: how.
        teacher: to distil from: any callable, normalized images -> logits. A module goes to the device, in eval mode.
        class_weights: how much an image of each class counts in the loss of the labels: "balanced", or a weight for
            each class by name, as torch's `cross_entropy(weight=)` has them. A teacher's loss is without.
        loss: of your own, in place of the cross entropy: a function of logits (n, classes) and labels (n,) whose value
            is a mean over the images, or (n,). It has no smoothing, and goes with neither class weights nor mixing.
        inherit: whether the weights are those of a supernet, for the records.
        seed: of everything random.
        device: where it runs.
        precision: "fp32", or "bf16" by autocast.
        fields: of the recipe, where they differ from it: `Training(..., epochs=3)`.

    Raises:
        InputError: a field out of range, a batch too small for the ranks, a recipe that needs what isn't there, or
            fewer outputs than classes.
    """

    kind = "train"

    def __init__(
        self,
        network: nn.Module,
        data: Data,
        *,
        recipe: Recipe | None = None,
        teacher: Teacher | None = None,
        class_weights: ClassWeights | None = None,
        loss: Loss | None = None,
        inherit: bool = False,
        seed: int = 0,
        device: str = "cpu",
        precision: str = "fp32",
        **fields: Any,
    ) -> None:
        keep_memory()
        self.recipe = for_loss(loss, (recipe or Recipe()).with_fields(fields), class_weights)
        self.network = placed(network, device)
        quicken(self.network)
        self.data = data = data.normalized_by(getattr(network, "meta", {}).get("normalization"))
        self.device, self.precision = device, precision
        check_outputs(self.network, data)
        self.facts = facts_of(self.network, data)
        self.inherit, self.seed = inherit, seed
        self.teacher = placed(teacher, device).eval() if isinstance(teacher, nn.Module) else teacher
        self.class_weights = dict(class_weights) if isinstance(class_weights, Mapping) else class_weights
        self.loss = loss.to(device) if isinstance(loss, nn.Module) else loss
        self._weights = None if class_weights is None else self._checked_weights(class_weights)
        self._order = order = EpochOrder(len(data.train), self.recipe.batch_size, seed, "train")
        crops = Crops(seed, self.recipe.crop_area) if self.recipe.crop == "resized" else None
        batches = Batches(data.train, device)
        self._batches = batches.steps(lambda step: parallel.share(order.batch(step)), crops, order.epoch)
        self._check_ranks()
        self._augment = augmentation(self.recipe, data)
        self._optimizer = optimizer_of(self.network, self.recipe)
        self._average = averaged(self.network, self.recipe.ema) if self.recipe.ema else None
        running = with_drop_path(self.network, self.recipe.drop_path) if self.recipe.drop_path else self.network
        if self.recipe.sync_batch_norm and parallel.world_size() > 1:
            from fpnas.train.sync_norm import synchronised

            running = synchronised(running, device)
        self._running = DistributedDataParallel(running) if parallel.world_size() > 1 else running
        self.origin: dict[str, Any] = {}
        """What a new run.json says beside the settings, such as where the data came from."""
        self.steps_done = 0
        self.skips = Skips()
        self._judged: tuple[int, Accuracy] | None = None
        if teacher is None and (self.recipe.teacher_weight, self.recipe.teacher_temperature) != (0.5, 2.0):
            warnings.warn("teacher_weight and teacher_temperature have no effect without a teacher", stacklevel=2)

    @property
    def steps_total(self) -> int:
        return self.recipe.epochs * self._order.steps_per_epoch

    @property
    def trained(self) -> nn.Module:
        """The network that is judged and kept: the averaged one where the recipe averages, else `network` itself."""
        return self.network if self._average is None else self._average.module

    def step(self) -> Step:
        """One step of the optimizer; at the end of an epoch the held-out images are judged."""
        number = self.steps_done
        rate = self.recipe.rate(number, self.steps_total)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        chosen = self._order.batch(number)
        images, targets = self._batch()
        self.network.train()
        self._running.train()
        self._optimizer.zero_grad()
        loss = self._learn(images, targets, len(chosen))
        # Under ranks the gradient is the same on all, so all skip or none.
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        moves = bool(torch.nn.utils.get_total_norm(gradients).isfinite())
        if moves:
            self._optimizer.step()
            if self._average is not None:
                self._average.update_parameters(self.network)
        else:
            mend_statistics(self.network)
        self.skips.note(not moves, number)
        self.steps_done += 1
        at_end = self.steps_done % self._order.steps_per_epoch == 0
        metrics = {
            "step": number,
            "epoch": number // self._order.steps_per_epoch,
            "train_loss": float(parallel.mean(loss)),
            "lr": rate,
            "accuracy": self.result().accuracy if at_end else None,
        }
        if not moves:
            metrics["skipped"] = True
        return Step(metrics)

    def result(self) -> Accuracy:
        """Accuracy of the network as it stands: of the last epoch, never the best one."""
        if self._judged is None or self._judged[0] != self.steps_done:
            found = accuracy(self.trained, self.data, device=self.device) if parallel.rank() == 0 else None
            self._judged = self.steps_done, cast("Accuracy", parallel.broadcast(found))
        return self._judged[1]

    def files(self) -> dict[str, Any]:
        """arch.json, result.json, evaluation.json and the weights."""
        found = self.result()
        result = {
            "kind": self.kind,
            "steps": self.steps_done,
            "accuracy": found.accuracy,
            "balanced_accuracy": found.balanced_accuracy,
            "loss": found.loss,
            "num_images": found.num_images,
            "heldout_from": self.data.heldout_from,
            "skipped_steps": self.skips.total,
        }
        result |= {name: self.facts[name] for name in ("flops", "params") if name in self.facts}
        spec = ImageSpec.of(self.data).to_json() if isinstance(self.data, ImageData) else self.data.describe()
        arch = {**self.facts, **spec, "num_classes": self.data.num_classes}
        return {
            "arch.json": arch,
            "evaluation.json": evaluation_record(found, self.data),
            "result.json": result,
            "model.safetensors": self.trained.state_dict(),
        }

    def settings(self) -> dict[str, Any]:
        """What decides the trajectory."""
        return {
            "space": self.facts.get("space"),
            "choices": self.facts.get("choices"),
            **self.data.settings(),
            **self.recipe.settings(),
            "teacher": None if self.teacher is None else teacher_digest(self.teacher),
            "class_weights": self.class_weights,
            **({} if self.loss is None else {"loss": loss_name(self.loss)}),
            "inherit": self.inherit,
            "seed": self.seed,
            "device": self.device,
            "precision": self.precision,
            "ranks": parallel.world_size(),
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": None if self._average is None else self._average.state_dict(),
            "steps_done": self.steps_done,
            "skips": self.skips.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        self.steps_done = state["steps_done"]
        self.skips.load_state_dict(state.get("skips", {}))

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Augmented, normalized images of this step, and targets: labels, or (n, classes) where images are mixed."""
        stream = self._stream("augment")
        images, labels = self._batches(self.steps_done)
        if self._augment is None:
            return self.data.normalize(images), labels
        images = self._augment.erased(self.data.normalize(self._augment(images, stream)), stream)
        mixup, cutmix = self.recipe.mixup, self.recipe.cutmix
        if not mixup and not cutmix:
            return images, labels
        return mixed(images, labels, self.data.num_classes, mixup=mixup, cutmix=cutmix, stream=stream)

    def _learn(self, images: Tensor, targets: Tensor, whole: int) -> Tensor:
        """Adds up the gradients of this rank's part of a batch of `whole` images; its loss."""
        count = self.recipe.accumulate
        draws = self._stream("network")
        losses: list[Tensor] = []
        for inputs, wanted in zip(images.tensor_split(count), targets.tensor_split(count), strict=True):
            # All gradients travel at once, while the last part's backward pass still runs.
            last = len(losses) == count - 1
            stay = self._running.no_sync if isinstance(self._running, DistributedDataParallel) and not last else None
            with nullcontext() if stay is None else stay():
                # Dropout of one's own networks and dropped paths draw from torch's global state.
                with as_global(draws, self.device), self._autocast():
                    logits = self._running(inputs)
                loss = self._loss(logits.float() if self.precision == "bf16" else logits, inputs, wanted)
                if len(inputs) < whole:  # ranks' gradients are averaged: this makes it the mean over the whole batch
                    loss = loss * (len(inputs) * parallel.world_size() / whole)
                loss.backward()
            losses.append(loss.detach())
        return sum(losses[1:], losses[0])

    def _loss(self, logits: Tensor, images: Tensor, targets: Tensor) -> Tensor:
        weights = None if self._weights is None else self._weights.to(logits.dtype)
        if self.loss is None:
            loss = F.cross_entropy(logits, targets, weights, label_smoothing=self.recipe.label_smoothing)
        else:
            loss = mean_loss(self.loss, logits, targets)
        in_parts = parallel.world_size() * self.recipe.accumulate > 1
        if weights is not None and in_parts and not targets.is_floating_point():
            loss = loss * self._weight_of_part(weights, targets)
        if self.teacher is None:
            return loss
        with self._autocast():
            taught = taught_logits(self.teacher, images, logits.shape)
        distilled = distillation_loss(logits, taught.to(logits.dtype), self.recipe.teacher_temperature)
        return torch.lerp(loss, distilled, self.recipe.teacher_weight)

    def _weight_of_part(self, weights: Tensor, labels: Tensor) -> Tensor:
        """The mean weight of a part's images over that of the whole batch's.

        Torch has divided the loss by the weights of the part's images; `step` takes it for their mean and makes it a
        part of the whole batch's.
        """
        whole = self.data.train.labels[self._order.batch(self.steps_done)].to(labels.device)
        return weights[labels].mean() / weights[whole].mean()

    def _checked_weights(self, given: ClassWeights) -> Tensor:
        if self.teacher is not None and self.recipe.teacher_weight == 1:
            expected = "a teacher_weight below 1 with class_weights, which weigh the labels"
            raise InputError(expected, "1", "lower it, or leave class_weights out")
        return weight_tensor(given, self.data).to(self.device)

    def _stream(self, purpose: str) -> torch.Generator:
        """What this step draws from on this rank."""
        return generator(self.seed, "train", purpose, self.steps_done, parallel.rank())

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16")

    def _check_ranks(self) -> None:
        check_parts(self._order, self.recipe.accumulate)
        if self.recipe.sync_batch_norm and parallel.world_size() == 1:
            warnings.warn("sync_batch_norm has no effect on one process", stacklevel=3)

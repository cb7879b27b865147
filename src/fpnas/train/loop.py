"""`Training`: one plain network on all training images, by one recipe that is the same for every compared network."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from fpnas.data import Data, EpochOrder
from fpnas.errors import InputError
from fpnas.job import Step
from fpnas.train.evaluate import Accuracy, accuracy


class Training:
    """SGD with Nesterov momentum .9, linear warm-up and cosine to 0, label smoothing; a `Job`.

    Args:
        network: a plain module, trained in place.
        facts: what arch.json says of it.
        data: trained on all its training images, judged on the held-out ones at the end of each epoch.
        epochs: length.
        batch_size: images a step.
        lr: the greatest learning rate.
        weight_decay: on all parameters of more than one dimension.
        label_smoothing: of the loss.
        warmup: fraction of the steps in which the learning rate rises.
        inherit: whether the weights are those of a supernet, for the records.
        seed: of the batches' order.
        device: where it runs.
        precision: "fp32", or "bf16" by autocast.

    Raises:
        InputError: a number out of range.
    """

    kind = "train"

    def __init__(
        self,
        network: nn.Module,
        facts: dict[str, Any],
        data: Data,
        *,
        epochs: int,
        batch_size: int = 128,
        lr: float = 0.2,
        weight_decay: float = 1e-4,
        label_smoothing: float = 0.05,
        warmup: float = 0.1,
        inherit: bool = False,
        seed: int = 0,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        if epochs < 1 or batch_size < 2:
            got = f"{epochs} epochs, batch size {batch_size}"
            raise InputError("1 epoch or more and a batch size of 2 or more", got, "correct them")
        if not (math.isfinite(lr) and lr > 0):
            raise InputError("a learning rate above 0", f"{lr:g}", "use the default")
        self.network = network.to(device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.facts, self.data, self.device, self.precision = facts, data, device, precision
        self.epochs, self.batch_size, self.lr, self.weight_decay = epochs, batch_size, lr, weight_decay
        self.label_smoothing, self.warmup, self.inherit, self.seed = label_smoothing, warmup, inherit, seed
        self._order = EpochOrder(len(data.train), batch_size, seed, "train")
        flat = [p for p in network.parameters() if p.dim() < 2]
        kernels = [p for p in network.parameters() if p.dim() >= 2]
        groups = [{"params": kernels, "weight_decay": weight_decay}, {"params": flat, "weight_decay": 0.0}]
        self._optimiser = torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True)
        self.steps_done = 0
        self._judged: tuple[int, Accuracy] | None = None

    @property
    def steps_total(self) -> int:
        return self.epochs * self._order.steps_per_epoch

    def step(self) -> Step:
        """One SGD step; at the end of an epoch the held-out images are judged."""
        number = self.steps_done
        rate = self._rate(number)
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        batch = self.data.train.subset(self._order.batch(number))
        images = self.data.normalise(batch.images.to(self.device))
        self.network.train()
        with torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self.network(images)
        loss = F.cross_entropy(logits.float(), batch.labels.to(self.device), label_smoothing=self.label_smoothing)
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        self.steps_done += 1
        at_end = self.steps_done % self._order.steps_per_epoch == 0
        metrics = {
            "step": number,
            "epoch": number // self._order.steps_per_epoch,
            "train_loss": float(loss.detach()),
            "lr": rate,
            "accuracy": self._accuracy().accuracy if at_end else None,
        }
        return Step(metrics)

    def _rate(self, step: int) -> float:
        """Linear warm-up, then cosine to 0."""
        rising = max(1, round(self.warmup * self.steps_total))
        if step < rising:
            return self.lr * (step + 1) / rising
        return self.lr * (1 + math.cos(math.pi * (step - rising) / max(1, self.steps_total - rising))) / 2

    def _accuracy(self) -> Accuracy:
        if self._judged is None or self._judged[0] != self.steps_done:
            self._judged = self.steps_done, accuracy(self.network, self.data, device=self.device)
        return self._judged[1]

    def result(self) -> Accuracy:
        """Accuracy of the network as it stands: of the last epoch, never the best one."""
        return self._accuracy()

    def files(self) -> dict[str, Any]:
        """arch.json, result.json and the weights."""
        found = self._accuracy()
        result = {
            "kind": self.kind,
            "steps": self.steps_done,
            "accuracy": found.accuracy,
            "loss": found.loss,
            "num_images": found.num_images,
            "heldout_from": self.data.heldout_from,
        }
        result |= {name: self.facts[name] for name in ("flops", "params") if name in self.facts}
        return {"arch.json": self.facts, "result.json": result, "model.safetensors": self.network.state_dict()}

    def settings(self) -> dict[str, Any]:
        """What decides the trajectory."""
        return {
            "space": self.facts.get("space"),
            "choices": self.facts.get("choices"),
            "data": self.data.name,
            "data_digest": self.data.digest,
            "image_size": self.data.describe().get("image_size"),
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "label_smoothing": self.label_smoothing,
            "warmup": self.warmup,
            "inherit": self.inherit,
            "seed": self.seed,
            "device": self.device,
            "precision": self.precision,
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "steps_done": self.steps_done,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.steps_done = state["steps_done"]

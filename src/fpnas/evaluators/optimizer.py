"""What moves a supernet's shared weights."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from fpnas.errors import unknown_name

RATES = {"adamw": 0.01, "sgd": 0.1}
"""Optimizer -> the learning rate that suits it."""


class WeightsOptimizer:
    """An optimizer with its rate and its limits.

    Args:
        parameters: all weights; those without a gradient stay as they are.
        kind: "adamw", betas (.9, .99): a weight takes steps of the same size however few of the sampled networks use it
            (ours). "sgd", Nesterov momentum .9: its step shrinks with the weight's share of the samples, so rare
            branches learn slowly.
        lr: cosine to 0 over the search; by default 0.01 for "adamw", 0.1 for "sgd".
        weight_decay: decoupled with "adamw".
        clip: the gradient's greatest norm.

    Raises:
        InputError: another kind.
    """

    def __init__(
        self, parameters: Sequence[nn.Parameter], kind: str, lr: float | None, weight_decay: float, clip: float
    ) -> None:
        if kind not in RATES:
            raise unknown_name("optimizer", kind, RATES)
        self.parameters, self.kind, self.weight_decay, self.clip = parameters, kind, weight_decay, clip
        self.lr = RATES[kind] if lr is None else lr
        self._optimizer = self._make()

    def set_rate(self, progress: float) -> None:
        """That of a place in the search, 0 to 1."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.lr * (1 + math.cos(math.pi * progress)) / 2

    def step(self) -> bool:
        """A step, or none (False) where the gradient isn't finite: clipped, it would be NaN everywhere."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        if not bool(norm.isfinite()):
            return False
        self._optimizer.step()
        return True

    def zero_grad(self) -> None:
        self._optimizer.zero_grad()

    @contextmanager
    def frozen(self) -> Generator[None]:
        """Within it, the parameters ask for no gradient."""
        for parameter in self.parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in self.parameters:
                parameter.requires_grad_(True)

    def settings(self) -> dict[str, Any]:
        """What decides its course, plain JSON."""
        return {"optimizer": self.kind, "lr": self.lr, "weight_decay": self.weight_decay, "clip": self.clip}

    def state_dict(self) -> dict[str, Any]:
        return self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._optimizer.load_state_dict(state)

    def _make(self) -> torch.optim.Optimizer:
        decay = self.weight_decay
        if self.kind == "sgd":  # not fused: torch 2.13's fails where weights get their first gradients apart
            return torch.optim.SGD(self.parameters, lr=self.lr, momentum=0.9, weight_decay=decay, nesterov=True)
        return torch.optim.AdamW(self.parameters, lr=self.lr, betas=(0.9, 0.99), weight_decay=decay, fused=True)

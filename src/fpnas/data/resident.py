"""Batches of a set on a device: taken there where all of its examples fit, else cut out on the CPU and sent over.

On a GPU small images are quicker indexed where they are used than copied for each step, and nothing waits for them.
Either way gives the same batches; on the CPU nothing is copied beforehand.
"""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from fpnas.data.labelled import LabelledSet

FREE_SHARE = 4
"""A set stays on a GPU where it takes no more than one part in so many of the memory that is free there."""


@final
class Batches:
    """Takes batches of a set to a device.

    Args:
        examples: the set.
        device: where the batches are wanted.
        limit: the most bytes that the set may take there; by default a quarter of what is free on a GPU, and 0 on the
            CPU, where it is already.
    """

    def __init__(self, examples: LabelledSet, device: str | torch.device, limit: int | None = None) -> None:
        self._examples, self._device = examples, torch.device(device)
        self._there: tuple[Tensor, Tensor] | None = None
        inputs, labels = examples.inputs, examples.labels
        if limit is None:
            limit = torch.cuda.mem_get_info(self._device)[0] // FREE_SHARE if self._device.type == "cuda" else 0
        if inputs.device.type != self._device.type and inputs.nbytes + labels.nbytes <= limit:
            self._there = inputs.to(self._device), labels.to(self._device)

    @property
    def resident(self) -> bool:
        """Whether the whole set was put on the device."""
        return self._there is not None

    def at(self, indices: Int64[Tensor, " b"]) -> tuple[Tensor, Int64[Tensor, " b"]]:
        """Inputs, not yet normalized, and labels of the examples at `indices`, in their order, on the device."""
        if self._there is None:
            part = self._examples.subset(indices)
            return part.inputs.to(self._device), part.labels.to(self._device)
        # Not through `subset`, which checks labels and so would wait for the device.
        inputs, labels = self._there
        chosen = indices.to(self._device, non_blocking=True)
        return inputs.index_select(0, chosen), labels.index_select(0, chosen)

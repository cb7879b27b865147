"""Batches of a set on a device: taken there where all of its examples fit, else cut out on the CPU and sent over.

On a GPU small images are quicker indexed where they are used than copied for each step, and nothing waits for them.
Either way gives the same batches; on the CPU nothing is copied beforehand. Streamed images are decoded, see `ahead`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import final

import torch
from jaxtyping import Int64
from torch import Tensor

from fpnas.data.ahead import Ahead
from fpnas.data.labelled import LabelledSet
from fpnas.data.square import Crops
from fpnas.data.streamed import StreamedSet

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
        if isinstance(examples, StreamedSet):
            return
        inputs, labels = examples.inputs, examples.labels
        if limit is None:
            limit = torch.cuda.mem_get_info(self._device)[0] // FREE_SHARE if self._device.type == "cuda" else 0
        if inputs.device.type != self._device.type and inputs.nbytes + labels.nbytes <= limit:
            self._there = inputs.to(self._device), labels.to(self._device)

    @property
    def resident(self) -> bool:
        """Whether the whole set was put on the device."""
        return self._there is not None

    def steps(
        self,
        chosen: Callable[[int], Int64[Tensor, " b"]],
        crops: Crops | None = None,
        epoch: Callable[[int], int] | None = None,
    ) -> Callable[[int], tuple[Tensor, Int64[Tensor, " b"]]]:
        """From a step to its inputs and labels, as `at` gives them; of streamed images the next are decoded meanwhile.

        Args:
            chosen: from a step to the indices of its examples, on this rank.
            crops: of streamed images, random parts to take.
            epoch: from a step to its epoch, which `crops` draw for.
        """
        if isinstance(self._examples, StreamedSet):
            return Ahead(self._examples, self._device, chosen, crops, epoch)
        return lambda step: self.at(chosen(step))

    def at(self, indices: Int64[Tensor, " b"]) -> tuple[Tensor, Int64[Tensor, " b"]]:
        """Inputs, not yet normalized, and labels of the examples at `indices`, in their order, on the device."""
        if self._there is None:
            if isinstance(self._examples, StreamedSet):
                images, right = self._examples.read(indices)
                return images.to(self._device), right.to(self._device)
            part = self._examples.subset(indices)
            return part.inputs.to(self._device), part.labels.to(self._device)
        # Not through `subset`, which checks labels and so would wait for the device.
        inputs, labels = self._there
        chosen = indices.to(self._device, non_blocking=True)
        return inputs.index_select(0, chosen), labels.index_select(0, chosen)


def in_turn(
    examples: LabelledSet, batch_size: int, device: str | torch.device = "cpu"
) -> Iterator[tuple[Tensor, Int64[Tensor, " b"]]]:
    """Inputs, not yet normalized, and labels of all examples in their order, on a device."""
    device, total = torch.device(device), len(examples)
    steps = range(-(-total // batch_size))
    if isinstance(examples, StreamedSet):

        def chosen(step: int) -> Tensor:
            return torch.arange(step * batch_size, min(total, (step + 1) * batch_size))

        ahead = Ahead(examples, device, chosen, steps=len(steps))
        yield from map(ahead, steps)
        return
    inputs, labels = examples.inputs, examples.labels
    for step in steps:
        part = slice(step * batch_size, (step + 1) * batch_size)
        yield inputs[part].to(device), labels[part].to(device)

"""A training step of the largest network, before a search begins: where memory is too small that shows then, not hours
later when such an architecture is drawn.

First two images are run and what the backward pass holds of them is counted; if as much for each image of a batch is
more than there is room for, the batch isn't tried, since a machine without memory may kill the process unasked.
The evaluator chooses network and images, the shell says how much room there is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fpnas.errors import InputError

_PROBE = 2
_KEPT = 3
"""Tensors of a parameter's size that a step needs beside it: its gradient and the two averages of AdamW."""


def rehearse(loss_of: Callable[[int], Tensor], parameters: Sequence[Tensor], batch: int, room: int | None) -> int:
    """Runs a step's forward and backward pass, and leaves no trace of it: no gradient, no step, no random draw.

    Args:
        loss_of: the loss, with its graph, of so many images.
        parameters: of the network.
        batch: images of a step.
        room: bytes that are free, or None where that isn't known.

    Returns:
        Bytes that a step is expected to need beside the parameters.

    Raises:
        InputError: it needs more than there is room for, or the memory ran out.
    """
    devices = sorted({parameter.device.index for parameter in parameters if parameter.is_cuda})
    with torch.random.fork_rng(devices=devices):
        try:
            held = _held(loss_of, parameters)
            expected = held * batch // _PROBE + _KEPT * sum(p.nbytes for p in parameters)
            if room is not None and expected > room:
                raise _too_much(batch, f"{expected / 2**20:,.0f} MiB needed where {room / 2**20:,.0f} MiB are free")
            loss_of(batch).backward()
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "allocate memory" not in str(error):
                raise
            raise _too_much(batch, f"none left ({str(error).partition('.')[0]:.100})") from None
        finally:
            for parameter in parameters:
                parameter.grad = None
    return expected


def _held(loss_of: Callable[[int], Tensor], parameters: Sequence[Tensor]) -> int:
    """Bytes that the graph of `_PROBE` images keeps for its backward pass, the parameters themselves aside."""
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    found: dict[int, int] = {}
    kept: list[Tensor] = []  # so that no address is given out twice

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss_of(_PROBE)
    return sum(found.values())


def _too_much(batch: int, got: str) -> InputError:
    expected = f"memory for the space's largest network at a batch of {batch}"
    return InputError(expected, got, "lower the batch size or the image size, or take a smaller space")

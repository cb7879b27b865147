"""Batches of a stream, decoded ahead of their use by worker processes of torch's `DataLoader`.

Which images a batch has is a function of the step, and what is drawn for an image one of (seed, epoch, image): neither
the number of workers nor where a run was broken off changes anything.
"""

from __future__ import annotations

import atexit
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, cast, final
from weakref import WeakSet

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from fpnas.data.square import Crops
from fpnas.data.streamed import Batch, Stream, StreamedSet
from fpnas.errors import InputError

TIMEOUT = 300
"""Seconds that a batch may take: then its worker is taken for lost."""

GRACE = 20
"""Seconds that a worker goes on after SIGTERM, so that the step under way can end."""

Key = tuple[int, Tensor]
"""An epoch, and the indices of a batch's images."""


@final
class Ahead:
    """The batches of steps 0, 1, 2, ...: asked for in this order, from any step on, they are decoded in time.

    Args:
        examples: the images.
        device: where the batches are wanted.
        chosen: from a step to the indices of its images, on this rank.
        crops: random parts to learn from, or None for whole images.
        epoch: from a step to its epoch, which `crops` draw for.
        steps: how many there are; None: without end.
    """

    def __init__(
        self,
        examples: StreamedSet,
        device: torch.device,
        chosen: Callable[[int], Int64[Tensor, " b"]],
        crops: Crops | None = None,
        epoch: Callable[[int], int] | None = None,
        steps: int | None = None,
    ) -> None:
        self._examples, self._device = examples, device
        self._keys = _Keys(chosen, epoch, steps)
        workers = examples.stream.num_workers
        self._loader = DataLoader(
            _Squares(examples.stream, examples.numbers, crops),
            batch_size=None,
            sampler=self._keys,
            num_workers=workers,
            collate_fn=_same,
            worker_init_fn=_begin if workers else None,
            timeout=TIMEOUT if workers else 0,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
            generator=torch.Generator(),  # otherwise it draws from torch's own
        )
        self._batches: Iterator[tuple[Tensor, Batch]] | None = None
        self._step = -1
        self._last: tuple[Tensor, Tensor] | None = None
        _ALIVE.add(self)

    def close(self) -> None:
        """Ends the workers; no batch comes after that."""
        del self._batches, self._loader  # the last references to what ends them

    def __call__(self, step: int) -> tuple[UInt8[Tensor, "b c s s"], Int64[Tensor, " b"]]:
        """Images, not yet normalized, and labels of a step's batch, on the device.

        Raises:
            InputError: an image can't be read, where such are not to be skipped; a worker was lost.
        """
        if self._last is None or step != self._step:
            try:
                if self._batches is None or step != self._step + 1:
                    self._keys.start = step
                    self._batches = cast("Iterator[tuple[Tensor, Batch]]", iter(self._loader))
                    _name_lost_workers()
                    _Told.loss = False
                indices, batch = next(self._batches)
            except (RuntimeError, OSError, EOFError) as error:  # the latter two of a pipe to a worker that has ended
                told = _lost(error)
                _Told.loss = told is not error
                raise told from error
            images, labels = self._examples.settled(batch, indices)
            self._last = images.to(self._device, non_blocking=True), labels.to(self._device)
            self._step = step
        return self._last


_ALIVE: WeakSet[Ahead] = WeakSet()


@atexit.register
def _close_all() -> None:
    """Before multiprocessing's own end, which sends SIGTERM to workers that outlive it for `GRACE` seconds."""
    for each in list(_ALIVE):
        each.close()


@final
class _Keys(Sampler[Key]):
    """From `start` on, what the workers need to know of each step."""

    def __init__(self, chosen: Callable[[int], Tensor], epoch: Callable[[int], int] | None, steps: int | None) -> None:
        self.start = 0
        self._chosen, self._epoch, self._steps = chosen, epoch, steps

    def __iter__(self) -> Iterator[Key]:
        step = self.start
        while self._steps is None or step < self._steps:
            yield 0 if self._epoch is None else self._epoch(step), self._chosen(step)
            step += 1


@final
class _Squares(Dataset[tuple[Tensor, Batch]]):
    """A batch for a key."""

    def __init__(self, stream: Stream, numbers: Tensor, crops: Crops | None) -> None:
        self._stream, self._numbers, self._crops = stream, numbers, crops

    def __getitem__(self, key: Key) -> tuple[Tensor, Batch]:
        epoch, indices = key
        numbers: list[int] = self._numbers[indices].tolist()
        found = [self._stream.square(number, self._crops, epoch) for number in numbers]
        return indices, Batch.of(found, self._stream.target)


def _same(value: Any) -> Any:
    """What a worker made, as it is."""
    return value


def _begin(worker: int) -> None:
    """In a worker: signals are for the main process, which ends its step first, and then the workers."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):

        def ended(number: int, frame: FrameType | None) -> None:
            del number, frame
            signal.alarm(GRACE)

        signal.signal(signal.SIGTERM, ended)


class _Told:
    """Whether it was said that a worker is lost: torch says it again later, wherever the program is then."""

    loss = False


def _name_lost_workers() -> None:
    """torch's handler of SIGCHLD raises wherever the program is; what it raises becomes one clear line, said once."""
    handler = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
    if not callable(handler) or getattr(handler, "names_lost_workers", False):
        return

    def named(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except RuntimeError as error:
            if not _Told.loss:
                _Told.loss = True
                raise _lost(error) from None

    named.names_lost_workers = True  # pyright: ignore[reportFunctionMemberAccess]
    signal.signal(signal.SIGCHLD, named)


def _lost(error: Exception) -> Exception:
    """What torch says of a worker that has ended, or took too long, as an `InputError`; another error as it is."""
    said = " ".join(str(error).split())
    if "Traceback" in said or ("DataLoader" not in said and isinstance(error, RuntimeError)):
        return error
    if "DataLoader" not in said:
        said = f"DataLoader worker that has ended ({said or type(error).__name__})"
    fix = "check memory and disk, or decode with fewer processes (--workers, workers=)"
    return InputError("workers that decode images", said.rstrip(". "), fix)

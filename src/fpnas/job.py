"""`Job`: what the runner drives, a search or a training, what a step hands it, and when it gives up. No I/O here."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar, final, runtime_checkable

from fpnas.errors import DivergedError

PATIENCE = 20
"""Steps in a row without anything finite to learn from, after which a job stops."""


Found_co = TypeVar("Found_co", covariant=True)
"""What a job finds: `SearchResult` of a search, `Accuracy` of a training."""


@dataclass(frozen=True)
class Step:
    """What one step has to tell: plain JSON values.

    Args:
        metrics: a line of metrics.jsonl, the same fields at each step: "step", counted from 0, "epoch", and numbers
            that reports and trackers draw, None where there is none. Only a step at which something happened may have
            more, such as "skipped". The runner adds "seconds".
        logs: further lines, file name -> object, such as the distribution at the end of an epoch.
    """

    metrics: dict[str, Any]
    logs: dict[str, dict[str, Any]] = field(default_factory=dict[str, "dict[str, Any]"])


class Stateful(Protocol):
    """What is resumed: all that decides its course is in its settings or in its state."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What decides its course, resolved, as plain JSON: a run folder of other settings is another run."""
        ...

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """What changes: tensors and plain values, loadable with `weights_only=True`; copies of what moves in place."""
        ...

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`, on a new one of the same settings."""
        ...


class Job(Stateful, Protocol[Found_co]):
    """A resumable sequence of steps. It may also be `Rehearsed` or `FromData`."""

    @property
    def kind(self) -> str:
        """ "search" or "train"."""
        ...

    @property
    def steps_done(self) -> int:
        """Steps taken so far."""
        ...

    @property
    def steps_total(self) -> int:
        """Steps of a whole run."""
        ...

    def step(self) -> Step:
        """Takes the next step."""
        ...

    def result(self) -> Found_co:
        """What the run has found so far."""
        ...

    def files(self) -> dict[str, Any]:
        """What it leaves behind when it ends: file name -> JSON object, or tensors for a .safetensors file."""
        ...


def epochs_for(steps_per_epoch: int, least_steps: int, epochs: int, most_epochs: int) -> int:
    """Epochs by default: `epochs`, or where those are too few as many as make `least_steps`, at most `most_epochs`.

    Weights learn by steps, of which a hundred images give one or two an epoch.

    Example:
        >>> epochs_for(4, 1000, 10, 100), epochs_for(25, 1000, 10, 100), epochs_for(500, 1000, 10, 100)
        (100, 40, 10)
    """
    return min(max(epochs, -(-least_steps // steps_per_epoch)), most_epochs)


@runtime_checkable
class Rehearsed(Protocol):
    """A job that can try its largest step before the first."""

    def rehearse(self, room: int | None = None) -> int:
        """Bytes that a step is expected to need; `InputError` where `room` bytes are too few."""
        ...


@runtime_checkable
class FromData(Protocol):
    """A job that knows where its data came from."""

    origin: dict[str, Any]
    """Plain JSON, which a new run.json holds beside the settings."""


@final
class Skips:
    """Counts the steps that were skipped because no loss or no gradient was finite; many in a row stop the job.

    A skipped step leaves weights as they were, so a checkpoint never holds what has diverged.
    """

    def __init__(self) -> None:
        self.total = 0
        self.in_a_row = 0

    def note(self, skipped: bool, step: int) -> None:
        """Counts step `step`.

        Raises:
            DivergedError: it is the `PATIENCE`-th in a row.
        """
        self.total += skipped
        self.in_a_row = self.in_a_row + 1 if skipped else 0
        if self.in_a_row >= PATIENCE:
            expected = "a finite loss and gradient at least once in a while"
            got = f"none in the {PATIENCE} steps up to step {step}, so training has diverged"
            raise DivergedError(
                expected, got, "start anew with a lower learning rate, larger batches or precision fp32"
            )

    def state_dict(self) -> dict[str, int]:
        return {"total": self.total, "in_a_row": self.in_a_row}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.total, self.in_a_row = state["total"], state["in_a_row"]

"""`Job`: what the runner drives, a search or a training, and what a step hands it. No I/O here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Step:
    """What one step has to tell: plain JSON values.

    Args:
        metrics: a line of metrics.jsonl, but for its seconds.
        logs: further lines, file name -> object, such as the distribution at the end of an epoch.
    """

    metrics: dict[str, Any]
    logs: dict[str, dict[str, Any]] = field(default_factory=dict[str, "dict[str, Any]"])


class Job(Protocol):
    """A resumable sequence of steps. Whatever decides its course is in its settings or in its state."""

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

    def settings(self) -> dict[str, Any]:
        """The resolved settings, plain JSON; a folder of other settings is another run."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, loadable with `weights_only=True`."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        ...

    def result(self) -> Any:
        """What the run has found so far."""
        ...

    def files(self) -> dict[str, Any]:
        """What it leaves behind when it ends: file name -> JSON object, or tensors for a .safetensors file."""
        ...

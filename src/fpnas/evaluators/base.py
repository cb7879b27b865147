"""`Evaluator`: what a search asks of whatever judges architectures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float64, Int64
from torch import Tensor

from fpnas.job import Stateful
from fpnas.space import Arch, SearchSpace


@dataclass(frozen=True)
class Learned:
    """What learning weights gives.

    Args:
        loss: the importance-weighted mean in nats an image; None where there is nothing to learn.
        skipped: the weights were left as they were, since no loss or not all of the gradient was finite.
    """

    loss: float | None
    skipped: bool = False


class Evaluator(Stateful, Protocol):
    """Judges architectures given as codes (K, V). A supernet with data is one; a table of known results is another.

    * Codes are on the CPU, K changes from step to step, and a row may come twice.
    * Each step calls `train_step` and then `score` with the same codes; a warm-up `train_step` alone.
    * Two of equal settings and state answer alike, in whatever order they are asked. The search's settings and the
      method's replace those of the same name.
    * What else some can do is said by the protocols below; a search asks with `isinstance`.

    docs/own-judge.md shows how to write one.
    """

    @property
    def space(self) -> SearchSpace:
        """The space whose codes it takes."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Calls of `train_step` in an epoch."""
        ...

    @property
    def num_images(self) -> int:
        """Over how many images a log-likelihood is summed: the temperature "mean" divides by it."""
        ...

    @property
    def stationary(self) -> bool:
        """Whether an architecture has the same score at every look; False where weights learn or batches change."""
        ...

    def train_step(self, codes: Int64[Tensor, "K V"], progress: float) -> Learned:
        """Trains the shared weights one step on these; `progress` in [0, 1) is the share of the search."""
        ...

    def score(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """Log-likelihood of a validation batch under each architecture, in nats, on the CPU, without a graph.

        One that isn't finite says that the architecture has diverged.
        """
        ...

    def describe(self, arch: Arch) -> dict[str, Any]:
        """The facts of an architecture that go into arch.json, plain JSON.

        "space", the space's name, and "choices" at least, from which the network is built again; "flops" and "params",
        where they are there, go into result.json too.
        """
        ...


@runtime_checkable
class SoftEvaluator(Evaluator, Protocol):
    """An evaluator that can also run a mixture of all architectures, as DARTS and FBNetV2 need."""

    def mixed_train_step(self, weights: Mapping[str, Tensor], progress: float) -> Learned:
        """Trains the shared weights one step on the mixture."""
        ...

    def soft_loss(self, weights: Mapping[str, Tensor]) -> Tensor:
        """Mean cross-entropy of a validation batch under the mixture in nats an image, differentiable in `weights`."""
        ...


@runtime_checkable
class KnowsNetworks(Evaluator, Protocol):
    """An evaluator that knows which codes are one network."""

    def distinct_logits(self) -> Float64[Tensor, "V O"]:
        """The logits of independent choices under which distinct networks are equally probable; 0 in the padding."""
        ...

    def canonical(self, codes: Int64[Tensor, "K V"]) -> Int64[Tensor, "K V"]:
        """The same networks, each by one code: codes of one network give equal rows."""
        ...


@runtime_checkable
class Gradual(Evaluator, Protocol):
    """An evaluator whose look at K architectures is many `train_step`s with the same codes, then one `score`.

    Only strategies that wait take it.
    """

    @property
    def steps_per_look(self) -> int:
        """How many, counted from the search's first step; `steps_per_epoch` is a multiple, or the last look is lost."""
        ...


@runtime_checkable
class FixedJudge(Evaluator, Protocol):
    """An evaluator that can also score architectures, its weights as they are, on the same images at every call."""

    @property
    def num_judged(self) -> int:
        """How many images these are."""
        ...

    def judge(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """As `score`, on those images."""
        ...


@runtime_checkable
class OnDevice(Protocol):
    """An evaluator whose networks run on a device."""

    @property
    def device(self) -> str:
        """Such as "cpu" or "cuda"."""
        ...


@runtime_checkable
class HasLayers(Protocol):
    """An evaluator that knows its networks' layers."""

    def layers(self, arch: Arch) -> dict[str, Any]:
        """The content of layers.json, for reports."""
        ...


@runtime_checkable
class Rehearses(Protocol):
    """An evaluator whose networks need memory: it tries a step of the largest before a search begins."""

    def rehearse(self, mixed: bool = False, room: int | None = None) -> int:
        """Bytes that a step is expected to need; `InputError` where `room` bytes are too few. `mixed`: of mixtures."""
        ...

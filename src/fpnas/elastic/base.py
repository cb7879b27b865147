"""The two kinds of elastic module: layers, which own weights, and structures, which decide what runs.

Both keep their arguments as `Dim`s and read the present values of these from `values`. All elastic modules of a
supernet share one `Pick`, so selecting an architecture is one assignment, and only what runs is resolved. A layer
slices its weights in `forward`, and can say its cost and hand out its plain counterpart. A structure chooses among its
children in `forward`; a trace under a fixed pick sees plain Python, so extraction leaves nothing of it behind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from fpnas.elastic.dims import Dim, Joined, Runs, choices_in, largest, resolve, runs, values_of
from fpnas.elastic.gathered import Gathered
from fpnas.elastic.soft import Mixture
from fpnas.errors import SupernetError
from fpnas.space import Option

Values = Mapping[str, Any]
"""Argument -> present value. Cost methods also take arrays as values: they must be plain arithmetic."""


class Pick:
    """The architecture in force, or the mixture of all, shared by the elastic modules of one supernet."""

    def __init__(self) -> None:
        self.arch: Mapping[str, Option] = {}
        self.mixture: Mixture | None = None
        self.gathered: Gathered | None = None
        self.batch_only = False
        """Whether batch norms use the batch's own statistics; see `norm.batch_statistics`."""


class ElasticModule(nn.Module, ABC):
    """What layers and structures share: named arguments that the architecture in force resolves.

    Attributes:
        channel_axis: of the output; all its other axes are positions.
    """

    channel_axis = 1

    mixes = False
    """Whether it can run under a soft pick."""

    def __init__(self, **dims: Dim) -> None:
        super().__init__()
        self.dims: dict[str, Dim] = dims
        self.pick = Pick()
        self._reads = tuple(dict.fromkeys(choice.name for dim in dims.values() for choice in choices_in(dim)))
        self._joined = {name: dim for name, dim in dims.items() if isinstance(dim, Joined)}
        self._known: dict[tuple[Option, ...], tuple[dict[str, Any], dict[str, Any]]] = {}
        self._values: dict[str, Any] = {}
        self._taken: dict[str, Any] = {}
        self._values_of: Mapping[str, Option] | None = None

    @property
    def values(self) -> Values:
        """The arguments under the architecture in force, resolved once for what they read of it.

        Under a soft pick widths are the largest; what else depends on choices is asked of the mixture.
        """
        if self.pick.mixture is not None:
            return self._largest()
        arch = self.pick.arch
        if self._values_of is not arch:
            read = tuple([arch[name] for name in self._reads])
            if read not in self._known:
                values = {name: resolve(dim, arch) for name, dim in self.dims.items()}
                self._known[read] = values, values | {name: runs(dim, arch) for name, dim in self._joined.items()}
            (self._values, self._taken), self._values_of = self._known[read], arch
        return self._values

    @property
    def taken(self) -> Values:
        """`values`, but of joined widths what `slice_of` takes: slices, where they aren't all at their largest."""
        values = self.values
        return self._taken if self._joined and self.pick.mixture is None else values

    @property
    def width(self) -> Dim | None:
        """The input's channels or features; None where any do."""
        return None

    @property
    def mixture(self) -> Mixture | None:
        """The soft pick in force, if it is one."""
        return self.pick.mixture

    def slice_of(self, weight: Tensor, *widths: Runs) -> Tensor:
        """Of the weight's leading axes the first `widths`, or slices; the weight itself where that is all of it."""
        if widths == weight.shape[: len(widths)]:
            return weight
        return self._block(weight, (), [(slice(w),) if isinstance(w, int) else w for w in widths])

    def _block(self, weight: Tensor, index: tuple[slice, ...], axes: Sequence[tuple[slice, ...]]) -> Tensor:
        """The slices of the axes that `index` leaves, put together: each a piece of its own, with its own gradient."""
        if axes:
            parts = [self._block(weight, (*index, part), axes[1:]) for part in axes[0]]
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim=len(index))
        gathered = self.pick.gathered
        if gathered is None or not weight.requires_grad or not torch.is_grad_enabled():
            return weight[index]
        return gathered.take(weight, index)

    def _largest(self) -> Values:
        if not self.mixes and any(choices_in(dim) for dim in self.dims.values()):
            got = f"a {type(self).__name__} that reads {', '.join(self.dims)}"
            raise SupernetError("layers that a soft pick can mix", got, "search it with a method that samples")
        values = {n: (largest(d),) if isinstance(d, Joined) else values_of(d) for n, d in self.dims.items()}
        return {n: max(v) if all(isinstance(o, int | float) for o in v) else v[0] for n, v in values.items()}

    def flops(self, values: Values, positions: int) -> Any:
        """Multiply-adds for one example that the module does itself, beside its children."""
        del values, positions
        return 0

    def positions(self, inputs: tuple[Any, ...], output: Any) -> int:
        """What a call's multiply-adds are proportional to, for a batch of one: the output's places (height x width, or
        tokens)."""
        del inputs
        return output.numel() // output.shape[self.channel_axis] if isinstance(output, Tensor) and output.dim() else 0

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={getattr(dim, 'name', dim)}" for name, dim in self.dims.items())


class ElasticLayer(ElasticModule):
    """A leaf with weights of its own (or none, such as an activation)."""

    @property
    def width(self) -> Dim | None:
        """The first argument, unless a layer says otherwise."""
        return next(iter(self.dims.values()), None)

    @property
    def makes(self) -> Dim | None:
        """The output's channels or features; by default those of the input."""
        return self.width

    @abstractmethod
    def extract(self) -> nn.Module:
        """The plain torch module that computes the same under the present values, with copies of the weights."""

    @abstractmethod
    def num_params(self, values: Values) -> Any:
        """Learnable parameters under `values`."""


class ElasticStructure(ElasticModule):
    """A module that decides which of its children run."""

    @property
    def sums(self) -> tuple[Dim, Dim] | None:
        """The one sum of two tensors that its own forward may make: whether it does, and the channels of that sum.

        It is of the output's shape. Latency counts it, beside what the children take.
        """
        return None

    def condition(self, child: str) -> tuple[Dim, frozenset[Any]] | None:
        """When the direct child of this name runs: a `Dim` and the values of it for which it does; None is always."""
        del child
        return None


def plain_layer(kind: type[nn.Module], tensors: Mapping[str, Tensor], *sizes: Any, **options: Any) -> nn.Module:
    """A torch layer that holds copies of the tensors; its own initialisation, which draws random numbers, is left out.

    Args:
        kind: the class of torch.
        tensors: all its parameters and buffers, by name.
        sizes: its positional arguments.
        options: its keyword arguments.
    """
    example = next(iter(tensors.values()))
    layer = skip_init(kind, *sizes, device=example.device, dtype=example.dtype, **options)
    # strict: an argument that makes other parameters than are given would leave them unset.
    layer.load_state_dict({name: value.detach() for name, value in tensors.items()}, strict=True)
    return layer

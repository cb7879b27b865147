"""What judges of the networks of a supernet have in common, however they judge: space, networks' names, facts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from fpnas.allocator import keep_memory
from fpnas.cost import SIZE, Flops, Params, layers_file, with_sizes
from fpnas.data import Data, ImageData
from fpnas.elastic import Supernet
from fpnas.errors import InputError
from fpnas.evaluators.distinct import canonical, distinct_logits
from fpnas.evaluators.fit import check_fit, check_size, facts_of, own_space
from fpnas.space import Arch, Option, SearchSpace


class OfSupernet:
    """A base of evaluators on a supernet and data.

    Args:
        supernet: whose space it is.
        data: what networks are judged by.
        device: where they run.
        precision: "fp32", or "bf16" by autocast.
        image_sizes: where the input's size is a choice as well, "input.size", its options; the data have the largest.

    Raises:
        InputError: the space can't take the data's image size or one of these, or the data have another.
    """

    def __init__(
        self,
        supernet: Supernet,
        data: Data,
        device: str,
        precision: str,
        image_sizes: Sequence[int] | None = None,
    ) -> None:
        check_fit(supernet, data)
        self.space: SearchSpace = supernet.space if image_sizes is None else with_sizes(supernet.space, image_sizes)
        self.image_sizes = None if image_sizes is None else tuple(sorted(image_sizes))
        if self.image_sizes is not None:
            if not isinstance(data, ImageData) or data.image_size != self.image_sizes[-1]:
                got = f"examples of shape {data.input_shape}"
                raise InputError(f"images of {self.image_sizes[-1]} px, the largest size", got, "load them so")
            for size in self.image_sizes:
                check_size(supernet, size, str(size))
        keep_memory()
        self.supernet, self.device, self.precision = supernet, device, precision
        self.data = data.normalized_by(supernet.normalization)
        self._costs: dict[tuple[int, ...], tuple[Flops, Params]] = {}
        for size in self.image_sizes or (None,):
            example = self._shape(size), data.input_dtype
            self._costs[example[0]] = Flops(supernet, *example), Params(supernet, *example)
        self._canonical: Callable[[Tensor], Tensor] | None = None

    def network_of(self, arch: Mapping[str, Option]) -> tuple[Arch, int | None]:
        """The architecture in the supernet's own space, and the size of its input where that is a choice, else None."""
        if self.image_sizes is None:
            return Arch(arch), None
        return Arch({name: option for name, option in arch.items() if name != SIZE}), int(arch[SIZE])

    def canonical(self, codes: Int64[Tensor, "K V"]) -> Int64[Tensor, "K V"]:
        """The same networks, with the first option of each choice that has no effect; see `distinct.canonical`."""
        self._canonical = self._canonical or canonical(self.supernet)
        sizes = len(self.space) - len(self.supernet.space)
        return (
            torch.cat([codes[:, :sizes], self._canonical(codes[:, sizes:])], dim=1) if sizes else self._canonical(codes)
        )

    def distinct_logits(self) -> Float64[Tensor, "V O"]:
        """The logits under which distinct networks are equally probable, at each size; see `distinct`."""
        own = distinct_logits(self.supernet)
        logits = torch.zeros(len(self.space), max(self.space.cardinalities), dtype=own.dtype)
        logits[-len(own) :, : own.shape[1]] = own
        return logits

    def describe(self, arch: Arch) -> dict[str, Any]:
        """Space, input, choices, FLOPs and parameters; of images at the data's own size, or that of the network."""
        own, size = self.network_of(arch)
        shape = self._shape(size)
        return facts_of(self.supernet, self.data, self._costs[shape], own, size)

    def layers(self, arch: Arch) -> dict[str, Any]:
        """What each layer costs, for layers.json."""
        own, size = self.network_of(arch)
        return layers_file(self.supernet, own, self._shape(size), self.data.input_dtype)

    @property
    def _flops(self) -> Flops:
        """Those of the supernet's own architectures, at the largest size."""
        return self._costs[self.data.input_shape][0]

    def _shape(self, size: int | None) -> tuple[int, ...]:
        """Of an example of that size; of the data's own where there is none."""
        return self.data.input_shape if size is None else (self.data.input_shape[0], size, size)

    def _space_settings(self) -> dict[str, Any]:
        own = own_space(self.supernet, self.data.input_shape, self.data.input_dtype)
        told = {name: value for name, value in self.supernet.facts.items() if name in ("sort", "weights")}
        sizes = {} if self.image_sizes is None else {"image_sizes": list(self.image_sizes)}
        return {"space": self.supernet.name, **own, **told, **self.data.settings(), **sizes}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16")

    def _full(self, logits: Tensor) -> Tensor:
        """In the precision that losses are taken in."""
        return logits.float() if self.precision == "bf16" else logits

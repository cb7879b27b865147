"""What judges of the networks of a supernet have in common, however they judge: space, networks' names, facts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from fpnas.allocator import keep_memory
from fpnas.cost import Flops, Params, layers_file
from fpnas.data import Data
from fpnas.elastic import Supernet
from fpnas.evaluators.distinct import canonical, distinct_logits
from fpnas.evaluators.fit import check_fit, facts_of, own_space
from fpnas.space import Arch, SearchSpace


class OfSupernet:
    """A base of evaluators on a supernet and data.

    Args:
        supernet: whose space it is.
        data: what networks are judged by.
        device: where they run.
        precision: "fp32", or "bf16" by autocast.

    Raises:
        InputError: the space can't take the data's image size.
    """

    def __init__(self, supernet: Supernet, data: Data, device: str, precision: str) -> None:
        check_fit(supernet, data)
        keep_memory()
        self.supernet, self.device, self.precision = supernet, device, precision
        self.data = data.normalized_by(supernet.normalization)
        example = data.input_shape, data.input_dtype
        self._costs = Flops(supernet, *example), Params(supernet, *example)
        self._canonical: Callable[[Tensor], Tensor] | None = None

    @property
    def space(self) -> SearchSpace:
        return self.supernet.space

    def canonical(self, codes: Int64[Tensor, "K V"]) -> Int64[Tensor, "K V"]:
        """The same networks, with the first option of each choice that has no effect; see `distinct.canonical`."""
        self._canonical = self._canonical or canonical(self.supernet)
        return self._canonical(codes)

    def distinct_logits(self) -> Float64[Tensor, "V O"]:
        """The logits under which distinct networks are equally probable; see `distinct`."""
        return distinct_logits(self.supernet)

    def describe(self, arch: Arch) -> dict[str, Any]:
        """Space, input, choices, FLOPs and parameters; of images at the data's own size."""
        return facts_of(self.supernet, self.data, self._costs, arch)

    def layers(self, arch: Arch) -> dict[str, Any]:
        """What each layer costs, for layers.json."""
        return layers_file(self.supernet, arch, self.data.input_shape, self.data.input_dtype)

    def _space_settings(self) -> dict[str, Any]:
        own = own_space(self.supernet, self.data.input_shape, self.data.input_dtype)
        told = {name: value for name, value in self.supernet.facts.items() if name in ("sort", "weights")}
        return {"space": self.supernet.name, **own, **told, **self.data.settings()}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.precision == "bf16")

    def _full(self, logits: Tensor) -> Tensor:
        """In the precision that losses are taken in."""
        return logits.float() if self.precision == "bf16" else logits

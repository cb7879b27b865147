"""Elastic norms (sliced) and the activation that a choice names.

While a search runs, `batch_statistics` makes every batch norm use the batch's own mean and variance and leave the
running ones alone: the running statistics of a slice would average over architectures that never meet.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpnas.elastic.base import ElasticLayer, Pick, Values, plain_layer
from fpnas.elastic.dims import Dim, largest, values_of
from fpnas.errors import unknown_name


class BatchNorm(ElasticLayer):
    """Batch norm over the first `channels` of its weights; momentum and epsilon as in `torch.nn.BatchNorm2d`."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    mixes = True
    plain: type[nn.Module]
    """torch's own class."""

    def __init__(self, num_features: Dim, eps: float = 1e-5, momentum: float = 0.1, mask: bool = True) -> None:
        super().__init__(num_features=num_features)
        self.mask = mask
        width = largest(num_features)
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        y = self._normed(x)
        return y if self.mixture is None or not self.mask else y * self.mixture.mask(self.dims["num_features"], y, 1)

    def _normed(self, x: Tensor) -> Tensor:
        if x.is_meta:  # shapes alone matter there, and torch's way to them is slow
            return x.clone()  # a tensor of its own, as elsewhere
        width = self.taken["num_features"]
        weight, bias = self.slice_of(self.weight, width), self.slice_of(self.bias, width)
        if self.pick.batch_only:
            return F.batch_norm(x, None, None, weight, bias, True, self.momentum, self.eps)
        mean, variance = self.slice_of(self.running_mean, width), self.slice_of(self.running_var, width)
        if self.training:
            self.num_batches_tracked += 1
        y = F.batch_norm(x, mean, variance, weight, bias, self.training, self.momentum, self.eps)
        if self.training and not isinstance(width, int):  # put together from slices, so a copy was updated
            with torch.no_grad():
                for whole, part in ((self.running_mean, mean), (self.running_var, variance)):
                    pieces = part.split([run.stop - run.start for run in width])
                    for run, piece in zip(width, pieces, strict=True):
                        whole[run] = piece
        return y

    def extract(self) -> nn.Module:
        width = self.taken["num_features"]
        own = {n: self.slice_of(value, width) if value.dim() else value for n, value in self.state_dict().items()}
        return plain_layer(self.plain, own, self.values["num_features"], eps=self.eps, momentum=self.momentum)

    def num_params(self, values: Values) -> int:
        return 2 * values["num_features"]


class BatchNorm1d(BatchNorm):
    """On features (N, C) or sequences (N, C, L)."""

    plain = nn.BatchNorm1d


class BatchNorm2d(BatchNorm):
    """On maps (N, C, H, W)."""

    plain = nn.BatchNorm2d


@contextmanager
def batch_statistics(module: nn.Module) -> Generator[None]:
    """Within it, elastic norms use the batch's statistics and leave the running ones alone: those of `module`, and of
    the supernet that it is or is a part of."""
    own = getattr(module, "pick", None)
    picks = [own] if isinstance(own, Pick) else [norm.pick for norm in module.modules() if isinstance(norm, BatchNorm)]
    before = [pick.batch_only for pick in picks]
    for pick in picks:
        pick.batch_only = True
    try:
        yield
    finally:
        for pick, state in zip(picks, before, strict=True):
            pick.batch_only = state


class LayerNorm(ElasticLayer):
    """Layer norm over the last axis, (..., features), with the first `features` of its weights."""

    channel_axis = -1

    def __init__(self, normalized_shape: Dim, eps: float = 1e-5) -> None:
        super().__init__(normalized_shape=normalized_shape)
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(largest(normalized_shape)))
        self.bias = nn.Parameter(torch.zeros(largest(normalized_shape)))

    def forward(self, x: Tensor) -> Tensor:
        width = self.values["normalized_shape"]
        weight, bias = self.slice_of(self.weight, width), self.slice_of(self.bias, width)
        return F.layer_norm(x, (width,), weight, bias, self.eps)

    def extract(self) -> nn.Module:
        width = self.values["normalized_shape"]
        slices = {"weight": self.weight[:width], "bias": self.bias[:width]}
        return plain_layer(nn.LayerNorm, slices, width, eps=self.eps)

    def num_params(self, values: Values) -> int:
        return 2 * values["normalized_shape"]


_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "swish": nn.SiLU,
    "gelu": nn.GELU,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
}


class Activation(ElasticLayer):
    """The nonlinearity of a given name: "relu", "swish" (SiLU), "gelu", "hardswish" or "hardsigmoid".

    Args:
        kind: the name.
        channels: the width of its input, where a soft pick's mask belongs behind it (FBNetV2).
        in_place: whether "relu" may write over its input. Only behind a layer whose backward pass doesn't read its own
            output (a batch norm's doesn't), and where nothing else reads it; it saves a map's memory and its traffic.
    """

    mixes = True

    def __init__(self, kind: Dim, channels: Dim | None = None, in_place: bool = False) -> None:
        super().__init__(kind=kind)
        self.channels, self.in_place = channels, in_place
        for name in values_of(kind):
            if name not in _ACTIVATIONS:
                raise unknown_name("activation", str(name), _ACTIVATIONS)

    @property
    def width(self) -> Dim | None:
        return None

    def forward(self, x: Tensor) -> Tensor:
        if self.mixture is not None:
            kinds = self.mixture.of(self.dims["kind"])
            y = torch.stack([_ACTIVATIONS[kind]()(x) * weight.to(x) for kind, weight in kinds.items()]).sum(dim=0)
            return y if self.channels is None else y * self.mixture.mask(self.channels, y, 1)
        kind = self.values["kind"]
        return F.relu(x, self.in_place) if kind == "relu" else _ACTIVATIONS[kind]()(x)

    def extract(self) -> nn.Module:
        kind = self.values["kind"]
        return nn.ReLU(self.in_place) if kind == "relu" else _ACTIVATIONS[kind]()

    def num_params(self, values: Values) -> int:
        del values
        return 0

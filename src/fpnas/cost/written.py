"""What an exported file makes of the calls of a forward pass: operators of their own for pads and for some functions.

A strided convolution's pads are an operator where they aren't those that "SAME" stands for. Swish is two: the sigmoid,
and the product, at which the input is still there. What is added as a product is a product and a sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpnas.elastic import Activation, Conv2d, DepthwiseConv2d, GroupedConv2d
from fpnas.elastic.dims import Dim, resolve, values_of
from fpnas.elastic.norm import BatchNorm
from fpnas.elastic.submodules import Condition, Part
from fpnas.space import Option

Place = tuple[str, int, int]
"""Of an operation: the path of the part that calls it, which call of that part it is in, and which of the call's."""

BATCH_NORMS = (BatchNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

_ELASTIC = (Conv2d, DepthwiseConv2d, GroupedConv2d)
_TWICE_LAYERS = (nn.SiLU, nn.Mish)
_TWICE_FUNCTIONS = frozenset[Any]({F.silu, F.mish})
_BY_NUMBER_LAYERS = (
    *(*BATCH_NORMS, Activation, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Hardsigmoid, nn.Hardswish, nn.Tanh),
    *(nn.ELU, nn.LeakyReLU, nn.PReLU, nn.Mish),
)
_BY_NUMBER_FUNCTIONS = frozenset[Any](
    {
        *(F.relu, F.relu6, F.silu, F.gelu, F.sigmoid, F.hardsigmoid, F.hardswish, F.tanh, F.elu, F.leaky_relu, F.mish),
        *(torch.relu, torch.sigmoid, torch.tanh, Tensor.relu, Tensor.sigmoid, Tensor.tanh, F.hardtanh, F.batch_norm),
        *(torch.add, torch.sub, torch.mul, Tensor.add, Tensor.sub, Tensor.mul),
    }
)


@dataclass(frozen=True)
class Multiple:
    """Of a width a tensor's elements are `times` as many, as the layers at these paths read or make it."""

    times: Fraction
    paths: tuple[str, ...]

    def also(self, other: Multiple) -> Multiple:
        """With what another tensor in the same memory says."""
        return Multiple(self.times, tuple(dict.fromkeys((*self.paths, *other.paths))))


@dataclass
class Stored:
    """A tensor of a pass: its elements, and the widths of which these are a constant multiple.

    `maker` is the layer that made it. Under other conditions than `conditions` it has another size.
    """

    numel: int
    widths: dict[Dim, Multiple] = field(default_factory=dict[Dim, Multiple])
    maker: nn.Module | None = None
    conditions: tuple[Condition, ...] = ()

    def of_width(self, dim: Dim, arch: Mapping[str, Option], *paths: str) -> None:
        """Its elements are a multiple of a width."""
        self.adopt(dim, Multiple(Fraction(self.numel, int(resolve(dim, arch))), paths))

    def adopt(self, dim: Dim, multiple: Multiple) -> None:
        """As `of_width`, the multiple known."""
        self.widths[dim] = self.widths[dim].also(multiple) if dim in self.widths else multiple

    def like(self, numel: int, conditions: tuple[Condition, ...] = ()) -> Stored:
        """Another tensor of the same widths."""
        share = Fraction(numel, self.numel)
        widths = {dim: Multiple(m.times * share, m.paths) for dim, m in self.widths.items()}
        return Stored(numel, widths, conditions=conditions)


@dataclass
class Frame:
    """A call of a module in progress; `part` is None of a module within one that is taken whole."""

    module: nn.Module
    part: Part | None
    number: int


@dataclass(frozen=True)
class Event:
    """A call of a layer, or of a function outside of layers.

    Args:
        frame: the call in which it is.
        conditions: under which it runs.
        around: these, and whether the structures around it make their sums.
        layer: None for a function.
        function: None for a layer.
        reads: its inputs, by their numbers.
        writes: its outputs.
        padded: elements of the input with the layer's pads, where these are an operator of their own.
        step: what it is of a call that is several operators.
        over: whether it may write over an input.
    """

    frame: Frame
    conditions: tuple[Condition, ...]
    around: tuple[Condition, ...]
    layer: nn.Module | None
    function: Any
    reads: list[int]
    writes: list[int]
    padded: int | None = None
    step: str = ""
    over: bool = False


def as_written(events: Sequence[Event], stored: dict[int, Stored]) -> list[Event]:
    """The events as operators; `stored` gets the tensors between them, under negative numbers."""
    written: list[Event] = []
    pads: dict[tuple[int, int], int] = {}

    def between(like: Stored) -> int:
        number = -1 - len(stored)
        stored[number] = like
        return number

    for event in events:
        if event.padded is not None:
            source, *others = event.reads
            key = source, event.padded
            if key not in pads:
                pads[key] = between(stored[source].like(event.padded, kernel_conditions(event.layer)))
                written.append(replace(event, writes=[pads[key]], step="pad"))
            written.append(replace(event, reads=[pads[key], *others]))
        elif _twice(event) and len(event.writes) == 1:
            source, *_ = event.reads
            gate = between(stored[source].like(stored[source].numel))
            written.append(replace(event, writes=[gate], step="gate"))
            written.append(replace(event, reads=[source, gate], over=True))
        elif event.function is torch.addcmul and len(event.reads) == 3:
            total, one, other = event.reads
            product = between(stored[one].like(stored[one].numel))
            written.append(replace(event, reads=[one, other], writes=[product], step="product", over=True))
            written.append(replace(event, reads=[total, product], over=True))
        else:
            over = isinstance(event.layer, _BY_NUMBER_LAYERS) or event.function in _BY_NUMBER_FUNCTIONS
            written.append(replace(event, over=over))
    return written


def _twice(event: Event) -> bool:
    if isinstance(event.layer, Activation):
        return event.layer.values["kind"] == "swish"
    return isinstance(event.layer, _TWICE_LAYERS) or event.function in _TWICE_FUNCTIONS


def kernel_conditions(layer: nn.Module | None) -> tuple[Condition, ...]:
    """Of a strided convolution with several kernel sizes: the size that it has now."""
    if isinstance(layer, _ELASTIC) and layer.stride > 1 and len(values_of(layer.dims["kernel_size"])) > 1:
        return ((layer.dims["kernel_size"], frozenset({layer.values["kernel_size"]})),)
    return ()


def variants(module: nn.Module) -> list[Condition]:
    """Settings of a module under which a file has other operators, or other pads."""
    if isinstance(module, _ELASTIC) and module.stride > 1:
        kernels = module.dims["kernel_size"]
        return [(kernels, frozenset({k})) for k in values_of(kernels) if k and len(values_of(kernels)) > 1]
    if isinstance(module, Activation):
        return [(module.dims["kind"], frozenset({kind})) for kind in values_of(module.dims["kind"])]
    return []


def activation_conditions(layer: nn.Module | None) -> tuple[Condition, ...]:
    """Of an activation that a choice names: which it is now."""
    if isinstance(layer, Activation) and len(values_of(layer.dims["kind"])) > 1:
        return ((layer.dims["kind"], frozenset({layer.values["kind"]})),)
    return ()


def padded_numel(layer: nn.Module, image: Tensor) -> int | None:
    """The elements of a 2-D convolution's input with its pads; None where a file needs no operator for these."""
    if image.dim() != 4:
        return None
    if isinstance(layer, _ELASTIC):
        size = layer.values["kernel_size"]
        return _padded(image, (size,) * 2, (layer.stride,) * 2, (layer.padding_of(size),) * 2)
    if type(layer) is nn.Conv2d and not isinstance(layer.padding, str):
        reach = [(k - 1) * d + 1 for k, d in zip(layer.kernel_size, layer.dilation, strict=True)]
        return _padded(image, reach, layer.stride, layer.padding)
    return None


def _padded(image: Tensor, kernel: Sequence[int], strides: Sequence[int], pads: Sequence[int]) -> int | None:
    sides = image.shape[2:]
    if not any(pads) or all(map(_is_same, sides, kernel, strides, pads)):
        return None
    wider = [side + 2 * pad for side, pad in zip(sides, pads, strict=True)]
    return image.shape[1] * wider[0] * wider[1]


def _is_same(side: int, kernel: int, stride: int, pad: int) -> bool:
    """Whether a pad on both sides is what "SAME" stands for: as many outputs as strides begin in the input."""
    outputs = -(-side // stride)
    return max((outputs - 1) * stride + kernel - side, 0) == 2 * pad

"""Which layers of a plain convolutional network share a width: a walk along its `torch.fx` graph.

Each tensor's channel axis has a width. Convolutions and linear layers make new ones; norms, activations, pooling and
depthwise convolutions hand theirs on; sums and products tie those that meet. Some widths are held: those of the input
and the output, and of what a slice of the first channels can't express. `convert` decides what becomes elastic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from fpnas.elastic.checks import LIBRARIES, does_not_trace
from fpnas.errors import SupernetError

_HAND_ON = (
    nn.Identity | nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.ReLU | nn.ReLU6 | nn.SiLU | nn.Hardswish
    | nn.Hardsigmoid
    | nn.Sigmoid | nn.Tanh | nn.GELU | nn.ELU | nn.LeakyReLU | nn.Mish | nn.Softplus | nn.MaxPool2d | nn.AvgPool2d
    | nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d | nn.Upsample | nn.ZeroPad2d
)  # fmt: skip
_HOLD = nn.GroupNorm | nn.InstanceNorm2d | nn.PReLU | nn.LocalResponseNorm
_NAMES = (
    "relu relu_ relu6 silu hardswish hardsigmoid sigmoid tanh gelu elu leaky_relu mish softplus dropout dropout2d clamp"
    " avg_pool2d adaptive_avg_pool2d interpolate contiguous clone"
)
_FUNCTIONS = {F.max_pool2d, F.adaptive_max_pool2d}  # which have no names of their own
_TIE = "add iadd add_ sub isub sub_ mul imul mul_ truediv div div_ maximum minimum"


@dataclass
class Width:
    """The number of channels of some tensors."""

    size: int
    held: str = ""
    """Why it can't be another; "" where it can."""
    joined: Width | None = None

    def root(self) -> Width:
        """The width that this one was tied to in the end."""
        found = self
        while found.joined is not None:
            found = found.joined
        return found


@dataclass
class Followed:
    """A layer with weights, and the widths that it takes and makes."""

    name: str
    layer: nn.Module
    ins: Width
    outs: Width


@dataclass(frozen=True)
class _Tensor:
    width: Width
    flat: bool | None
    """(N, C) rather than (N, C, H, W); None where either will do."""


def follow(module: nn.Module) -> list[Followed]:
    """The layers with weights in the order in which they run, each once, with their widths.

    Raises:
        SupernetError: no trace can follow `forward`, or it does something whose widths aren't known here; says where.
    """
    walk = _Walk(module)
    return list(walk.run().values())


class _Walk:
    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.layers: dict[int, Followed] = {}
        self.tensors: dict[fx.Node, _Tensor | None] = {}

    def run(self) -> dict[int, Followed]:
        tracer = fx.Tracer()
        tracer.record_stack_traces = True
        try:
            graph = tracer.trace(self.module)
        except Exception as error:  # whatever a user's forward raises under a symbolic trace
            raise does_not_trace(self.module, error) from error
        for node in graph.nodes:
            self.tensors[node] = self._result(node)
        return self.layers

    def _result(self, node: fx.Node) -> _Tensor | None:
        inputs = [found for arg in node.all_input_nodes if (found := self.tensors[arg]) is not None]
        if node.op == "placeholder":
            if any(tensor is not None for tensor in self.tensors.values()):
                raise self._refusal(node, "a second input")
            return _Tensor(Width(0, held="it is the input's"), None)
        if node.op == "get_attr":
            value = _attribute(self.module, str(node.target))
            if not isinstance(value, torch.Tensor) or value.numel() == 1:
                return None
            return _Tensor(Width(0, held=f"{node.target!r} is fixed"), None)
        if node.op == "output":
            _hold([tensor.width for tensor in inputs], "it is the output's")
            return None
        if not inputs:  # arithmetic on sizes
            return None
        if node.op == "call_module":
            return self._layer(node, _attribute(self.module, str(node.target)), inputs)
        return self._function(node, inputs)

    def _layer(self, node: fx.Node, layer: nn.Module, inputs: list[_Tensor]) -> _Tensor:
        name, given = str(node.target), inputs[0]
        if isinstance(layer, _HAND_ON) or len(inputs) > 1:
            if len(inputs) > 1:
                raise self._refusal(node, f"{name!r} ({type(layer).__name__}) with several inputs")
            return given
        if isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1):
            return _Tensor(given.width, True)
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            self._followed(name, layer, given.width, given.width, layer.num_features)
            if not (layer.affine and layer.track_running_stats and layer.momentum is not None):
                _hold([given.width], f"{name!r} has no running statistics or weights")
            return given
        if isinstance(layer, _HOLD):
            _hold([given.width], f"{name!r} ({type(layer).__name__}) isn't elastic")
            return given
        if isinstance(layer, nn.Conv2d):
            return self._convolution(node, name, layer, given)
        if isinstance(layer, nn.Linear):
            if given.flat is False:
                raise self._refusal(node, f"{name!r} (Linear) on maps of height and width")
            made = self._followed(name, layer, given.width, None, layer.in_features, layer.out_features)
            return _Tensor(made, True)
        raise self._refusal(node, f"{name!r} ({type(layer).__name__})")

    def _convolution(self, node: fx.Node, name: str, layer: nn.Conv2d, given: _Tensor) -> _Tensor:
        if given.flat:
            raise self._refusal(node, f"{name!r} (Conv2d) on flat features")
        if is_depthwise(layer):
            self._followed(name, layer, given.width, given.width, layer.in_channels)
            made = given.width
        else:
            made = self._followed(name, layer, given.width, None, layer.in_channels, layer.out_channels)
        odd = why_not_elastic(layer)
        if odd:
            _hold([given.width, made], f"{name!r} has {odd}")
        return _Tensor(made, False)

    def _followed(
        self, name: str, layer: nn.Module, ins: Width, outs: Width | None, takes: int, makes: int | None = None
    ) -> Width:
        """Remembers a layer; one that runs again ties its widths to those of its first call."""
        root = ins.root()
        if root.size not in (0, takes):
            _hold([root], f"{name!r} takes {takes} numbers of {root.size} channels")
        elif not root.size:
            root.size = takes
        if outs is None:
            outs = Width(makes or takes)
        before = self.layers.setdefault(id(layer), Followed(name, layer, ins, outs))
        if before.ins is not ins:
            _tie([before.ins, ins])
        if before.outs is not outs:
            _tie([before.outs, outs])
        return before.outs

    def _function(self, node: fx.Node, inputs: list[_Tensor]) -> _Tensor | None:
        target: Any = node.target
        name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        given = inputs[0]
        widths = [tensor.width for tensor in inputs]
        if name in ("size", "dim") or (target is getattr and node.args[1] in ("shape", "device", "dtype", "ndim")):
            return None
        if len(inputs) == 1 and (name in _NAMES.split() or target in _FUNCTIONS):
            return given
        if name in _TIE.split():
            _tie(widths)
            return _Tensor(given.width, None if all(t.flat is None for t in inputs) else any(t.flat for t in inputs))
        if name in ("cat", "concat") and _argument(node, 1, "dim", 0) in (1, -3):
            _hold(widths, "it is concatenated")
            total = 0 if any(not width.root().size for width in widths) else sum(width.root().size for width in widths)
            return _Tensor(Width(total, held="it is concatenated"), given.flat)
        if name == "flatten" and _argument(node, 1, "start_dim", 0) == 1:
            return _Tensor(given.width, True)
        if name == "mean" and _both_axes(_argument(node, 1, "dim", None)):
            return _Tensor(given.width, not _argument(node, 2, "keepdim", False))
        if name in ("view", "reshape"):
            shape: Any = node.args[1:] if isinstance(node.args[1], int | fx.Node) else node.args[1]
            if len(shape) >= 2 and not (isinstance(shape[1], int) and shape[1] != -1) and set(shape[2:]) <= {1}:
                return _Tensor(given.width, len(shape) == 2)
        raise self._refusal(node, f"{name!r}")

    def _refusal(self, node: fx.Node, what: str) -> SupernetError:
        lines = [line.strip() for line in (node.stack_trace or "").splitlines()]
        own = [n for n, line in enumerate(lines) if line.startswith('File "') and not line[6:].startswith(LIBRARIES)]
        place = f" at {' '.join(lines[own[-1] : own[-1] + 2])}" if own else ""
        fix = "put elastic layers there by hand; docs/own-space.md shows how"
        return SupernetError("a network whose widths make_elastic can follow", f"{what}{place}", fix)


def is_depthwise(layer: nn.Conv2d) -> bool:
    """Whether each channel is convolved for itself."""
    return 1 < layer.groups == layer.in_channels == layer.out_channels


def why_not_elastic(layer: nn.Conv2d) -> str:
    """What a convolution has that elastic ones lack; "" for nothing."""
    if layer.groups > 1 and not is_depthwise(layer):
        return "groups"
    if layer.padding_mode != "zeros" or not isinstance(layer.padding, tuple):
        return "padding of another kind"
    for what, pair in (("kernel", layer.kernel_size), ("stride", layer.stride), ("padding", layer.padding)):
        if len(set(pair)) > 1:
            return f"a {what} that isn't square"
    return "dilation" if set(layer.dilation) != {1} else ""


def _tie(widths: Iterable[Width]) -> None:
    first, *others = (width.root() for width in widths)
    for other in others:
        first, other = first.root(), other.root()
        if first is other:
            continue
        sizes = {first.size, other.size}
        if len(sizes - {0}) > 1:  # broadcast, such as one channel against many
            _hold([first, other], "it meets another width")
            continue
        first.size = max(sizes)
        first.held = first.held or other.held
        other.joined = first


def _hold(widths: Iterable[Width], why: str) -> None:
    for width in widths:
        width.root().held = width.root().held or why


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _both_axes(dims: Any) -> bool:
    return isinstance(dims, tuple | list) and {dim % 4 for dim in dims if isinstance(dim, int)} == {2, 3}


def _attribute(module: nn.Module, path: str) -> Any:
    owner, _, name = path.rpartition(".")
    return getattr(module.get_submodule(owner), name)

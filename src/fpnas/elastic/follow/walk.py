"""The walk: what each layer and function does to the channels of what it is given.

Convolutions and linear layers make new widths; norms, activations, pooling and depthwise convolutions hand theirs on;
sums and products tie those that meet. Whatever isn't known here holds the widths that it reads, and what it makes
counts as fixed, as the input and parameters in a `forward` do: None stands for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from fpnas.elastic.follow.call import Call
from fpnas.elastic.follow.functions import function
from fpnas.elastic.follow.moves import Channels
from fpnas.elastic.follow.tracing import runnable, traced
from fpnas.elastic.follow.widths import Layout, Segment, Width, fresh, hold, resolved, tie
from fpnas.elastic.tokens import DotProductAttention

_ELEMENTWISE = (
    nn.Identity | nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.ReLU | nn.ReLU6 | nn.SiLU | nn.Hardswish
    | nn.Hardsigmoid | nn.Sigmoid | nn.Tanh | nn.GELU | nn.ELU | nn.LeakyReLU | nn.Mish | nn.Softplus | nn.Hardtanh
)  # fmt: skip
_POSITIONAL = (
    nn.MaxPool2d | nn.AvgPool2d | nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d | nn.Upsample | nn.ZeroPad2d
)  # fmt: skip


class Use(NamedTuple):
    """A layer's axis along which a width runs: from `offset` on, `unit` channels for each of its units."""

    layer: str
    axis: str
    """"ins" or "outs"."""
    unit: int
    offset: int


@dataclass
class Followed:
    """A layer with weights (or attention), and the channels that it takes and makes."""

    name: str
    layer: nn.Module
    ins: Layout
    outs: Layout

    def widths(self) -> list[Width]:
        """Those that it reads, then those that it makes."""
        return [width for width, _ in (*resolved(self.ins), *resolved(self.outs))]


@dataclass(frozen=True)
class Network:
    """What was followed.

    Args:
        layers: in the order in which they run, each once.
        whole: modules that no trace can follow, outermost: name -> why.
    """

    layers: list[Followed]
    whole: Mapping[str, str]

    def uses(self) -> dict[Width, list[Use]]:
        """Of each width all places where it is read or written."""
        found: dict[Width, list[Use]] = {}
        for followed in self.layers:
            for axis, layout in (("ins", followed.ins), ("outs", followed.outs)):
                offset = 0
                for segment in resolved(layout):
                    use = Use(followed.name, axis, segment.unit, offset)
                    found.setdefault(segment.width, []).append(use)
                    offset += segment.length
        return found


def follow(module: nn.Module, input_shape: tuple[int, ...] | None = None) -> Network:
    """The layers with weights and their widths.

    Args:
        module: anything that `torch.fx` can trace at the top; what it can't trace below stays whole.
        input_shape: of one example; by default a usual one that it takes.

    Raises:
        InputError: it runs at no usual shape.
        SupernetError: no trace can follow the module's own forward.
    """
    empty, example = runnable(module, input_shape)
    graphs, whole = traced(empty)
    layers: dict[int, Followed] = {}
    with torch.no_grad():
        _Walk(empty, graphs.eval, layers, whole, example.device).run(example)
        running = list(layers.values())
        _Walk(empty, graphs.training, layers, whole, example.device).run(example)
    widths = {width for followed in running for width in followed.widths()}
    for followed in layers.values():
        for width in set(followed.widths()) - widths:
            width.held = width.held or f"{followed.name!r} runs in training alone"
    for followed in layers.values():
        followed.layer = module.get_submodule(followed.name)
    return Network(list(layers.values()), whole)


class _Walk(fx.Interpreter):
    """Runs a graph on shapes alone, and notes the channels of each result."""

    def __init__(
        self,
        module: nn.Module,
        graph: fx.Graph,
        layers: dict[int, Followed],
        whole: Mapping[str, str],
        device: torch.device,
    ) -> None:
        super().__init__(module, graph=graph)
        self.layers, self.whole, self.device = layers, whole, device
        self.known: dict[fx.Node, Any] = {}

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        value = super().get_attr(target, args, kwargs)
        return value.to(self.device) if isinstance(value, Tensor) else value

    def run_node(self, n: fx.Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        value = super().run_node(n)
        self.known[n] = self._rule(Call(n, args, kwargs, value, [self.known[arg] for arg in n.all_input_nodes]))
        return value

    def _rule(self, call: Call) -> Any:
        """The channels of what a call makes; a list where it makes several tensors."""
        if call.node.op == "output":
            return call.stop("it is the output's")
        if call.node.op == "call_module":
            return self._layer(call, str(call.node.target), self.fetch_attr(str(call.node.target)))
        if call.node.op in ("placeholder", "get_attr") or not call.channels:
            return None
        if call.name == "getitem" and isinstance(call.known[0], list):
            return call.known[0][call.args[1]]
        made = call.value if isinstance(call.value, tuple | list) else [call.value]
        return function(call) if any(isinstance(part, Tensor) for part in made) else None

    def _layer(self, call: Call, name: str, layer: Any) -> Channels | None:
        what = f"{name!r} ({type(layer).__name__})"
        if name in self.whole:
            return call.stop(f"{what} stays whole")
        if isinstance(layer, DotProductAttention):
            return self._attention(call, name, layer)
        if isinstance(layer, nn.Conv2d):
            return self._convolution(call, name, layer)
        if isinstance(layer, nn.Linear):
            ins = call.taken(what, layer.in_features, -1)
            return Channels(self._followed(name, layer, ins, fresh(layer.out_features)), call.value.dim() - 1)
        given = call.only()
        if given is None:
            return call.stop(f"{what} has several inputs")
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm):
            return self._norm(call, name, layer, given)
        if isinstance(layer, _ELEMENTWISE):
            return given
        if isinstance(layer, _POSITIONAL):
            return call.on_maps(given, what)
        if isinstance(layer, nn.Flatten):
            return call.moved(layer, given, what)
        return call.stop(f"{what} isn't elastic")

    def _norm(self, call: Call, name: str, layer: Any, given: Channels) -> Channels | None:
        what = f"{name!r} ({type(layer).__name__})"
        if isinstance(layer, nn.LayerNorm):
            whole, axis = len(dict(layer.named_parameters())) == 2, call.args[0].dim() - 1
        else:
            whole, axis = layer.affine and layer.track_running_stats and layer.momentum is not None, 1
        if given.axis != axis:
            return call.stop(f"{what} isn't on the channels")
        self._followed(name, layer, given.layout, given.layout)
        if not whole:
            hold([given.layout], f"{what} has no running statistics or weights")
        return given

    def _convolution(self, call: Call, name: str, layer: nn.Conv2d) -> Channels:
        what = f"{name!r} (Conv2d)"
        ins = call.taken(what, layer.in_channels, 1)
        if layer.groups > 1:
            groups = Width(layer.groups)
            tie(ins, (Segment(groups, layer.in_channels // layer.groups),), f"{what} has groups across widths")
            outs: Layout = (Segment(groups, layer.out_channels // layer.groups),)
        else:
            outs = fresh(layer.out_channels)
        odd = why_not_elastic(layer)
        if odd:
            hold([ins, outs], f"{name!r} has {odd}")
        return Channels(self._followed(name, layer, ins, outs), 1)

    def _attention(self, call: Call, name: str, layer: DotProductAttention) -> Channels:
        heads: int = layer.values["num_heads"]
        inner: Layout = (Segment(Width(heads), layer.values["head_dim"]),)
        for given in call.channels:
            if given.axis == call.value.dim() - 1:
                tie(inner, given.layout, f"{name!r} reads another width")
            else:
                hold([given.layout], f"{name!r} isn't on the channels")
        if len(call.channels) < 3:
            hold([inner], f"{name!r} reads a fixed width")
        return Channels(self._followed(name, layer, inner, inner), call.value.dim() - 1)

    def _followed(self, name: str, layer: nn.Module, ins: Layout, outs: Layout) -> Layout:
        """Remembers a layer; one that runs again ties its widths to those of its first call."""
        before = self.layers.setdefault(id(layer), Followed(name, layer, ins, outs))
        if before.ins is not ins:
            tie(before.ins, ins, f"{name!r} runs again on another width")
            tie(before.outs, outs, f"{name!r} runs again")
        return before.outs


def is_depthwise(layer: nn.Conv2d) -> bool:
    """Whether each channel is convolved for itself."""
    return 1 < layer.groups == layer.in_channels == layer.out_channels


def why_not_elastic(layer: nn.Conv2d) -> str:
    """What a convolution has that elastic ones lack; "" for nothing."""
    if layer.padding_mode != "zeros" or not isinstance(layer.padding, tuple):
        return "padding of another kind"
    for what, pair in (("kernel", layer.kernel_size), ("stride", layer.stride), ("padding", layer.padding)):
        if len(set(pair)) > 1:
            return f"a {what} that isn't square"
    return "dilation" if set(layer.dilation) != {1} else ""

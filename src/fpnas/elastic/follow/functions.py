"""What functions and methods of torch do to the channels of what they read: a rule for each kind.

A rule returns the channels of the result, a list of them where it is several tensors, or None where these are fixed.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, fx

from fpnas.elastic.follow.call import Call
from fpnas.elastic.follow.moves import MOVES, Channels
from fpnas.elastic.follow.widths import fresh, tie

_ELEMENTWISE = (
    "relu relu6 silu hardswish hardsigmoid sigmoid tanh gelu elu leaky_relu mish softplus hardtanh dropout dropout2d"
    " clamp contiguous clone detach float to neg abs exp log sqrt rsqrt square pow"
)
_POSITIONAL = "avg_pool2d adaptive_avg_pool2d interpolate pad"
_POSITIONAL_FUNCTIONS = {F.max_pool2d, F.adaptive_max_pool2d}  # which have no names of their own
_MEET = "add sub mul div truediv maximum minimum addcmul radd rmul rsub"
_REDUCE = "mean sum amax amin norm"
_NEW = "new_ones new_zeros new_empty new_full ones_like zeros_like"


def function(call: Call) -> Any:
    """The channels of what a call makes."""
    name, given = call.name, call.only()
    if name in _NEW.split():
        return None
    if name in ("cat", "concat", "concatenate"):
        return _concatenated(call)
    if name in _MEET.split():
        return _met(call)
    if given is not None:
        if name in _ELEMENTWISE.split():
            return given
        if name in _POSITIONAL.split() or call.node.target in _POSITIONAL_FUNCTIONS:
            return call.on_maps(given, repr(name))
        if name in _REDUCE.split():
            return _reduced(call, given)
        if name in MOVES.split():
            target: Any = call.node.target
            method = call.node.op == "call_method"
            return call.moved(getattr(Tensor, target) if method else target, given, repr(name))
    return call.stop(repr(name))


def _met(call: Call) -> Channels | None:
    """Sums and products: channels on one axis, counted from the last, are tied; axes of size 1 broadcast."""
    index = dict(zip(call.node.all_input_nodes, call.known, strict=True))
    nodes = (*call.node.args, *call.node.kwargs.values())
    given = zip(nodes, (*call.args, *call.kwargs.values()), strict=True)
    pairs = [(arg, index[node]) for node, arg in given if isinstance(arg, Tensor) and isinstance(node, fx.Node)]
    axes = {known.axis - arg.dim() for arg, known in pairs if known is not None}
    if len(axes) != 1:
        return call.stop(f"{call.name!r} of different axes")
    (axis,) = axes
    size = call.value.shape[axis]
    reach = [(arg, known) for arg, known in pairs if arg.dim() >= -axis and arg.shape[axis] == size]
    first = next((known for _, known in reach if known is not None), None)
    if first is None or any(known is None for _, known in reach):
        return call.stop(f"{call.name!r} with a fixed width")
    for _, known in pairs:
        if known is not None and known is not first:
            tie(first.layout, known.layout, f"{call.name!r} of other widths")
    return Channels(first.layout, call.value.dim() + axis)


def _concatenated(call: Call) -> Channels | None:
    tensors, nodes = call.args[0], call.node.args[0]
    dim: int = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", call.kwargs.get("axis", 0))
    index = dict(zip(call.node.all_input_nodes, call.known, strict=True))
    if not isinstance(nodes, tuple | list):
        return call.stop(f"{call.name!r}")
    given = [index.get(node) if isinstance(node, fx.Node) else None for node in nodes]
    axes = {channels.axis for channels in given if channels is not None}
    if len(axes) != 1:
        return call.stop(f"{call.name!r} of different axes")
    (axis,) = axes
    if dim % call.value.dim() == axis:
        parts = zip(given, tensors, strict=True)
        layouts = [fresh(x.shape[axis], "it is fixed") if c is None else c.layout for c, x in parts]
        return Channels(tuple(segment for layout in layouts for segment in layout), axis)
    first, *others = [channels for channels in given if channels is not None]
    if None in given:
        return call.stop(f"{call.name!r} with a fixed width")
    for channels in others:
        tie(first.layout, channels.layout, f"{call.name!r} of other widths")
    return first


def _reduced(call: Call, given: Channels) -> Channels | None:
    ndim = call.args[0].dim()
    position = 2 if call.name == "norm" else 1
    dims: Any = call.args[position] if len(call.args) > position else call.kwargs.get("dim")
    dims = [dims] if isinstance(dims, int) else dims
    if not dims or given.axis in [dim % ndim for dim in dims]:
        return call.stop(f"{call.name!r} over the channels")
    before = sum(dim % ndim < given.axis for dim in dims)
    return Channels(given.layout, given.axis if call.value.dim() == ndim else given.axis - before)

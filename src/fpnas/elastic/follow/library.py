"""Layers of timm and torchvision written as torch's own, on a copy of the network, so that a trace can follow them.

The libraries aren't imported: a layer is known by its class's name and by what it holds. What has no counterpart here
is left as it is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from fpnas.elastic.base import plain_layer
from fpnas.elastic.follow.tracing import runnable
from fpnas.elastic.tokens import DotProductAttention


class DropPath(nn.Module):
    """In training leaves out examples of a batch (or, of mode "batch", all of it) with probability `p`."""

    def __init__(self, p: float, dims: int, by_example: bool = True) -> None:
        super().__init__()
        self.drop, self.ones, self.by_example = nn.Dropout(p), [1] * (dims - 1), by_example

    def forward(self, x: Tensor) -> Tensor:
        return x * self.drop(x.new_ones(x.shape[0] if self.by_example else 1, *self.ones))


class LayerNorm2d(nn.Module):
    """Layer norm over the channels of maps (N, C, H, W)."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SelfAttention(nn.Module):
    """Attention of tokens (N, T, C) to one another; one layer makes queries, keys and values."""

    def __init__(self, qkv: nn.Module, heads: int, head_dim: int, proj: nn.Module, drop: nn.Module) -> None:
        super().__init__()
        self.qkv, self.proj, self.drop = qkv, proj, drop
        self.attention = DotProductAttention(heads, head_dim)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        queries, keys, values = self.qkv(x).chunk(3, -1)
        options = {} if is_causal is False else {"causal": is_causal}  # in a trace it may be neither
        return self.drop(self.proj(self.attention(queries, keys, values, attn_mask, **options)))


def as_torch(module: nn.Module, input_shape: tuple[int, ...] | None = None) -> nn.Module:
    """A copy of the module, with its weights, in which torch's layers stand for those of the libraries.

    Args:
        module: left as it was.
        input_shape: of one example that it will be called on; without it, padding that depends on the input's size is
            left.
    """
    copy = deepcopy(module)
    shapes = _input_shapes(module, input_shape)
    made: dict[int, nn.Module | None] = {}
    for name, layer in list(copy.named_modules(remove_duplicate=False)):
        make = _MAKERS.get(type(layer).__name__)
        if make is _same_padding and input_shape is None:
            continue
        if name and make is not None and not type(layer).__module__.startswith(("torch.", "fpnas.")):
            if id(layer) not in made:
                made[id(layer)] = make(layer, shapes.get(name, ()))
            new = made[id(layer)]
            if new is not None:
                copy.set_submodule(name, new.train(layer.training))
    return copy


def _input_shapes(module: nn.Module, input_shape: tuple[int, ...] | None) -> dict[str, tuple[int, ...]]:
    """Of each layer's first input; () where calls differ."""
    shapes: dict[str, tuple[int, ...]] = {}
    empty, example = runnable(module, input_shape)

    def note(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
            del layer
            shape = tuple(inputs[0].shape) if inputs and isinstance(inputs[0], Tensor) else ()
            if shapes.setdefault(name, shape) != shape:
                shapes[name] = ()

        return hook

    for name, layer in empty.named_modules():
        layer.register_forward_pre_hook(note(name))
    with torch.no_grad():
        empty(example)
    return shapes


# ------------------------------------------------------------------------------- one function a layer: None leaves it


def _norm_and_activation(layer: Any, shape: tuple[int, ...]) -> nn.Module | None:
    del shape
    if not isinstance(layer, nn.BatchNorm2d):
        return None
    own: dict[str, Tensor] = {**dict(layer.named_parameters(recurse=False)), **dict(layer.named_buffers(recurse=False))}
    options = {"affine": layer.affine, "track_running_stats": layer.track_running_stats}
    if not own:
        return None
    norm = plain_layer(nn.BatchNorm2d, own, layer.num_features, layer.eps, layer.momentum, **options)
    chain = OrderedDict[str, nn.Module](norm=norm.train(layer.training))
    for name in ("drop", "act"):
        part = getattr(layer, name, None)
        if isinstance(part, nn.Module) and not isinstance(part, nn.Identity):
            chain[name] = part
    return norm if len(chain) == 1 else nn.Sequential(chain)


def _linear(layer: Any, shape: tuple[int, ...]) -> nn.Module | None:
    del shape
    if not isinstance(layer, nn.Linear) or set(layer._parameters) != {"weight", "bias"}:  # pyright: ignore[reportPrivateUsage]
        return None
    own = dict(layer.named_parameters())
    return plain_layer(nn.Linear, own, layer.in_features, layer.out_features, bias="bias" in own)


def _layer_norm(layer: Any, shape: tuple[int, ...]) -> nn.Module | None:
    del shape
    own = dict(layer.named_parameters())
    if not isinstance(layer, nn.LayerNorm) or set(own) != {"weight", "bias"}:
        return None
    return plain_layer(nn.LayerNorm, own, layer.normalized_shape, eps=layer.eps)


def _layer_norm_of_maps(layer: Any, shape: tuple[int, ...]) -> nn.Module | None:
    norm = _layer_norm(layer, shape)
    return None if norm is None else LayerNorm2d(norm.train(layer.training))


def _same_padding(layer: Any, shape: tuple[int, ...]) -> nn.Module | None:
    """TensorFlow's: as much as gives ceil(size / stride) positions, the odd one behind."""
    if len(shape) != 4 or not isinstance(layer, nn.Conv2d):
        return None
    margins: list[int] = []
    for size, kernel, stride, dilation in zip(
        reversed(shape[2:]), *map(reversed, (layer.kernel_size, layer.stride, layer.dilation)), strict=True
    ):
        needed = max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
        margins += [needed // 2, needed - needed // 2]
    left, right, top, bottom = margins
    even = left == right and top == bottom
    options = {"dilation": layer.dilation, "groups": layer.groups, "bias": layer.bias is not None}
    sizes = layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, (top, left) if even else 0
    conv = plain_layer(nn.Conv2d, dict(layer.named_parameters()), *sizes, **options)
    pad = nn.ZeroPad2d((left, right, top, bottom))
    return conv if even else nn.Sequential(OrderedDict(pad=pad, conv=conv.train(layer.training)))


def _drop_path(layer: Any, shape: tuple[int, ...]) -> nn.Module | None:
    """timm's `DropPath`, torchvision's `StochasticDepth`."""
    p = getattr(layer, "drop_prob", getattr(layer, "p", None))
    if not p:
        return None if p is None else nn.Identity()
    if not shape or not getattr(layer, "scale_by_keep", True):
        return None
    return DropPath(float(p), len(shape), getattr(layer, "mode", "row") == "row")


def _attention(layer: Any, shape: tuple[int, ...]) -> nn.Module | None:
    """timm's, without norms or gates of its own."""
    del shape
    known = {"qkv", "q_norm", "k_norm", "attn_drop", "norm", "proj", "proj_drop"}
    parts: Mapping[str, nn.Module] = dict(layer.named_children())
    idle = [parts[name] for name in ("q_norm", "k_norm", "norm") if name in parts]
    rate: float = getattr(parts.get("attn_drop"), "p", 0.0)
    heads, head_dim = getattr(layer, "num_heads", 0), getattr(layer, "head_dim", 0)
    if not {"qkv", "proj"} <= set(parts) <= known or rate or not all(isinstance(part, nn.Identity) for part in idle):
        return None
    qkv, proj = parts["qkv"], parts["proj"]
    if not isinstance(qkv, nn.Linear) or not isinstance(proj, nn.Linear) or not heads or not head_dim:
        return None
    if qkv.out_features != 3 * heads * head_dim or proj.in_features != heads * head_dim:
        return None
    return SelfAttention(qkv, heads, head_dim, proj, parts.get("proj_drop", nn.Identity()))


_MAKERS: Mapping[str, Callable[[Any, tuple[int, ...]], nn.Module | None]] = {
    "BatchNormAct2d": _norm_and_activation,
    "Linear": _linear,
    "LayerNorm": _layer_norm,
    "LayerNorm2d": _layer_norm_of_maps,
    "Conv2dSame": _same_padding,
    "DropPath": _drop_path,
    "StochasticDepth": _drop_path,
    "Attention": _attention,
}

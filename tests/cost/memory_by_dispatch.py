"""Slow and obvious: the memory of a plain network by watching what torch dispatches, with the addresses of tensors.

It knows nothing of this library: it takes any module. It follows what a LiteRT file has of it on a microcontroller:
strided convolutions with pads of their own, swish in two operators, sums and products over what nobody reads again.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

NORMS = {"native_batch_norm", "_native_batch_norm_legit_no_training"}
ELEMENTWISE = {
    *("relu", "relu_", "silu", "silu_", "sigmoid", "gelu", "hardtanh", "hardtanh_", "hardswish", "hardswish_"),
    *("hardsigmoid", "add", "mul", "sub", *NORMS),
}


def padded(image: Tensor, weight: Tensor, strides: list[int], pads: list[int]) -> int:
    """Elements of a convolution's input with a pad operator before it; 0 where the file has none.

    "SAME" puts the smaller half of the pads first, and as many in all as the last window reaches beyond the image.
    """
    fits = True
    for side, kernel, stride, pad in zip(image.shape[2:], weight.shape[2:], strides, pads, strict=True):
        begins = [*range(0, side, stride)]
        beyond = max(0, begins[-1] + kernel - side)
        fits = fits and (beyond // 2, beyond - beyond // 2) == (pad, pad)
    if fits or pads == [0, 0]:
        return 0
    return math.prod([image.shape[1], image.shape[2] + 2 * pads[0], image.shape[3] + 2 * pads[1]])


RELUS = {"relu", "relu_", "hardtanh", "hardtanh_"}
LAYERS = {"convolution", "addmm", "mm"}


class Watch(TorchDispatchMode):
    """Notes each operation with the addresses of what it reads and writes; keeps all alive so that none recurs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.weights = {p.untyped_storage().data_ptr() for p in (*network.parameters(), *network.buffers())}
        self.seen: list[tuple[str, list[int], list[int]]] = []
        self.with_pads: dict[tuple[int, int], int] = {}
        self.sizes: dict[int, int] = {}
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.kept: list[Tensor] = []

    def _addresses(self, value: Any) -> list[int]:
        found: list[int] = []
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, list | tuple):
                found += self._addresses(item)
            elif isinstance(item, Tensor) and item.numel():
                address = item.untyped_storage().data_ptr()
                if address not in self.weights:
                    self.sizes.setdefault(address, item.numel())
                    self.shapes.setdefault(address, tuple(item.shape))
                    self.kept.append(item)
                    found.append(address)
        return found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        outputs = result[:1] if "batch_norm" in name else result
        reads, writes = self._addresses([*args]), self._addresses(outputs)
        if not writes or set(writes) <= set(reads):  # a view, or written in place
            return result
        size = padded(args[0], args[1], args[3], args[4]) if name == "convolution" and args[0].dim() == 4 else 0
        if size:
            key = reads[0], size
            if key not in self.with_pads:
                self.with_pads[key] = self._between(size)
                self.seen.append(("pad", reads[:1], [self.with_pads[key]]))
            self.seen.append((name, [self.with_pads[key]], writes))
        elif name in ("silu", "silu_"):
            gate = self._between(args[0].numel())
            self.seen += [("gate", reads, [gate]), ("mul", [*reads, gate], writes)]
        elif name == "addcmul":
            product = self._between(args[1].numel())
            self.seen += [("mul", reads[1:], [product]), ("add", [reads[0], product], writes)]
        else:
            self.seen.append((name, reads, writes))
        return result

    def _between(self, numel: int) -> int:
        """A tensor that the file has and torch hasn't."""
        address = -1 - len(self.sizes)
        self.sizes[address] = numel
        return address


def peak_bytes(network: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """The most bytes alive at once, of int8 and of float32: for each operation what it reads, writes, and what is
    read after it. On top what the runtime notes: 512, 272 of a layer and 128 of another operator, and of int8 8 of each
    channel that a layer makes."""
    watch, image = Watch(network), torch.zeros(1, *shape)
    with torch.no_grad(), watch:
        network.eval()(image)
    last = {address: at for at, (_, reads, _) in enumerate(watch.seen) for address in reads}
    # What writes over an input of its size, which nobody reads again, has that one's memory; a pad's input lies within
    # its output.
    instead: dict[int, int] = {}
    notes, channels = 512, 0
    steps: list[tuple[int, set[int], set[int]]] = []
    for at, (name, reads, writes) in enumerate(watch.seen):
        ins = [instead.get(address, address) for address in reads]
        if name in LAYERS:
            notes += 272
            channels += watch.shapes[writes[0]][1]
        free = [each for each in ins if last[each] == at and watch.sizes[each] == watch.sizes[writes[0]]]
        if name in ELEMENTWISE and free:
            instead[writes[0]] = free[0]
            last[free[0]] = last.get(writes[0], at)
            notes += 0 if name in NORMS | RELUS else 128
        elif name == "pad" and last[ins[0]] == at:
            steps.append((at, set(), set(writes)))
            last[ins[0]] = at - 1
            notes += 128
        else:
            steps.append((at, set(ins), set(writes)))
            notes += 0 if name in LAYERS else 128 * (4 + len(reads) if name in ("stack", "cat") else 1)
    most, made = (0, 0), set[int]()
    for at, reads, writes in steps:
        made |= reads | writes
        alive = reads | writes | {address for address in made if last.get(address, -1) > at}
        sizes = [watch.sizes[address] for address in alive]
        now = [sum(math.ceil(size * width / 16) * 16 for size in sizes) for width in (1, 4)]
        most = max(most[0], now[0]), max(most[1], now[1])
    return most[0] + notes + 8 * channels, most[1] + notes


def weight_bytes(network: nn.Module, width: int) -> int:
    """Of a network in which each batch norm follows a convolution or linear layer: those folded into these."""
    layers = [member for member in network.modules() if not [*member.children()]]
    total = 0
    for before, layer in zip([None, *layers], layers, strict=False):
        if isinstance(layer, nn.BatchNorm2d):
            assert isinstance(before, nn.Conv2d | nn.Linear)
            total += 0 if before.bias is not None else 4 * layer.num_features
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            total += width * layer.weight.numel() + (0 if layer.bias is None else 4 * layer.bias.numel())
        else:
            assert not [*layer.parameters()]
    return total

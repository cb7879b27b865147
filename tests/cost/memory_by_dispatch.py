"""Slow and obvious: the memory of a plain network by watching what torch dispatches, with the addresses of tensors.

It knows nothing of this library: it takes any module.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

NORMS = {"native_batch_norm", "_native_batch_norm_legit_no_training"}
ELEMENTWISE = {"relu", "relu_", "silu", "silu_", "sigmoid", "gelu", "hardtanh", "hardtanh_", "hardswish", *NORMS}


class Watch(TorchDispatchMode):
    """Notes each operation with the addresses of what it reads and writes; keeps all alive so that none recurs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.weights = {p.untyped_storage().data_ptr() for p in (*network.parameters(), *network.buffers())}
        self.seen: list[tuple[str, list[int], list[int]]] = []
        self.sizes: dict[int, int] = {}
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
                    self.kept.append(item)
                    found.append(address)
        return found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        outputs = result[:1] if "batch_norm" in name else result
        reads, writes = self._addresses([*args]), self._addresses(outputs)
        if writes and not set(writes) <= set(reads):  # a view, or written in place
            self.seen.append((name, reads, writes))
        return result


def peak_bytes(network: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """The most bytes alive at once, of int8 and of float32: for each operation what it reads, writes, and what is
    read after it."""
    watch = Watch(network)
    with torch.no_grad(), watch:
        network.eval()(torch.zeros(1, *shape))
    last = {address: at for at, (_, reads, _) in enumerate(watch.seen) for address in reads}
    # What writes over its only input, which nobody reads again, has that one's memory.
    instead: dict[int, int] = {}
    steps: list[tuple[int, set[int], set[int]]] = []
    for at, (name, reads, writes) in enumerate(watch.seen):
        ins = {instead.get(address, address) for address in reads}
        if name in ELEMENTWISE and len(ins) == 1 and last[min(ins)] == at:
            instead[writes[0]] = min(ins)
            last[min(ins)] = last.get(writes[0], at)
        else:
            steps.append((at, ins, set(writes)))
    most, made = (0, 0), set[int]()
    for at, reads, writes in steps:
        made |= reads | writes
        alive = reads | writes | {address for address in made if last.get(address, -1) > at}
        sizes = [watch.sizes[address] for address in alive]
        now = [sum(math.ceil(size * width / 16) * 16 for size in sizes) for width in (1, 4)]
        most = max(most[0], now[0]), max(most[1], now[1])
    return most


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

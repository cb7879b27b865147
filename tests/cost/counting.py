"""Slow and obvious: the cost of an architecture by extracting its network and counting, with torch's own counter."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fpnas import Arch, Choice, Supernet
from fpnas.elastic import Linear, MBConv, Repeat, conv_norm, searchable_mbconv


def counted(
    supernet: Supernet, arch: Arch, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> tuple[int, int]:
    """Multiply-adds (torch counts two FLOPs for each) and parameters of the extracted network."""
    network = supernet.extract(arch).eval()
    device = next(network.parameters()).device
    with seen_through(), FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *shape, dtype=dtype, device=device))
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2, sum(parameter.numel() for parameter in network.parameters())


@contextmanager
def seen_through() -> Iterator[None]:
    """Without fused kernels, in which torch's counter sees nothing."""
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.mkldnn.enabled = False  # type: ignore[attr-defined]
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
        torch.backends.mkldnn.enabled = True  # type: ignore[attr-defined]


def counted_by_layer(supernet: Supernet, arch: Arch, shape: tuple[int, ...]) -> dict[str, int]:
    """Multiply-adds of the extracted network's layers, by name; those without any left out."""
    network = supernet.extract(arch).eval()
    with FlopCounterMode(display=False, depth=99) as counter, torch.no_grad():
        network(torch.zeros(1, *shape))
    names = {f"Network.{name}": name for name, module in network.named_modules() if not [*module.children()]}
    counts = {names[path]: sum(ops.values()) // 2 for path, ops in counter.get_flop_counts().items() if path in names}
    return {name: count for name, count in counts.items() if count}


def every_arch(supernet: Supernet) -> Iterator[Arch]:
    """All architectures of a space."""
    space = supernet.space
    for codes in itertools.product(*(range(n) for n in space.cardinalities)):
        yield space.decode(codes)


SHAPE = (2, 9, 7)


class SmallNet(nn.Module):
    """Every kind of layer and structure, in 96 architectures: odd inputs, strides, attention, depth, plain layers."""

    def __init__(self) -> None:
        super().__init__()
        width, out = Choice("width", (3, 4)), Choice("out", (4, 6))
        kernel, splits = Choice("block.kernel", (0, 3, 5)), Choice("block.splits", (0, 2))
        expansion, depth = Choice("block.expansion", (0.75, 2)), Choice("depth", (0, 2))
        self.stem = conv_norm(2, width, stride=2, kernel=3, act="relu")
        self.plain = nn.Conv2d(2, 3, 3, padding=1)
        self.block = searchable_mbconv(width, out, kernel, 1, expansion, "swish", splits)
        self.body = Repeat(depth, [MBConv(out, out, 3, 1, 2, "relu", 1), conv_norm(out, out)])
        self.head = Linear(out, 5)
        self.classifier = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        features = self.head(self.body(self.block(self.stem(x))).mean((2, 3)))
        return self.classifier(torch.cat([features, self.plain(x).mean((2, 3))], dim=1))


def small_supernet() -> Supernet:
    return Supernet(SmallNet())

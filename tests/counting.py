"""Slow and obvious: the cost of an architecture by extracting its network and counting, with torch's own counter.

Also what the tests of costs share: which architectures to try, how quick a cost is, and a clock.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fpnas import Arch, Choice, SearchSpace, Supernet
from fpnas.cost import AdditiveCost, CostModel
from fpnas.elastic import Linear, MBConv, Repeat, conv_norm, searchable_mbconv


def counted(
    supernet: Supernet, arch: Arch, shape: tuple[int, ...], dtype: torch.dtype = torch.float32
) -> tuple[int, int]:
    """Multiply-adds (torch counts two FLOPs for each) and parameters of the extracted network."""
    network = supernet.extract(arch).eval()
    device = next(supernet.parameters()).device
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


def some_archs(supernet: Supernet, count: int, seed: int) -> list[Arch]:
    """The first options (all blocks skipped), the last (the largest), and random ones."""
    rng, sizes = random.Random(seed), supernet.space.cardinalities
    picks = [[0 for _ in sizes], [n - 1 for n in sizes]]
    picks += [[rng.randrange(n) for n in sizes] for _ in range(count - 2)]
    return [supernet.space.decode(codes) for codes in picks]


def random_codes(cost: CostModel, count: int) -> Tensor:
    rng = torch.Generator().manual_seed(0)
    return torch.stack([torch.randint(n, (count,), generator=rng) for n in cost.space.cardinalities], dim=1)


def some_weights(space: SearchSpace, seed: int) -> list[Tensor]:
    draws = torch.Generator().manual_seed(seed)
    logits = [torch.randn(n, generator=draws, dtype=torch.float64) for n in space.cardinalities]
    return [(2 * row).softmax(0).requires_grad_() for row in logits]


def weighted(cost: CostModel | AdditiveCost, every: Tensor, weights: list[Tensor]) -> Tensor:
    """sum over A of cost(A) * prod_v weights[v][a_v]."""
    columns = [row[options] for row, options in zip(weights, every.T, strict=True)]
    return (torch.stack(columns).prod(dim=0) * cost(every)).sum()


def assert_quick(cost: CostModel) -> None:
    """10,000 architectures in less than a tenth of a second on one core.

    In time of this thread's own; the best of five, as others may keep the machine's caches busy.
    """
    codes = random_codes(cost, 10_000)
    seconds = []
    for _ in range(5):
        start = time.thread_time()
        assert cost(codes).shape == (10_000,)
        seconds.append(time.thread_time() - start)
    assert min(seconds) < 0.1, seconds


class Clock:
    """A timer that says what `seconds` says of the number of its call; by default a second more each time."""

    def __init__(self, seconds: Callable[[int], float] = lambda call: call + 1.0) -> None:
        self.calls = 0
        self._seconds = seconds

    def __call__(self, run: Callable[[], object]) -> float:
        run()
        self.calls += 1
        return self._seconds(self.calls - 1)


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

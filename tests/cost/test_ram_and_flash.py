"""`Ram` and `Flash`: equal to what an independent counter says of the extracted networks, and exact bounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from counting import SHAPE, every_arch, random_codes, small_supernet, some_archs
from memory_by_dispatch import peak_bytes, weight_bytes
from torch import Tensor, nn

from fpnas import Choice, Flash, InputError, Ram, Supernet, spaces
from fpnas.cost import MaxCost, used_memory
from fpnas.cost.memory import Precision
from fpnas.elastic import Conv2d, DepthwiseConv2d, Linear, Switch, conv_norm, make_elastic
from fpnas.errors import SupernetError

PRECISIONS: tuple[Precision, ...] = ("int8", "float32")
CASES = [
    pytest.param(spaces.tiny, (3, 32, 32), id="tiny"),
    pytest.param(spaces.fbnetv2_f, (3, 64, 64), id="fbnetv2-f"),
    pytest.param(spaces.nasbench_macro, (3, 32, 32), id="nasbench-macro"),
]


@pytest.mark.parametrize("count", [8, pytest.param(30, marks=pytest.mark.soak)])
@pytest.mark.parametrize(("make", "shape"), CASES)
def test_equals_an_independent_count(make: Callable[..., Supernet], shape: tuple[int, ...], count: int) -> None:
    net = make(num_classes=10)
    ram = [Ram(net, shape, name) for name in PRECISIONS]
    flash = [Flash(net, shape, name) for name in PRECISIONS]
    for arch in some_archs(net, count, seed=3):
        network = net.extract(arch)
        assert (ram[0].of(arch), ram[1].of(arch)) == peak_bytes(network, shape)
        assert [each.of(arch) for each in flash] == [weight_bytes(network, 1), weight_bytes(network, 4)]


def test_many_architectures_at_once_are_what_each_is_by_itself() -> None:
    net = small_supernet()
    for kind in (Ram, Flash):
        cost = kind(net, SHAPE)
        codes = random_codes(cost, 50)
        each = [cost.of(net.space.decode(row)) for row in codes.tolist()]
        assert cost(codes).tolist() == each


def test_bounds_are_those_of_all_architectures() -> None:
    net = small_supernet()
    for kind in (Ram, Flash):
        cost = kind(net, SHAPE)
        every = [cost.of(arch) for arch in every_arch(net)]
        assert cost.bounds() == (min(every), max(every))
        for sign, bound in ((1, min(every)), (-1, max(every))):
            assert cost.of(net.space.decode(cost.table.extreme(sign)[1])) == bound


def test_a_network_by_hand() -> None:
    """Image 3 x 8 x 8 = 192, convolution to 4 x 8 x 8 = 256, pooled 4 (16 with alignment), classes 2 (16)."""
    width = Choice("width", (4, 8))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = Conv2d(3, width, 3), Linear(width, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x).mean((2, 3)))

    net = Supernet(Net())
    notes = 512 + 2 * 272 + 128  # of two layers and the mean
    ram = [Ram(net, (3, 8, 8)).of({"width": w}) for w in (4, 8)]
    assert ram == [192 + 256 + notes + 8 * (4 + 2), 192 + 512 + notes + 8 * (8 + 2)]
    ram = [Ram(net, (3, 8, 8), "float32").of({"width": w}) for w in (4, 8)]
    assert ram == [4 * (192 + 256) + notes, 4 * (192 + 512) + notes]
    weights, biases = 3 * 4 * 9 + 4 * 2, 4 + 2
    assert Flash(net, (3, 8, 8)).of({"width": 4}) == weights + 4 * biases
    assert Flash(net, (3, 8, 8), "float32").of({"width": 4}) == 4 * (weights + biases)


def test_a_residual_input_is_alive_as_long_as_it_is_read() -> None:
    """At the second convolution the block's input is alive, too: three maps of 16 x 8 x 8."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = conv_norm(16, Choice("inner", (8, 16)), act="relu"), nn.Identity()
            self.second = conv_norm(Choice("inner", (8, 16)), 16)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.second(self.first(x))

    net = Supernet(nn.Sequential(conv_norm(3, 16, act="relu"), Block()))
    notes = 512 + 3 * 272 + 128
    for inner in (8, 16):  # the sum is written over the input
        channels = 16 + inner + 16
        assert Ram(net, (3, 8, 8)).of({"inner": inner}) == (16 + inner + 16) * 64 + notes + 8 * channels


@pytest.mark.parametrize(
    ("act", "maps", "operators"), [("relu", 1, 0), ("hardswish", 1, 1), ("gelu", 1, 1), ("swish", 2, 2)]
)
def test_swish_needs_its_input_beside_the_gate(act: str, maps: int, operators: int) -> None:
    """Maps of 64 x 8 x 8 beside the image of 3 x 8 x 8, which is gone when the gate is made."""
    net = Supernet(nn.Sequential(conv_norm(3, Choice("width", (32, 64)), act=act)))
    image, size = 3 * 64, 64 * 64
    notes = 512 + 272 + 8 * 64 + 128 * operators
    assert Ram(net, (3, 8, 8)).of({"width": 64}) == max(image + size, maps * size) + notes


def test_a_strided_convolution_may_need_its_pads() -> None:
    """Of 8 x 8 positions "SAME" pads one side, so both are an operator's, 10 x 10; of 9 x 9 it pads both."""
    kernel = Choice("kernel", (3, 5))
    net = Supernet(nn.Sequential(DepthwiseConv2d(16, kernel, 2, bias=False)))
    notes = 512 + 272 + 8 * 16
    padded = [Ram(net, (16, 8, 8)).of({"kernel": k}) for k in (3, 5)]
    assert padded == [16 * (100 + 16) + notes + 128, 16 * (144 + 16) + notes + 128]
    assert [Ram(net, (16, 9, 9)).of({"kernel": k}) for k in (3, 5)] == [16 * (81 + 25) + notes] * 2


class Plain(nn.Module):
    """Residual blocks as ResNets have them, whose activation comes after the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(*(Residual() for _ in range(2)))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.two = nn.Sequential(nn.Conv2d(32, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.two(self.one(x)))


def test_a_network_of_ones_own_made_elastic() -> None:
    net = make_elastic(Plain(), skips=True, divisor=4, input_shape=(3, 16, 16))
    ram, flash = Ram(net, (3, 16, 16)), Flash(net, (3, 16, 16))
    for arch in every_arch(net):
        network = net.extract(arch)
        assert ram.of(arch) == peak_bytes(network, (3, 16, 16))[0]
        assert flash.of(arch) == weight_bytes(network, 1)


def test_what_cannot_be_tabled_is_refused() -> None:
    """The greater is that of two tensors, or of the same one twice, as a choice elsewhere has it."""
    kind = Choice("kind", ("same", "conv"))

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.switch = Switch(kind, {"same": nn.Identity(), "conv": Conv2d(3, 3, 3)})

        def forward(self, x: Tensor) -> Tensor:
            return torch.maximum(x, self.switch(x)).mean((2, 3))

    with pytest.raises(SupernetError, match="operations whose memory hangs on the choices around them") as caught:
        Ram(Supernet(Net()), (3, 8, 8))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [Ram, Flash])
def test_an_unknown_precision_is_refused(kind: type[Ram | Flash]) -> None:
    with pytest.raises(InputError, match="int16"):
        kind(small_supernet(), SHAPE, "int16")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [Ram, Flash])
def test_weights_are_not_needed(kind: type[Ram | Flash]) -> None:
    """On the meta device the tables are the same, and one architecture's figures are those of the tables."""
    net = spaces.tiny(in_channels=1)
    with torch.device("meta"):
        bare = spaces.tiny(in_channels=1)
    cost, again = kind(net, (1, 16, 16)), kind(bare, (1, 16, 16))
    codes = random_codes(cost, 200)
    assert cost(codes).tolist() == again(codes).tolist()
    for row in codes[:4].tolist():
        arch = net.space.decode(row)
        for supernet in (net, bare):
            used = used_memory(supernet, arch, (1, 16, 16))["int8"]
            assert used["ram" if kind is Ram else "flash"] == cost.of(arch)


def test_ram_is_no_sum_of_tables() -> None:
    assert isinstance(Ram(small_supernet(), SHAPE).table, MaxCost)

"""FLOPs and parameters from tables equal counting the extracted network, exactly; bounds equal trying everything.

The counter is torch's own (`torch.utils.flop_counter`), which knows nothing of elastic layers.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from counting import (
    SHAPE,
    assert_quick,
    counted,
    counted_by_layer,
    every_arch,
    random_codes,
    small_supernet,
    some_archs,
    some_weights,
    weighted,
)
from torch import Tensor, nn

from fpnas import Arch, Choice, Flops, InputError, Params, Supernet, layer_costs
from fpnas.elastic import Conv2d, Derived, Linear, Switch
from fpnas.errors import SupernetError
from fpnas.spaces import SPACES
from fpnas.spaces.fbnetv2 import TABLE_1
from fpnas.spaces.macro import FP_NAS, Micro, macro_supernet
from fpnas.spaces.published import IMAGE_SIZES

quick = pytest.mark.parametrize("name", ["tiny", "fbnetv2-f"])


def assert_counts(net: Supernet, archs: list[Arch], shape: tuple[int, ...]) -> tuple[Flops, Params]:
    flops, params = Flops(net, shape), Params(net, shape)
    codes = torch.tensor([net.space.encode(arch) for arch in archs])
    tables = torch.stack([flops(codes), params(codes)], dim=1).tolist()
    for arch, row in zip(archs, tables, strict=True):
        expected = counted(net, arch, shape)
        assert tuple(row) == expected, arch
        assert (flops.of(arch), params.of(arch)) == expected
    return flops, params


# -------------------------------------------------------------------------------------------------------- the spaces


@pytest.mark.parametrize(
    ("name", "channels", "size", "count"),
    [("tiny", 3, 32, 8), ("tiny", 3, 45, 3), ("tiny", 1, 28, 3), ("fbnetv2-f", 3, 32, 8), ("fbnetv2-f", 3, 45, 3)],
)
def test_tables_equal_counting(name: str, channels: int, size: int, count: int) -> None:
    net = SPACES[name](num_classes=7, in_channels=channels)
    assert_counts(net, some_archs(net, count, seed=size), (channels, size, size))


def assert_counts_without_memory(name: str, count: int) -> tuple[Flops, Params]:
    """At the space's own input size, on the meta device: shapes alone, so that counting large networks is quick."""
    with torch.device("meta"):
        net = SPACES[name](num_classes=7)
    return assert_counts(net, some_archs(net, count, seed=0), (3, IMAGE_SIZES[name], IMAGE_SIZES[name]))


LONG = ("fpnas-l1", "fpnas-l2")
QUICK = [pytest.param(name, marks=pytest.mark.soak if name in LONG else ()) for name in SPACES]
"""The largest two spaces take long, and are made of what the third has: they are for `make soak`."""


@pytest.mark.parametrize("name", QUICK)
def test_tables_equal_counting_in_every_space_and_are_quick(name: str) -> None:
    for model in assert_counts_without_memory(name, 4):
        assert_quick(model)


@pytest.mark.soak
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", SPACES)
def test_tables_equal_counting_on_300_networks(name: str) -> None:
    assert_counts_without_memory(name, 302)


@quick
def test_layer_by_layer(name: str) -> None:
    net = SPACES[name](num_classes=7)
    shape = (3, 32, 32)
    for arch in some_archs(net, 3, seed=2)[2:]:
        layers = layer_costs(net, arch, shape)
        expected = counted_by_layer(net, arch, shape)
        assert {layer.name: layer.flops for layer in layers if layer.flops} == expected
        assert sum(layer.flops for layer in layers) == Flops(net, shape).of(arch)
        assert sum(layer.params for layer in layers) == Params(net, shape).of(arch)
        network = net.extract(arch)
        for layer in layers:
            assert layer.params == sum(p.numel() for p in network.get_submodule(layer.name).parameters())
            assert layer.kind == type(net.module.get_submodule(layer.name)).__name__
        assert layers[0].output_shape == (16, 16, 16)
        assert layers[-1].output_shape == (7,)


def test_the_papers_largest_f_plus_plus_model_at_128_pixels() -> None:
    """The paper prints 122 MFLOPs; 2 splits everywhere, 100 classes and c = mid / 4 give 121,999,100."""
    net = macro_supernet("fbnetv2-fpp", TABLE_1, FP_NAS, 100, 3, 0)
    largest = dict(net.space.decode([n - 1 for n in net.space.cardinalities]))
    flops = Flops(net, (3, 128, 128))
    two = {name: 2 for name in largest if name.endswith(".splits")}
    assert flops.of({**largest, **two}) == 121_999_100
    assert round(flops.of(largest) / 1e6) == 157, "4 splits, which the paper's figure can't be"


def test_flops_of_split_attention_grow_linearly_in_the_splits() -> None:
    micro = Micro(kernel=(3,), act=("swish",), splits=(0, 1, 2, 3, 4, 5, 8))
    net = macro_supernet("splits", TABLE_1[:4], micro, 5, 3, 0)
    flops = Flops(net, (3, 32, 32))
    base = some_archs(net, 3, seed=4)[2]
    names = [name for name in base if name.endswith(".splits")]
    of = {r: flops.of({**base, **dict.fromkeys(names, r)}) for r in micro.splits}
    slope = of[2] - of[1]
    assert slope > 0
    assert {r: of[r] - of[1] for r in (1, 2, 3, 4, 5, 8)} == {r: slope * (r - 1) for r in (1, 2, 3, 4, 5, 8)}
    assert of[0] < of[1]


# ------------------------------------------------------------------------------------------------- a small space, whole


def test_every_architecture_of_a_small_space_and_its_bounds() -> None:
    net = small_supernet()
    assert net.space.size == 96
    archs = list(every_arch(net))
    assert_counts(net, archs, SHAPE)
    for model in (Flops(net, SHAPE), Params(net, SHAPE)):
        costs = {arch: model.of(arch) for arch in archs}
        assert model.bounds() == (min(costs.values()), max(costs.values()))
        for sign, extreme in ((1, min), (-1, max)):
            cost, codes = model.table.extreme(sign)
            assert cost == extreme(costs.values()) == costs[net.space.decode(codes)]
        weights, every = some_weights(net.space, 5), torch.tensor([net.space.encode(arch) for arch in archs])
        assert model.table.expected(weights).item() == pytest.approx(weighted(model, every, weights).item(), rel=1e-12)


@quick
def test_bounds_of_a_space_are_attained_and_not_passed(name: str) -> None:
    net = SPACES[name](num_classes=7)
    for model in (Flops(net, (3, 32, 32)), Params(net, (3, 32, 32))):
        least, greatest = model.bounds()
        costs = model(random_codes(model, 20_000))
        assert least <= float(costs.min()) < float(costs.max()) <= greatest
        for sign, bound in ((1, least), (-1, greatest)):
            cost, extreme = model.table.extreme(sign)
            assert cost == bound
            assert counted(net, net.space.decode(extreme), (3, 32, 32))[0 if model.name == "FLOPs" else 1] == bound
            # No change of any two choices of a group or of neighbouring ones does better.
            sizes = net.space.cardinalities
            neighbours = [
                [*extreme[:a], one, *extreme[a + 1 : b], other, *extreme[b + 1 :]]
                for a, b in itertools.combinations(range(len(sizes)), 2)
                if b - a <= 9
                for one, other in itertools.product(range(sizes[a]), range(sizes[b]))
            ]
            assert float((sign * model(torch.tensor(neighbours))).min()) == sign * bound


# ------------------------------------------------------------------------------------------------------------- tracing


def test_tracing_leaves_the_supernet_as_it_was() -> None:
    net = small_supernet().train()
    arch = net.space.decode([0] * len(net.space))
    net.select(arch)
    state, rng = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    Flops(net, SHAPE), Params(net, SHAPE), layer_costs(net, net.space.decode([1] * len(net.space)), SHAPE)
    assert net.arch == arch
    assert net.training
    assert all(module.training for module in net.modules())
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), rng)
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("change", [Supernet.double, Supernet.eval, lambda net: net.to("meta")])
def test_a_supernet_in_double_precision_in_eval_mode_or_without_memory_costs_the_same(
    change: Callable[[Supernet], Supernet],
) -> None:
    assert Flops(change(small_supernet()), SHAPE).bounds() == Flops(small_supernet(), SHAPE).bounds()


@pytest.mark.parametrize("shape", [(3, 9, 7), (2, 9), (0, 9, 7)])
def test_an_input_that_the_network_cannot_take(shape: tuple[int, ...]) -> None:
    net = small_supernet()
    before = net.arch
    with pytest.raises(InputError, match="an input shape that the network takes"):
        Flops(net, shape)
    assert net.arch == before
    assert net.training


def test_an_output_size_that_depends_on_choices_elsewhere_is_refused() -> None:
    switch = Switch(Choice("pool", ("yes", "no")), {"yes": nn.AvgPool2d(2), "no": nn.Identity()})
    with pytest.raises(SupernetError, match="output size doesn't depend on choices elsewhere"):
        Flops(Supernet(nn.Sequential(switch, Conv2d(2, 3, bias=False))), (2, 8, 8))


# --------------------------------------------------------------------------------- whatever else a module may hold


class Custom(nn.Module):
    """A stem that chooses its width, and something of a user's own on its pooled (N, 4) features or on the images."""

    def __init__(self, extra: nn.Module) -> None:
        super().__init__()
        width = Choice("width", (3, 4))
        self.stem = Conv2d(2, width, bias=False)
        self.head = Linear(width, 4)
        self.extra = extra

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stem(x).mean((2, 3))).sum() + self.extra(x).sum()


class Calling(nn.Module):
    """A layer of torch's, called as `call` says, beside whatever else the module holds."""

    def __init__(self, inner: nn.Module, call: Callable[[Any, Tensor], Tensor], **held: Any) -> None:
        super().__init__()
        self.inner, self.call = inner, call
        for name, value in held.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self, x)


def sharing_a_choice() -> nn.Module:
    """An inner switch that reads a choice of the outer one: its second branch runs under a == b == 2 alone."""
    a, b = Choice("a", (1, 2)), Choice("b", (1, 2))
    inner = Switch(a, {"1": Conv2d(2, 2, bias=False), "2": Conv2d(2, 2, 3, bias=False)})
    same = Derived(lambda a, b: "same" if a == b else "other", (a, b))
    return Switch(same, {"same": inner, "other": nn.Identity()})


EXTRAS = {
    "groups": lambda: nn.Conv2d(2, 4, 3, groups=2, bias=True),
    "plain": lambda: nn.Sequential(nn.Conv2d(2, 3, 3, dilation=2), nn.GroupNorm(1, 3), nn.GELU(), nn.Dropout()),
    "transposed": lambda: nn.ConvTranspose2d(2, 6, 3, stride=2, padding=1),
    "transposed in groups": lambda: nn.ConvTranspose2d(2, 4, 2, stride=2, groups=2),
    "transposed, dilated": lambda: nn.Sequential(nn.Conv2d(2, 3, 3, stride=2), nn.ConvTranspose2d(3, 1, 2, dilation=2)),
    "twice": lambda: Calling(nn.Conv2d(2, 2, 3, padding=1), lambda m, x: m.inner(m.inner(x))),
    "tokens": lambda: Calling(nn.Linear(2, 5), lambda m, x: m.inner(x.permute(0, 2, 3, 1).flatten(1, 2))),
    "tokens in a map": lambda: Calling(nn.Linear(2, 5), lambda m, x: m.inner(x.permute(0, 2, 3, 1))),
    "sequence": lambda: Calling(nn.Conv1d(2, 5, 3), lambda m, x: m.inner(x.flatten(2))),
    "own parameter": lambda: Calling(
        nn.Conv2d(2, 2, 1), lambda m, x: m.inner(x) * m.scale, scale=nn.Parameter(torch.ones(2, 1, 1))
    ),
    "idle layer": lambda: Calling(nn.Conv2d(2, 2, 1), lambda m, x: m.inner(x), idle=nn.Conv2d(2, 2, 1)),
    "switches that share a choice": sharing_a_choice,
    "mixed options": lambda: Switch(
        Choice("mixed", (3, "none")), {"3": Conv2d(2, 2, 3, bias=False), "none": nn.Identity()}
    ),
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("extra", EXTRAS.values(), ids=EXTRAS)
def test_modules_of_a_users_own(extra: Callable[[], nn.Module]) -> None:
    net = Supernet(Custom(extra()))
    assert_counts(net, list(every_arch(net)), (2, 8, 8))


def test_the_small_network_and_its_micro_architecture_are_what_they_seem() -> None:
    """The reference itself: by hand, the smallest of the 96 has these layers."""
    net = small_supernet()
    smallest = net.space.decode([0] * len(net.space))
    widths = {"width": 3, "out": 4, "block.expansion": 0.75}
    assert smallest == {**widths, "block.kernel": 0, "block.splits": 0, "depth": 0}
    # stem 3x3 at 5 x 4 and its norm; bypass 3 -> 4 and its norm; the plain 3x3 at 9 x 7; head; classifier.
    flops = 2 * 3 * 9 * 20 + 3 * 4 * 20 + 2 * 3 * 9 * 63 + 4 * 5 + 8 * 2
    params = (2 * 3 * 9 + 6) + (3 * 4 + 8) + (2 * 3 * 9 + 3) + (4 * 5 + 5) + (8 * 2 + 2)
    assert counted(net, smallest, SHAPE) == (flops, params)
    assert Flops(net, SHAPE).of(smallest) == flops
    assert Params(net, SHAPE).of(smallest) == params

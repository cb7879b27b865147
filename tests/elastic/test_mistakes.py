"""Mistakes in a module are refused when its supernet is built or its costs are counted, with the layer's name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fpnas import Choice, Flops, InputError, Params, Supernet
from fpnas.elastic import Conv2d, Derived, Embedding, Linear, Repeat, Switch, scaled
from fpnas.errors import SupernetError

W = Choice("w", (2, 4))


class Chain(nn.Module):
    """`body` on x; a place for what is wrong."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def test_a_choice_used_at_a_width_that_cannot_match() -> None:
    module = Chain(nn.Sequential(Linear(3, W), nn.ReLU(), Linear(scaled(W, 2), 5)))
    with pytest.raises(InputError, match=r"'body\.2' \(Linear\) fails under \{'w': 2\}"):
        Supernet(module, input_shape=(3,))
    with pytest.raises(InputError, match=r"'body\.2' \(Linear\) fails under \{'w': 4\}"):
        Flops(Supernet(module), (3,))


@pytest.mark.parametrize("options", [(2, 4), (2, 3, 4)])
def test_two_choices_that_meet_and_differ(options: tuple[int, ...]) -> None:
    """Both at their ends they agree; the mixed architectures find them."""
    module = Chain(nn.Sequential(Conv2d(3, W, bias=False), Conv2d(Choice("other", options), 5, bias=False)))
    message = r"all run on an input of \(3, 8, 8\), got 'body\.1' \(Conv2d\) fails under \{'other': \d\}"
    with pytest.raises(SupernetError, match=message):
        Supernet(module, input_shape=(3, 8, 8))
    with pytest.raises(SupernetError, match=message):
        Flops(Supernet(module), (3, 8, 8))


def test_many_choices_any_two_of_which_meet() -> None:
    """Each pair of nine choices is set apart by some probe, wherever the two stand."""
    choices = [Choice(f"c{number}", (2, 4)) for number in range(9)]
    for a in range(9):
        for b in range(a + 1, 9):
            lone = [Linear(3, choice) for choice in choices]
            module = Chain(nn.Sequential(Linear(3, choices[a]), Linear(choices[b], 3)))
            module.register_module("others", nn.ModuleList(lone))
            with pytest.raises(SupernetError, match=r"'body\.1'"):
                Supernet(module, choices, input_shape=(3,))


def test_a_network_that_fits_is_not_refused() -> None:
    net = Supernet(Chain(nn.Sequential(Linear(3, W), Linear(W, 5))), input_shape=(3,))
    assert net.arch == {"w": 4}
    assert net.training


def test_tokens_are_integers() -> None:
    module = Chain(nn.Sequential(Embedding(5, W), Linear(W, 2)))
    Supernet(module, input_shape=(3,), input_dtype=torch.int64)
    with pytest.raises(InputError, match=r"'body\.0' \(Embedding\)"):
        Supernet(module, input_shape=(3,))


def test_a_name_of_two_meanings_names_both_layers() -> None:
    module = Chain(nn.Sequential(Linear(2, Choice("a", (2, 3))), Linear(Choice("a", (2, 4)), 1)))
    message = "two of 'a': (2, 3) in 'body.0' and (2, 4) in 'body.1'"
    with pytest.raises(SupernetError, match=re.escape(message)):
        Supernet(module)


def test_options_that_no_layer_tells_apart_are_warned_of() -> None:
    part = Choice("part", (0.5, 0.55, 1.0))  # of 4: 2, 2 and 4
    with pytest.warns(UserWarning, match=r"no layer tells the options 0\.5 and 0\.55 of 'part' apart"):
        Supernet(Chain(nn.Sequential(Linear(3, scaled(4, part)), Linear(scaled(4, part), 3))))


def test_options_that_one_layer_of_several_tells_apart_are_fine(recwarn: pytest.WarningsRecorder) -> None:
    part, act = Choice("part", (0.5, 0.55, 1.0)), Choice("n", (4, 40))
    Supernet(Chain(nn.Sequential(Linear(3, scaled(act, part)), Linear(scaled(act, part), 3))))
    assert not recwarn.list


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = Linear(3, W)

    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:  # here
            x = -x
        return self.layer(x)


def test_control_flow_on_values_names_module_and_line() -> None:
    with pytest.raises(
        SupernetError, match=r"TraceError in 'body\.1' \(Branching, test_mistakes\.py:\d+: if x\.sum\(\)"
    ):
        Supernet(Chain(nn.Sequential(nn.ReLU(), Branching())))
    with pytest.raises(SupernetError, match=r"TraceError in 'the module itself' \(Branching"):
        Supernet(Branching())


class OverTime(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = Linear(3, W)

    def forward(self, x: Tensor) -> Tensor:
        return sum(self.layer(x[:, t]) for t in range(x.shape[1]))


def test_a_loop_over_the_inputs_length_is_refused() -> None:
    with pytest.raises(SupernetError, match=r"in 'body' \(OverTime, test_mistakes\.py:\d+: .*range\(x\.shape"):
        Supernet(Chain(OverTime()))


def test_a_parameter_of_two_layers_is_refused() -> None:
    one, other = Linear(3, W), Linear(3, W)
    other.weight = one.weight
    with pytest.raises(SupernetError, match=r"'body\.0\.weight' and 'body\.1\.weight', which are one"):
        Supernet(Chain(nn.ModuleList([one, other])))


class Own(nn.Module):
    """Layers, and a forward that is given as a function of these and x."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def test_a_choice_that_only_an_idle_layer_reads() -> None:
    idle = Linear(3, Choice("idle", (1, 2)))
    net = Supernet(Chain(Own(lambda net, x: net.used(x), used=Linear(3, W), idle=idle)))
    for kind in (Flops, Params):
        with pytest.raises(SupernetError, match=r"'idle'.* of which body\.idle alone know"):
            kind(net, (3,))


@pytest.mark.parametrize("runs_at", [2, 4])
def test_a_layer_that_a_forward_leaves_out_by_itself(runs_at: int) -> None:
    """The tables couldn't know."""

    def run(net: Any, x: Tensor) -> Tensor:
        return net.by(net.inner(x) if net.by.values["out_features"] == runs_at else x)

    with pytest.raises(SupernetError, match=r"'body\.inner' \(Linear\), left out under"):
        Flops(Supernet(Chain(Own(run, inner=Linear(3, 3), by=Linear(3, W)))), (3,))


def test_a_number_of_calls_that_hangs_on_a_choice() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        for _ in range(net.by.values["out_features"]):
            x = net.layer(x)
        return net.by(x)

    with pytest.raises(SupernetError, match=r"'body\.layer' \(Linear\) with 4 and 2 positions; .* Repeat"):
        Flops(Supernet(Chain(Own(run, layer=Linear(3, 3), by=Linear(3, W)))), (3,))


def test_products_of_a_users_own_that_hang_on_choices_are_warned_of() -> None:
    def run(net: Any, x: Tensor) -> Tensor:
        y = net.layer(x)
        return y @ y.transpose(-1, -2)

    with pytest.warns(UserWarning, match="that body does itself hang on choices and are not counted"):
        Flops(Supernet(Chain(Own(run, layer=Linear(3, W)))), (5, 3))


def test_a_switch_that_only_a_derived_value_moves_is_no_mistake() -> None:
    on = Derived(lambda w: "wide" if w == 4 else "narrow", (W,))
    net = Supernet(Chain(Switch(on, {"wide": Linear(3, 3), "narrow": Repeat(1, [Linear(3, 3)])})), input_shape=(3,))
    assert Flops(net, (3,)).bounds() == (9, 9)


def test_checking_and_counting_leave_each_member_in_its_mode() -> None:
    module = Chain(nn.Sequential(Linear(3, W), nn.Dropout(), Linear(W, 5)))
    net = Supernet(module)
    module.body[1].eval()  # type: ignore[index]
    net.check((3,))
    Flops(net, (3,))
    assert [name for name, member in net.named_modules() if not member.training] == ["module.body.1"]

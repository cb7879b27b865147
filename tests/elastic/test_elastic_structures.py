"""`Switch`, `Repeat`, `MBConv` and the searchable block at every pick against the same written out in plain torch.

Outputs and gradients to 1e-12 in float64; what doesn't run gets no gradient at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from slices import assert_as_plain, every_arch, lone, random
from torch import Tensor, nn

from fpnas import Arch, Choice
from fpnas.elastic import Derived, Linear, MBConv, Repeat, Switch, conv_norm, searchable_mbconv
from fpnas.errors import SupernetError

Parameters = dict[str, Tensor]


def assert_as_written_out(
    layer: nn.Module, plain: Callable[[Arch, Parameters, Tensor], Tensor], shape: Callable[[Arch], Sequence[int]]
) -> None:
    """At every pick, in train mode; `plain` gets the whole parameters."""
    net = lone(layer).train()
    for arch in every_arch(net):
        net.select(arch)
        assert_as_plain(layer, partial(plain, arch), None, [random(*shape(arch))])


# ------------------------------------------------------------------------------------------------ Switch and Repeat


def linear(p: Parameters, name: str, x: Tensor) -> Tensor:
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def row(_: Arch) -> tuple[int, int]:
    return 2, 4


def test_switch_runs_the_branch_that_is_named() -> None:
    """By a number or a text; branches may be elastic or torch's own, and one that no option names never runs."""
    branches = {"3": Linear(4, 4), "wide": nn.Linear(4, 4), "never": Linear(4, 4)}
    switch = Switch(Choice("on", (3, "wide")), branches)
    assert_as_written_out(switch, lambda arch, p, x: linear(p, f"branches.{arch['on']}", x), row)


def test_switch_on_a_derived_value() -> None:
    a, b = Choice("a", (1, 2)), Choice("b", (1, 2))
    on = Derived(lambda a, b: "equal" if a == b else "unequal", (a, b))

    def plain(arch: Arch, p: Parameters, x: Tensor) -> Tensor:
        return linear(p, "branches.equal", x) if arch["a"] == arch["b"] else x * 1

    assert_as_written_out(Switch(on, {"equal": Linear(4, 4), "unequal": nn.Identity()}), plain, row)


def test_switch_refuses_a_value_without_a_branch() -> None:
    with pytest.raises(SupernetError, match=r"a branch for each of \[1, 2\], got none for 2"):
        Switch(Choice("on", (1, 2)), {"1": nn.Identity()})


def test_repeat_runs_the_first_blocks_and_structures_nest() -> None:
    inner = Choice("inner", ("a", "b"))
    blocks = [Switch(inner, {"a": Linear(4, 4), "b": Linear(4, 4)}) for _ in range(3)]

    def plain(arch: Arch, p: Parameters, x: Tensor) -> Tensor:
        for index in range(int(arch["times"])):
            x = linear(p, f"blocks.{index}.branches.{arch['inner']}", x)
        return x * 1

    assert_as_written_out(Repeat(Choice("times", (0, 1, 3)), blocks), plain, row)


@pytest.mark.parametrize("options", [(1, 3), (-1, 1)])
def test_repeat_refuses_more_or_fewer_than_it_has(options: tuple[int, ...]) -> None:
    with pytest.raises(SupernetError, match="0 to 2 repeats"):
        Repeat(Choice("times", options), [nn.Identity(), nn.Identity()])


# ------------------------------------------------------------------------------------------------------------ MBConv

INS, OUTS = Choice("ins", (3, 4)), Choice("outs", (3, 4))
EXPANSION, ACT = Choice("expansion", (0.75, 2.0)), Choice("act", ("relu", "swish"))
HIDDEN = {(3, 0.75): 2, (4, 0.75): 3, (3, 2.0): 6, (4, 2.0): 8}
INNER = {2: 1, 3: 1, 4: 1, 6: 2, 8: 2}
"""A quarter of the hidden width, rounded half up: 2 / 4 is 1 as well."""


def norm(p: Parameters, name: str, x: Tensor) -> Tensor:
    """Batch norm in train mode."""
    width = x.shape[1]
    x = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    return x * p[f"{name}.weight"][:width, None, None] + p[f"{name}.bias"][:width, None, None]


def conv1x1(p: Parameters, name: str, x: Tensor, outs: int, stride: int = 1) -> Tensor:
    weight = p[f"{name}.conv.weights.1"][:outs, : x.shape[1], 0, 0]
    return norm(p, f"{name}.norm", torch.einsum("nihw,oi->nohw", x[:, :, ::stride, ::stride], weight))


def act(kind: object, x: Tensor) -> Tensor:
    return x.clamp(min=0) if kind == "relu" else x * x.sigmoid()


def gate_linear(p: Parameters, name: str, x: Tensor, outs: int) -> Tensor:
    return x @ p[f"{name}.weight"][:outs, : x.shape[1]].T + p[f"{name}.bias"][:outs]


def mbconv(
    p: Parameters, prefix: str, x: Tensor, arch: Arch, stride: int, splits: int, hidden: int, expand: bool = True
) -> Tensor:
    """Figure 2 of the paper: expansion, r depthwise convolutions, attention, projection, residual."""
    outs, k = int(arch["outs"]), int(arch["kernel"])
    h = act(arch["act"], conv1x1(p, f"{prefix}expand", x, hidden)) if expand else x
    parts = []
    for r in range(max(1, splits)):
        name = f"{prefix}depthwise.{r}"
        y = F.conv2d(h, p[f"{name}.0.weights.{k}"][:hidden], None, stride, k // 2, 1, hidden)
        parts.append(act(arch["act"], norm(p, f"{name}.1", y)))
    y, inner = parts[0], INNER[hidden]
    if splits == 1:
        z = gate_linear(p, f"{prefix}attention.reduce", y.mean((2, 3)), inner).clamp(min=0)
        y = y * gate_linear(p, f"{prefix}attention.head", z, hidden).sigmoid()[:, :, None, None]
    elif splits > 1:
        pooled = torch.stack([part.mean((2, 3)) for part in parts]).sum(0)
        z = gate_linear(p, f"{prefix}attention.reduce", pooled, inner).clamp(min=0)
        heads = torch.stack([gate_linear(p, f"{prefix}attention.heads.{r}", z, hidden) for r in range(splits)])
        y = (torch.stack(parts) * heads.softmax(0)[..., None, None]).sum(0)
    y = conv1x1(p, f"{prefix}project", y, outs)
    return x + y if stride == 1 and x.shape[1] == outs else y


def maps(arch: Arch) -> tuple[int, ...]:
    return 3, int(arch["ins"]), 5, 4


def hidden_of(arch: Arch) -> int:
    return HIDDEN[arch["ins"], arch["expansion"]]  # type: ignore[index]


@pytest.mark.parametrize("splits", [0, 1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_mbconv(stride: int, splits: int) -> None:
    def plain(arch: Arch, p: Parameters, x: Tensor) -> Tensor:
        return mbconv(p, "", x, arch, stride, splits, hidden_of(arch))

    assert_as_written_out(MBConv(INS, OUTS, Choice("kernel", (3, 5)), stride, EXPANSION, ACT, splits), plain, maps)


def test_mbconv_without_expansion() -> None:
    block = MBConv(INS, OUTS, Choice("kernel", (3, 5)), 1, 1, ACT, 1, expand=False)
    assert not any("expand" in name for name, _ in block.named_parameters())
    assert_as_written_out(block, lambda a, p, x: mbconv(p, "", x, a, 1, 1, int(a["ins"]), expand=False), maps)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_searchable_block(stride: int) -> None:
    """Kernel 0 is the identity where shapes are equal, else a 1x1 convolution with the stride, batch norm and ReLU; a
    split count has weights of its own."""
    kernel, splits = Choice("kernel", (0, 3)), Choice("splits", (0, 1, 2))
    kinds = set()

    def plain(arch: Arch, p: Parameters, x: Tensor) -> Tensor:
        if arch["kernel"]:
            kinds.add("block")
            split = int(arch["splits"])
            return mbconv(p, f"branches.split{split}.", x, arch, stride, split, hidden_of(arch))
        if stride == 1 and arch["ins"] == arch["outs"]:
            kinds.add("identity")
            return x * 1
        kinds.add("bypass")
        (weight,) = [name for name in p if "bypass" in name and "conv.weights" in name]
        return conv1x1(p, weight.removesuffix(".conv.weights.1"), x, int(arch["outs"]), stride).clamp(min=0)

    assert_as_written_out(searchable_mbconv(INS, OUTS, kernel, stride, EXPANSION, ACT, splits), plain, maps)
    assert kinds == ({"block", "identity", "bypass"} if stride == 1 else {"block", "bypass"})


@pytest.mark.parametrize(
    ("outs", "kernel", "stride", "wanted"),
    [
        (4, (0, 3), 1, False),  # an identity will do
        (4, (0, 3), 2, True),
        (6, (0, 3), 1, True),
        (6, (3, 5), 2, False),  # never bypassed
    ],
)
def test_a_bypass_has_weights_where_needed(outs: int, kernel: tuple[int, ...], stride: int, wanted: bool) -> None:
    block = searchable_mbconv(4, outs, Choice("kernel", kernel), stride, 2, "relu")
    assert any("split0" not in name for name, _ in block.named_parameters()) is wanted


def test_with_expansion_1_alone_there_is_no_expansion_convolution() -> None:
    for expansion, expected in ((1, False), (Choice("e", (1,)), False), (2, True), (Choice("e", (1, 2)), True)):
        block = searchable_mbconv(4, 4, 3, 1, expansion, "relu")
        assert any("expand" in name for name, _ in block.named_parameters()) is expected


def test_conv_norm() -> None:
    def plain(arch: Arch, p: Parameters, x: Tensor) -> Tensor:
        renamed = {f"own.{name}": value for name, value in p.items()}
        return act(arch["act"], conv1x1(renamed, "own", x, int(arch["outs"]), stride=2))

    assert_as_written_out(conv_norm(INS, OUTS, stride=2, act=ACT), plain, maps)

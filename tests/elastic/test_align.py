"""Branches and kernels of a fresh supernet begin as one function."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import fpnas
from fpnas.elastic import Conv2d, MBConv, Supernet, Switch, conv_norm
from fpnas.elastic.norm import batch_statistics
from fpnas.space import Choice

KERNEL = Choice("kernel", (1, 3, 5))
PATH = Choice("path", ("narrow", "wide", "skip"))


def outputs(net: Supernet, x: Tensor, name: str, options: tuple[object, ...]) -> list[Tensor]:
    """Under each of the options, the rest of the architecture in force as it is."""
    with torch.no_grad(), batch_statistics(net):
        return [net.select({**net.arch, name: option})(x) for option in options]  # pyright: ignore[reportArgumentType]


def test_kernels_begin_as_the_smallest() -> None:
    net = Supernet(Conv2d(3, 4, KERNEL, bias=False), seed=1)
    first, *others = outputs(net, torch.randn(2, 3, 8, 8), "kernel", (1, 3, 5))
    for other in others:
        torch.testing.assert_close(other, first)


def test_splits_without_attention_and_blocks_of_equal_width_begin_as_one_function() -> None:
    blocks = {"narrow": MBConv(8, 8, 3, 1, 2, "relu"), "wide": MBConv(8, 8, 5, 1, 2, "relu"), "skip": nn.Identity()}
    net = Supernet(Switch(PATH, blocks), seed=1)
    narrow, wide, skip = outputs(net, torch.randn(4, 8, 6, 6), "path", ("narrow", "wide", "skip"))
    torch.testing.assert_close(narrow, wide)
    assert not torch.allclose(narrow, skip)


def test_what_a_wider_branch_has_beyond_the_first_stays_as_drawn() -> None:
    def net(aligned: bool) -> Supernet:
        branches = {
            "narrow": MBConv(8, 8, 3, 1, 2, "relu"),
            "wide": MBConv(8, 8, 5, 1, 4, "relu"),
            "skip": nn.Identity(),
        }
        return Supernet(Switch(PATH, branches), seed=3, aligned=aligned)

    aligned, drawn = dict(net(True).named_parameters()), dict(net(False).named_parameters())
    narrow, wide = (f"module.branches.{name}.expand.conv.weights.1" for name in ("narrow", "wide"))
    assert torch.equal(aligned[narrow], drawn[narrow])
    assert torch.equal(aligned[wide][:16], drawn[narrow])
    assert torch.equal(aligned[wide][16:], drawn[wide][16:])
    assert not torch.equal(drawn[wide][:16], drawn[narrow])


def test_branches_of_tiny_begin_nearly_alike() -> None:
    """Attention scales its input at first, nearly evenly, and the norm behind the block takes that out again."""
    net = fpnas.spaces.tiny(in_channels=1)
    x = torch.randn(16, 1, 16, 16)
    base = {**net.arch, **{choice.name: choice.options[-1] for choice in net.space.choices}, "group1.splits": 0}
    net.select(base)
    first, *others = outputs(net, x, "group1.splits", (0, 1, 2, 4))
    for other in others:
        assert float((other - first).norm() / first.norm()) < 0.05


def test_a_bypass_begins_near_the_block_that_it_bypasses() -> None:
    """In direction; drawn apart, the outputs of a batch are hardly correlated."""

    def likeness(aligned: bool) -> float:
        branches = {
            "narrow": MBConv(8, 32, 1, 2, 4, "relu"),
            "wide": MBConv(8, 32, 1, 2, 4, "relu"),
            "skip": conv_norm(8, 32, 2),
        }
        net = Supernet(Switch(PATH, branches), seed=2, aligned=aligned)
        block, bypass = outputs(net, torch.randn(16, 8, 8, 8), "path", ("narrow", "skip"))
        return float(torch.corrcoef(torch.stack([block.flatten(), bypass.flatten()]))[0, 1])

    assert likeness(aligned=True) > 0.3
    assert abs(likeness(aligned=False)) < 0.2


def test_nothing_else_is_drawn() -> None:
    """The weights that nothing exchanges are the same with and without."""
    torch.manual_seed(0)
    before = torch.get_rng_state()
    with_, without = (
        Supernet(nn.Sequential(Conv2d(3, 4, 3, bias=False), Conv2d(4, 4, KERNEL, bias=False)), seed=5, aligned=a)
        for a in (True, False)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(with_.module[0].weights["3"], without.module[0].weights["3"])  # pyright: ignore

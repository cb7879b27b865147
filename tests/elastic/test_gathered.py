"""Gathered gradients of slices are those of torch's own slicing, architecture after architecture, but for rounding: a
convolution takes another way where its weight is dense."""

from __future__ import annotations

import helpers_run as h
import pytest
import torch
from torch import Tensor, nn

import fpnas
from fpnas.elastic import BatchNorm2d, Conv1d, Conv2d, Embedding, GroupedConv2d, LayerNorm, Linear, joined, scaled


class Words(nn.Module):
    """The layers that the small supernet lacks."""

    def __init__(self) -> None:
        super().__init__()
        width, inner = fpnas.Choice("width", (4, 6, 8)), fpnas.Choice("inner", (3, 5))
        self.embedding = Embedding(11, width)
        self.norm = LayerNorm(width)
        self.conv = Conv1d(width, inner, 3)
        self.out = Linear(inner, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.conv(self.norm(self.embedding(tokens)).transpose(1, 2)).mean(2))


class Beside(nn.Module):
    """Layers that read two widths side by side."""

    def __init__(self) -> None:
        super().__init__()
        left, right, groups = fpnas.Choice("left", (4, 6, 8)), fpnas.Choice("right", (3, 5)), fpnas.Choice("g", (1, 2))
        self.left, self.right = Conv2d(1, left, 3), Conv2d(1, right, 3)
        self.norm, self.mix = BatchNorm2d(joined(left, right)), Conv2d(joined(left, right), scaled(groups, 3))
        self.groups, self.out = (
            GroupedConv2d(scaled(groups, 3), scaled(groups, 2), 3, 2, 3),
            Linear(scaled(groups, 2), 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(self.norm(torch.cat([self.left(x), self.right(x)], dim=1)))
        return self.out(self.groups(x).mean((2, 3)))


def case(name: str, double: bool) -> tuple[fpnas.Supernet, Tensor]:
    if name == "images":
        return h.small_supernet(double), torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    if name == "beside":
        supernet = fpnas.Supernet(Beside())
        images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        return (supernet.double(), images.double()) if double else (supernet, images)
    supernet = fpnas.Supernet(Words())
    return supernet.double() if double else supernet, torch.arange(30).reshape(5, 6) % 11


def close(found: Tensor | None, wanted: Tensor) -> bool:
    assert found is not None
    scale = 1e-12 if wanted.dtype == torch.float64 else 1e-5
    return float((found - wanted).abs().max()) <= scale * max(0.1, float(wanted.abs().max()))


def gradients(supernet: fpnas.Supernet, x: Tensor, gathering: bool) -> dict[str, Tensor | None]:
    supernet.zero_grad()
    with supernet.gathering() as gathered:
        if not gathering:
            supernet.pick.gathered = None
        for option in (0, 1, 2, 1):
            arch = {c.name: c.options[option % len(c.options)] for c in supernet.space.choices}
            supernet.select(arch)(x).square().mean().backward()
            gathered.add_up()
    return {name: p.grad for name, p in supernet.named_parameters()}


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("name", ["images", "words", "beside"])
def test_gathered_gradients_are_torchs_own(name: str, double: bool) -> None:
    supernet, x = case(name, double)
    wanted = {n: None if g is None else g.clone() for n, g in gradients(supernet, x, gathering=False).items()}
    found = gradients(supernet, x, gathering=True)
    assert sum(g is not None for g in wanted.values()) > len(wanted) // 2
    for key, gradient in wanted.items():
        assert (gradient is None) == (found[key] is None), key
        assert gradient is None or close(found[key], gradient), key


def test_without_a_backward_pass_there_is_nothing_to_add() -> None:
    supernet, x = case("images", False)
    supernet.zero_grad()
    with supernet.gathering() as gathered:
        supernet.select({c.name: c.options[0] for c in supernet.space.choices})(x)
        gathered.add_up()
        supernet(x).sum().backward()  # what was forgotten isn't added twice
        gathered.add_up()
    once = {n: None if p.grad is None else p.grad.clone() for n, p in supernet.named_parameters()}
    supernet.zero_grad()
    supernet(x).sum().backward()
    for name, p in supernet.named_parameters():
        assert (p.grad is None) == (once[name] is None)
        assert p.grad is None or close(once[name], p.grad), name


def test_frozen_weights_and_passes_without_a_graph_take_no_leaves() -> None:
    supernet, x = case("images", False)
    supernet.select({c.name: c.options[0] for c in supernet.space.choices})
    with supernet.gathering() as gathered:
        with torch.no_grad():
            supernet(x)
        assert not gathered._pieces
        supernet.requires_grad_(False)
        supernet(x)
        assert not gathered._pieces

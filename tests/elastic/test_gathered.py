"""Gathered gradients of slices are those of torch's own slicing, architecture after architecture, but for rounding: a
convolution takes another way where its weight is dense."""

from __future__ import annotations

import helpers_run as h
import pytest
import torch
from torch import Tensor, nn

import fpnas
from fpnas.elastic import Conv1d, Embedding, LayerNorm, Linear


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


def case(name: str, double: bool) -> tuple[fpnas.Supernet, Tensor]:
    if name == "images":
        return h.small_supernet(double), torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
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
@pytest.mark.parametrize("name", ["images", "words"])
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

"""Stochastic depth: which branches, how often, the right mean, and a network that knows nothing of it."""

from __future__ import annotations

import copy
import io

import helpers_run as h
import pytest
import torch
from torch import Tensor, fx, nn

import fpnas
from fpnas.errors import InputError
from fpnas.streams import as_global, generator
from fpnas.train.drop_path import DropPath, with_drop_path


class Residual(nn.Module):
    """x + f(x), written in the ways that people write it."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.f, self.way = nn.Conv2d(4, 4, 1), way

    def forward(self, x: Tensor) -> Tensor:
        if self.way == "right":
            return x + self.f(x)
        if self.way == "left":
            return self.f(x).relu() + x
        if self.way == "in place":
            y = self.f(x)
            y += x
            return y
        return self.f(x).add(x) if self.way == "method" else torch.add(x, self.f(x))


class Shared(nn.Module):
    """No residuals: a sum of two branches, a position, a number, and a doubled input."""

    def __init__(self) -> None:
        super().__init__()
        self.f, self.g, self.position = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Parameter(torch.zeros(4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.f(x) + self.g(x) + self.position
        return x + x + 1


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def drops_of(module: nn.Module) -> list[float]:
    return [layer.rate for layer in module.modules() if isinstance(layer, DropPath)]


@pytest.mark.parametrize("way", ["right", "left", "in place", "method", "function"])
def test_each_way_of_writing_a_residual_is_found_and_the_branch_alone_is_dropped(way: str) -> None:
    network = Residual(way)
    running = with_drop_path(network, 0.5).train()
    assert drops_of(running) == [0.5]
    x = torch.randn(64, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    branch = network.f(x).relu() if way == "left" else network.f(x)
    with as_global(generator(1)):
        found = running(x)
    kept = 0
    for number in range(64):
        whole = torch.allclose(found[number], x[number] + 2 * branch[number], atol=1e-5)
        assert whole or torch.equal(found[number], x[number])
        kept += whole
    assert 20 < kept < 44


def test_the_mean_over_many_draws_is_the_network_itself() -> None:
    network = nn.Sequential(*(Residual("right") for _ in range(3)))
    running = with_drop_path(network, 0.3).train()
    x = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    with as_global(generator(2)), torch.no_grad():
        mean = running(x.expand(40_000, -1, -1, -1)).mean(dim=0)
    torch.testing.assert_close(mean, network(x)[0], atol=0.02, rtol=0)


def test_rates_rise_linearly_to_the_last_residual() -> None:
    running = with_drop_path(nn.Sequential(*(Residual("right") for _ in range(4))), 0.2)
    assert drops_of(running) == pytest.approx([0.05, 0.1, 0.15, 0.2])


def test_sums_that_are_no_residuals_are_left_alone_and_that_is_said() -> None:
    with pytest.warns(UserWarning, match="no residuals"):
        running = with_drop_path(Shared(), 0.5)
    assert drops_of(running) == []
    x = torch.randn(2, 4, 3, 3)
    assert running(x).shape == x.shape


def test_a_network_that_cannot_be_traced_is_refused() -> None:
    with pytest.raises(InputError, match="drop_path at 0"):
        with_drop_path(Branching(), 0.1)


def test_found_networks_keep_their_layers_and_no_trace() -> None:
    """In `tiny` each block behind the first of its group has a residual; split attention's own sums aren't any."""
    supernet = fpnas.spaces.tiny(num_classes=4, in_channels=1)
    choices = {choice.name: choice.options[0] for choice in supernet.space.choices}
    for group in (1, 2, 3, 4):
        choices |= {f"group{group}.kernel": 3, f"group{group}.splits": 4}
    network = fpnas.from_scratch(supernet, choices)
    before = copy.deepcopy(network)
    running = with_drop_path(network, 0.1)
    # 1 + 2 + 2 + 2 blocks: the stem's 16 channels meet 16; the second blocks; group 3 widens in its first (24 to 40).
    assert len(drops_of(running)) == 4
    assert network.code == before.code
    assert network.state_dict().keys() == before.state_dict().keys()
    assert not any(type(layer).__module__.startswith("fpnas") for layer in network.modules())
    shared = {id(p) for p in running.parameters()}
    assert shared == {id(p) for p in network.parameters()}
    torch.save(network, io.BytesIO())
    x = torch.randn(2, 1, 16, 16)
    assert torch.equal(running.eval()(x), network.eval()(x))


def test_a_training_with_drop_path_trains_and_leaves_the_plain_network() -> None:
    supernet = h.small_supernet()
    network = fpnas.from_scratch(supernet, {**supernet.arch, "a.channels": 8})
    job = fpnas.Training(network, h.made_up(train=96), epochs=12, batch_size=12, drop_path=0.2)
    for _ in range(job.steps_total):
        job.step()
    assert job.result().accuracy > 90
    assert isinstance(job.trained, fx.GraphModule)
    assert not drops_of(job.trained)
    assert not any("drop_path" in name for name in job.files()["model.safetensors"])

"""Attention, recurrence, shared and torch's own layers in people's modules: every architecture selects as it extracts,
and its multiply-adds and parameters are those that torch's counter finds in the extracted network."""

from __future__ import annotations

import pytest
import torch
from counting import counted, every_arch
from torch import Tensor, nn

from fpnas import Choice, Flops, Params, Supernet, layer_costs
from fpnas.elastic import (
    Activation,
    Conv1d,
    Embedding,
    LayerNorm,
    Linear,
    MultiHeadAttention,
    Repeat,
    Switch,
    scaled,
)
from fpnas.errors import SupernetError

WIDTH, HEADS = Choice("w", (4, 6)), Choice("h", (1, 3))
DEPTH, HIDDEN = Choice("depth", (0, 1, 2)), Choice("hidden", (3, 5))
LENGTH, FEATURES, WORDS = 5, 6, 7


class Block(nn.Module):
    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.norm, self.attention = LayerNorm(WIDTH), MultiHeadAttention(WIDTH, HEADS, head_dim=4, causal=causal)
        self.mlp = nn.Sequential(Linear(WIDTH, scaled(WIDTH, 2)), Activation("gelu"), Linear(scaled(WIDTH, 2), WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm(x))
        return x + self.mlp(x)


class Transformer(nn.Module):
    """Self-attention of variable depth and attention to another length, with padding masked."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = Embedding(WORDS, WIDTH, padding_idx=0), Embedding(LENGTH, WIDTH)
        self.register_buffer("index", torch.arange(LENGTH))
        self.blocks = Repeat(DEPTH, [Block(False), Block(True)])
        self.pool = Conv1d(WIDTH, WIDTH, 3, stride=2)
        self.cross = MultiHeadAttention(WIDTH, HEADS, head_dim=2)
        self.head = Linear(WIDTH, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.blocks(self.words(tokens) + self.places(self.index))
        short = self.pool(x.transpose(1, 2)).transpose(1, 2)
        return self.head(self.cross(short, x, tokens >= 0).mean(1))


class Recurrence(nn.Module):
    """Layers that run once for each of LENGTH rows; a structure beside them makes each an operation."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.takes, self.back = Linear(FEATURES, HIDDEN), Linear(FEATURES, WIDTH), Linear(HIDDEN, WIDTH)
        self.gives = Linear(WIDTH, HIDDEN)
        self.head = nn.Sequential(Repeat(DEPTH, [nn.Tanh(), nn.Tanh()]), Linear(HIDDEN, 3))

    def forward(self, x: Tensor) -> Tensor:
        state = self.start(x[:, 0])
        for step in range(LENGTH):
            state = self.gives((self.takes(x[:, step]) + self.back(state)).tanh())
        return self.head(state)


class TorchsOwn(nn.Module):
    """Elastic layers among torch's own of kinds that have no simple rule, products in forward, and a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.down = Embedding(WORDS, WIDTH), Linear(WIDTH, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.gru, self.lstm = nn.GRU(8, 4, batch_first=True), nn.LSTM(4, 6, batch_first=True, bidirectional=True)
        self.bilinear, self.scale = nn.Bilinear(12, 12, 4), nn.Parameter(torch.ones(8))
        self.mixes = nn.ParameterList([torch.rand(4, 4), torch.rand(4, 4)])
        self.head = nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.encoder(self.down(self.words(tokens)) * self.scale)
        x = x + self.attention(x, x, x)[0]
        y, _ = self.lstm(self.gru(x)[0])
        return self.head(self.bilinear(y, y) @ self.mixes[0] @ self.mixes[1]).mean(1)


class ManyNames(nn.Module):
    """A weight-shared stack: one block under the names of three repeats, a branch, and one that nothing calls."""

    def __init__(self) -> None:
        super().__init__()
        inner = Linear(FEATURES, WIDTH), nn.Tanh(), Linear(WIDTH, FEATURES)
        block = nn.Sequential(*inner, nn.Linear(FEATURES, FEATURES))
        self.alias = block
        self.stack = Repeat(Choice("times", (0, 1, 3)), [block, block, block])
        self.last = Switch(Choice("last", ("block", "none")), {"block": block, "none": nn.Identity()})

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.stack(x)).mean(1)


class Twice(nn.Module):
    """One layer, two names, two sizes of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.conv = Embedding(WORDS, 4), Conv1d(4, 4, Choice("k", (1, 3)))
        self.inner = nn.Sequential(nn.MaxPool1d(2), self.conv)
        self.head = nn.ConvTranspose1d(4, 2, 3, stride=2)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens).transpose(1, 2)
        return self.head(self.inner(self.conv(x)))


TOKENS, FLOATS = ((LENGTH,), torch.int64), ((LENGTH, FEATURES), torch.float64)
NETWORKS = [(Transformer, *TOKENS), (Recurrence, *FLOATS), (TorchsOwn, *TOKENS), (ManyNames, *FLOATS), (Twice, *TOKENS)]


def some_input(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    draws = torch.Generator().manual_seed(0)
    if dtype == torch.int64:
        return torch.randint(1, WORDS, (3, *shape), generator=draws)
    return torch.randn(3, *shape, generator=draws, dtype=dtype)


@pytest.mark.parametrize(("kind", "shape", "dtype"), NETWORKS)
def test_every_architecture(kind: type[nn.Module], shape: tuple[int, ...], dtype: torch.dtype) -> None:
    net = Supernet(kind().double(), input_shape=shape, input_dtype=dtype).eval()
    flops, params = Flops(net, shape, dtype), Params(net, shape, dtype)
    x, draws = some_input(shape, dtype), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws) * 0.4)
    outputs, costs = set(), set()
    for arch in every_arch(net):
        plain = net.extract(arch)
        expected = net.select(arch)(x)
        torch.testing.assert_close(plain(x), expected, rtol=0, atol=1e-12)
        assert all(type(module).__module__.startswith("torch.") for module in list(plain.modules())[1:])
        outputs.add(tuple(expected.flatten().tolist()))
        found = flops.of(arch), params.of(arch)
        assert found == counted(net, arch, shape, dtype), arch
        layers = layer_costs(net, arch, shape, dtype)
        assert (sum(layer.flops for layer in layers), sum(layer.params for layer in layers)) == found
        costs.add(found)
    assert len(outputs) > 1
    assert len(costs) > 1
    for model, column in ((flops, 0), (params, 1)):
        assert model.bounds() == (min(cost[column] for cost in costs), max(cost[column] for cost in costs))


def test_gradients_of_a_layer_that_runs_many_times_are_those_of_the_extracted_one() -> None:
    net = Supernet(Recurrence()).double()
    arch = {"w": 4, "hidden": 3, "depth": 1}
    plain = net.extract(arch)
    for network in (net.select(arch), plain):
        network(some_input(*FLOATS)).square().sum().backward()
    mine, wanted = net.module.get_submodule("back").weight.grad, plain.get_submodule("back").weight.grad
    torch.testing.assert_close(mine[:4, :3], wanted, rtol=0, atol=1e-12)
    assert not mine[4:].any()
    assert not mine[:, 3:].any()


def test_by_hand() -> None:
    """A block of width 4, one head of 4, at 5 tokens: four projections, two products, an MLP of 8."""
    net = Supernet(Transformer())
    by_name = {
        layer.name: layer.flops
        for layer in layer_costs(net, {"w": 4, "h": 1, "depth": 1}, (LENGTH,), torch.int64)
        if layer.name.startswith("blocks.")
    }
    linear, product = 5 * 4 * 4, 2 * 5 * 5 * 4
    assert by_name == {
        "blocks.blocks.0.norm": 0,
        **{f"blocks.blocks.0.attention.{name}": linear for name in ("queries", "keys", "values", "project")},
        "blocks.blocks.0.attention.attention": product,
        "blocks.blocks.0.mlp.0": 2 * linear,
        "blocks.blocks.0.mlp.2": 2 * linear,
    }


@pytest.mark.parametrize("extra", [nn.TransformerEncoderLayer(8, 2, 12), nn.Linear(8, 3), nn.Identity()])
def test_torchs_own_layers_in_torchs_own_containers(extra: nn.Module) -> None:
    width = Choice("w", (3, 8))
    net = Supernet(nn.Sequential(Linear(8, width), Linear(width, 8), extra))
    for arch in every_arch(net):
        assert (Flops(net, (5, 8)).of(arch), Params(net, (5, 8)).of(arch)) == counted(net, arch, (5, 8))


class Uneven(nn.Module):
    """One layer in three places of a repeat, at another size each time, and one place too few."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv1d(8, 8, 3, stride=2)
        self.stack = nn.ModuleList([self.conv, self.conv])
        self.by = Linear(8, Choice("w", (3, 8)))

    def forward(self, x: Tensor) -> Tensor:
        for layer in [*self.stack, self.conv]:
            x = layer(x)
        return self.by(x.transpose(1, 2))


def test_calls_that_cannot_be_told_apart_but_add_up() -> None:
    """Three places, three calls: each gets one, in order."""
    net = Supernet(Uneven())
    for arch in every_arch(net):
        assert Flops(net, (8, 16)).of(arch) == counted(net, arch, (8, 16))[0]


class TooOften(Uneven):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.conv(x))


def test_calls_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(SupernetError, match=r"'conv' and 'stack\.0' and 'stack\.1': one layer with 4 calls"):
        Flops(Supernet(TooOften()), (8, 32))

"""Operations of attention, cells and layers under several names: as many as the extracted network's graph has, each of
which can be called by itself."""

from __future__ import annotations

import pytest
import torch
from counting import every_arch
from test_cost_own_networks import DEPTH, HEADS, WIDTH, Block, ManyNames, Recurrence
from torch import Tensor, nn

from fpnas import InputError, Supernet
from fpnas.cost.latency import distinct_operations, operation_sites
from fpnas.cost.latency.operations import MAX_EXACT
from fpnas.elastic import DotProductAttention, Embedding, Linear, Repeat, scaled

SHAPE = (5, 6)


class Blocks(nn.Module):
    """Attention in blocks of variable depth."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.head = Linear(6, WIDTH), Linear(WIDTH, 3)
        self.blocks = Repeat(DEPTH, [Block(False), Block(True)])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.into(x)).mean(1))


class Attention(nn.Module):
    """Without a structure above it."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.head = Linear(6, scaled(HEADS, 4)), Linear(scaled(HEADS, 4), 3)
        self.attention = DotProductAttention(HEADS, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.into(x)
        return self.head(self.attention(y, y, y).mean(1))


class TorchsOwn(nn.Module):
    """A layer of torch's that holds others stays whole."""

    def __init__(self) -> None:
        super().__init__()
        self.into, self.depth = Linear(6, WIDTH), Repeat(DEPTH, [nn.Tanh(), nn.Tanh()])
        self.back = Linear(WIDTH, 8)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(self.back(self.depth(self.into(x)))).mean(1)


@pytest.mark.parametrize("kind", [Blocks, Attention, ManyNames, TorchsOwn])
def test_operations_are_those_of_the_extracted_network(kind: type[nn.Module]) -> None:
    net = Supernet(kind(), input_shape=SHAPE)
    sites = operation_sites(net, SHAPE)
    for arch in every_arch(net):
        text = "\n".join(site.name(arch) for site in sites if site.runs(arch) for _ in range(site.repeats))
        graph = net.extract(arch)
        kinds = [type(graph.get_submodule(n.target)).__name__ for n in graph.graph.nodes if n.op == "call_module"]
        encoders = kinds.count("TransformerEncoderLayer")
        assert text.count("TransformerEncoderLayer(") == encoders
        assert text.count("Linear(") - 3 * encoders == kinds.count("Linear")  # two within, and the attention's own
        assert text.count("Tanh()") == kinds.count("Tanh")
        assert "getitem" not in text  # which the count of attention's products calls, and no network
        assert text.count("LayerNorm(") - 2 * encoders == kinds.count("LayerNorm")
        products = [n for n in graph.graph.nodes if n.target is torch.nn.functional.scaled_dot_product_attention]
        inner = f"num_heads={arch.get('h')}, head_dim=4"
        assert text.count(f"DotProductAttention({inner}") == len(products)
        if products:
            assert f"on 5x{4 * int(arch['h'])}, 5x{4 * int(arch['h'])}" in text


@pytest.mark.parametrize("kind", [Blocks, Attention, ManyNames, TorchsOwn, Recurrence])
def test_each_can_be_called(kind: type[nn.Module]) -> None:
    net = Supernet(kind(), input_shape=SHAPE)
    found = distinct_operations(net, operation_sites(net, SHAPE))
    assert 2 < len(found) < MAX_EXACT
    for operation in found.values():
        function, inputs = operation.build(3, torch.device("cpu"))
        with torch.no_grad():
            output = function(*inputs)
        assert len(output[0] if isinstance(output, tuple) else output) == 3, operation.name


def test_attention_is_that_of_its_architecture() -> None:
    net = Supernet(Attention(), input_shape=SHAPE)
    found = distinct_operations(net, operation_sites(net, SHAPE))
    operation = next(found[name] for name in found if name.startswith("DotProductAttention(num_heads=1"))
    function, inputs = operation.build(3, torch.device("cpu"))
    net.select({"h": 3})
    expected = nn.functional.scaled_dot_product_attention(*inputs)  # one head is the whole width
    torch.testing.assert_close(function(*inputs), expected)


def test_tokens_are_refused() -> None:
    """Latency takes floats, as of images."""
    net = Supernet(nn.Sequential(Embedding(7, WIDTH), Linear(WIDTH, 3)), input_shape=(5,), input_dtype=torch.int64)
    with pytest.raises(InputError, match=r"'0' \(Embedding\) fails"):
        operation_sites(net, (5,))

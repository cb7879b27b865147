"""Latency from tables equals adding up the operations of the extracted network one by one; with a clock of our own.

The reference walks the graph of the extracted network and knows nothing of sites, conditions or factors.
"""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from counting import SHAPE, assert_quick, every_arch, small_supernet, some_archs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fpnas import Arch, ArchDistribution, Budget, Choice, InputError, Latency, LatencyTable, Supernet
from fpnas.cost import arch_latency
from fpnas.cost.latency import distinct_operations, operation_sites, operations
from fpnas.elastic import Conv2d, Linear, Repeat, conv_norm
from fpnas.search.constrained import best_within
from fpnas.spaces import SPACES

CPU = torch.device("cpu")


def on_meta(name: str, **arguments: int) -> Supernet:
    with torch.device("meta"):
        return SPACES[name](**arguments)


def made_up(net: Supernet, shape: tuple[int, ...]) -> LatencyTable:
    """A latency for each operation, from its name: no two alike."""
    names = distinct_operations(net, operation_sites(net, shape))
    return LatencyTable({name: random.Random(name).uniform(0.01, 1.0) for name in names}, device="made up")


def elements(name: str) -> float:
    """A latency that is linear in each width: the elements of the first input."""
    sizes = name.rpartition(" on ")[2].partition(",")[0].strip("[]").split("x")
    return float(np.prod([int(size) for size in sizes])) if " on " in name else 1.0


# ----------------------------------------------------------------------------- operations against the extracted network


def counted_modules(net: Supernet, arch: Arch) -> dict[str, int]:
    """How many modules of each kind the extracted network has, each module being called once."""
    network = net.extract(arch)
    counts: dict[str, int] = {}
    for node in network.graph.nodes:
        if node.op == "call_module":
            kind = type(network.get_submodule(node.target)).__name__
            counts[kind] = counts.get(kind, 0) + 1
        elif node.op == "call_function" and node.target.__name__ == "add" and "attention" not in str(node.args):
            counts["add"] = counts.get("add", 0) + 1
    return counts


@pytest.mark.parametrize("name", ["tiny", "fbnetv2-f", "nasbench-macro"])
def test_an_architectures_operations_are_those_of_its_network(name: str) -> None:
    """Convolutions, norms and linear layers, each once; the sum of residuals that the graph shows."""
    net = on_meta(name, num_classes=7)
    sites = operation_sites(net, (3, 32, 32))
    for arch in some_archs(net, 6, seed=3):
        found = [site.name(arch) for site in sites if site.runs(arch) for _ in range(site.repeats)]
        expected = counted_modules(net, arch)
        text = "\n".join(found)
        assert text.count("Conv2d(") == expected["Conv2d"]
        assert text.count("BatchNorm2d(") == expected["BatchNorm2d"]
        assert text.count("Linear(") == expected["Linear"]
        residuals = sum(line.startswith("add on") for line in found)
        splits = sum(line.startswith("SplitAttention") * (line.count("Linear(") - 2) for line in found)
        assert residuals + splits == expected.get("add", 0)


def test_every_operation_can_be_called_and_leaves_the_supernet_alone() -> None:
    """Also under the architectures where they were not seen; and the shapes fit each other."""
    net = small_supernet()
    before, weights = net.arch, copy.deepcopy(net.state_dict())
    for operation in distinct_operations(net, operation_sites(net, SHAPE)).values():
        function, inputs = operation.build(3, CPU)
        with torch.no_grad():
            output = function(*inputs)
        assert isinstance(output, Tensor)
        assert len(output) == 3, operation.name
        assert output.isfinite().all(), operation.name
    assert net.arch == before
    assert net.training
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_operations_have_the_weights_of_their_name() -> None:
    net = on_meta("tiny")
    found = distinct_operations(net, operation_sites(net, (3, 32, 32)))
    assert not [name for name in found if "kernel_size=0" in name]
    for name, operation in list(found.items())[::7]:
        function, inputs = operation.build(2, CPU)
        module = getattr(function, "__self__", function)
        if name.startswith("Conv2d(in_channels="):
            wanted = int(name.split("in_channels=")[1].split(",")[0])
            assert next(module.parameters()).shape[1] == wanted == inputs[0].shape[1], name
        images = [tensor for tensor in inputs if torch.is_tensor(tensor) and tensor.dim() == 4]
        assert all(image.is_contiguous(memory_format=torch.channels_last) for image in images)
        if isinstance(module, nn.Module):
            assert not any(part.training for part in module.modules())


# --------------------------------------------------------------------------------------------------------- the model


def assert_adds_up(net: Supernet, archs: list[Arch], shape: tuple[int, ...]) -> None:
    table = made_up(net, shape)
    latency = Latency(net, shape, table)
    codes = torch.tensor([net.space.encode(arch) for arch in archs])
    sites = operation_sites(net, shape)
    expected = [sum(table.operations[s.name(a)] * s.repeats for s in sites if s.runs(a)) for a in archs]
    assert latency(codes).tolist() == pytest.approx(expected, rel=1e-12)
    for arch, total in list(zip(archs, expected, strict=True))[:3]:
        assert latency.of(arch) == pytest.approx(total, rel=1e-12)
        one = arch_latency(net, arch, shape, table)
        assert sum(ms for _, _, ms in one) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("name", ["tiny", "fbnetv2-f", "nasbench-macro"])
def test_tables_equal_adding_up(name: str) -> None:
    net = on_meta(name)
    assert_adds_up(net, some_archs(net, 12, seed=1), (3, 32, 32))


@pytest.fixture(scope="module")
def in_ms() -> tuple[Supernet, Latency]:
    net = small_supernet()
    return net, Latency(net, SHAPE, made_up(net, SHAPE))


def test_every_kind_of_structure_adds_up_and_bounds_are_exact(in_ms: tuple[Supernet, Latency]) -> None:
    net, latency = in_ms
    archs = list(every_arch(net))
    assert_adds_up(net, archs, SHAPE)
    costs = [latency.of(arch) for arch in archs]
    least, greatest = latency.bounds()
    assert (least, greatest) == pytest.approx((min(costs), max(costs)), rel=1e-12)
    assert (latency.name, latency.device) == ("ms", "made up")
    assert Budget(latency, (least + greatest) / 2).binds
    with pytest.raises(InputError, match=r"at least .* ms, got"):
        Budget(latency, least / 2)


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), share=st.floats(0.05, 1.0))
def test_the_constrained_answer_is_exact_in_ms(in_ms: tuple[Supernet, Latency], seed: int, share: float) -> None:
    net, latency = in_ms
    least, greatest = latency.bounds()
    target = least + share * (greatest - least)
    distribution = ArchDistribution(net.space)
    with torch.no_grad():
        distribution.logits.normal_(generator=torch.Generator().manual_seed(seed))
    answer = best_within(distribution, latency, target, num_samples=10)
    archs = [arch for arch in every_arch(net) if latency.of(arch) <= target]
    with torch.no_grad():
        best = max(float(distribution.log_prob(torch.tensor([net.space.encode(arch)]))) for arch in archs)
    assert answer.log_prob == pytest.approx(best, abs=1e-9)
    assert answer.cost <= target


def test_ten_thousand_architectures_in_a_tenth_of_a_second() -> None:
    net = on_meta("fbnetv2-f")
    assert_quick(Latency(net, (3, 64, 64), made_up(net, (3, 64, 64))))


# ------------------------------------------------------------------------------------------------------ interpolation


class Wide(nn.Module):
    """A 1x1 convolution of 30 x 40 x 2 variants, which is more than are measured."""

    def __init__(self) -> None:
        super().__init__()
        ins = Choice("ins", tuple(range(1, 31)))
        outs = Choice("outs", (3, *range(8, 86, 2)))
        first = conv_norm(2, ins, act=Choice("act", ("relu", "swish")))
        self.body = Repeat(2, [first, conv_norm(ins, outs)])  # a structure, which is never measured whole

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).flatten(1)


def test_wide_choices_are_thinned_and_interpolated() -> None:
    net = Supernet(Wide())
    found = distinct_operations(net, operation_sites(net, (2, 5, 5)))
    ends = [f"Conv2d(in_channels={i}, out_channels={o}" for i in (1, 30) for o in (3, 84)]
    assert all(any(name.startswith(end) for name in found) for end in ends)
    wide = [name for name in found if "Activation" not in name and name.startswith("Conv2d")]
    assert len(wide) == operations.POINTS**2
    # What is linear in the widths is interpolated exactly, and what is measured is kept.
    latency = Latency(net, (2, 5, 5), LatencyTable({name: elements(name) for name in found}))
    fixed = 1 + 2 * 25 + elements(next(name for name in found if name.startswith("flatten")))
    for arch in some_archs(net, 30, seed=5):
        assert latency.of(arch) == pytest.approx(fixed + arch["ins"] * 25, rel=1e-12)
    table = made_up(net, (2, 5, 5))
    model = Latency(net, (2, 5, 5), table)
    for arch in some_archs(net, 6, seed=6):
        assert model.of(arch) == pytest.approx(sum(ms for _, _, ms in arch_latency(net, arch, (2, 5, 5), table)))
    corner = Arch({"ins": 30, "act": "relu", "outs": 3})
    names = [name for name, _, _ in arch_latency(net, corner, (2, 5, 5), table)]
    assert model.of(corner) == pytest.approx(sum(table.operations[name] for name in names))
    # Measured alone, nothing of an architecture is interpolated.
    alone = distinct_operations(net, operation_sites(net, (2, 5, 5)), Arch({"ins": 29, "act": "relu", "outs": 8}))
    assert any("in_channels=29, out_channels=8" in name for name in alone)


def test_large_spaces_stay_measurable() -> None:
    """fpnas-l2 has millions of distinct operations."""
    net = on_meta("fpnas-l2")
    assert len(distinct_operations(net, operation_sites(net, (3, 64, 64)))) < 10_000


# ----------------------------------------------------------------------------------------------- other people's modules


class Shared(nn.Module):
    """A layer that runs twice, one of torch's own, and a forward that calls functions by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.width = Choice("width", tuple(range(2, 12)))
        self.depth = Choice("kernel", (1, 3))
        self.twice = Conv2d(4, 4, self.depth, bias=False)
        self.parts = nn.ModuleList(conv_norm(4, self.width) for _ in range(3))
        self.pool = nn.AvgPool2d(2)
        self.head = Linear(self.width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.twice(self.twice(x)))
        return self.head(sum(part(x) for part in self.parts).mean((2, 3)))  # type: ignore[union-attr]


def test_a_module_of_ones_own() -> None:
    """As a whole it has few enough variants: it is one operation."""
    net = Supernet(Shared())
    names = distinct_operations(net, operation_sites(net, (4, 6, 6)))
    assert len(names) == 1 + 20
    assert all(" on 4x6x6" in name for name in names if name != "call of the network")


def test_parts_of_it_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "MAX_EXACT", 10)
    monkeypatch.setattr(operations, "POINTS", 10)
    net = Supernet(Shared())
    sites = operation_sites(net, (4, 6, 6))
    arch = Arch({"width": 2, "kernel": 3})
    names = [(site.name(arch), site.repeats) for site in sites]
    assert ("Conv2d(in_channels=4, out_channels=4, kernel_size=3, stride=1) on 4x6x6", 2) in names
    assert ("AvgPool2d(kernel_size=2, stride=2, padding=0) on 4x6x6", 1) in names
    # sum() begins with 0 + x, as many additions as parts; at the shapes seen first.
    assert sum(name.startswith(("add", "__radd__")) for name, _ in names) == 3, names
    assert_adds_up(net, some_archs(net, 10, seed=0), (4, 6, 6))


# ------------------------------------------------------------------------------------------------------------- tables


def test_the_digest_is_of_the_numbers(in_ms: tuple[Supernet, Latency]) -> None:
    net, latency = in_ms
    table = latency.used
    more = LatencyTable({**table.operations, "something else": 1.0}, device="another name", threads=3)
    assert Latency(net, SHAPE, more).digest == latency.digest
    name = next(iter(table.operations))
    other = LatencyTable({**table.operations, name: table.operations[name] * (1 + 1e-15)})
    assert Latency(net, SHAPE, other).digest != latency.digest
    assert Latency(net, SHAPE, LatencyTable(table.operations, batch_size=2)).digest != latency.digest


def test_a_table_that_lacks_operations_is_refused(in_ms: tuple[Supernet, Latency]) -> None:
    net, table = in_ms[0], in_ms[1].used
    half = LatencyTable(dict(list(table.operations.items())[::2]), device="half")
    message = f"the {len(table.operations)} operations of the space, got one of 'half' without"
    with pytest.raises(InputError, match=message):
        Latency(net, SHAPE, half)

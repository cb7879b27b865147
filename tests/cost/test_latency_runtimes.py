"""Milliseconds in the runtime of exported files: what is timed is what such a file runs; fits to whole networks."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counting import SHAPE, Clock, every_arch, small_supernet, some_archs
from torch import Tensor, nn

import fpnas
from fpnas import Arch, InputError, Latency, LatencyTable, Supernet, latency_table
from fpnas.cost import arch_latency
from fpnas.cost.latency import Fit, distinct_operations, fitted, operation_sites
from fpnas.runner import latency_cache as shell
from fpnas.runner import latency_runtimes, read_latency_table
from fpnas.shipping import onnx_pieces
from fpnas.shipping.onnx_graph import OnnxGraph, Unwritten, exported
from fpnas.shipping.onnx_pieces import Pieces
from fpnas.spaces import SPACES

onnxruntime = pytest.importorskip("onnxruntime")

CPU = torch.device("cpu")
EXPORTED = ("onnxruntime", "onnxruntime-int8")


def on_meta(name: str) -> Supernet:
    with torch.device("meta"):
        return SPACES[name](num_classes=5)


@pytest.fixture
def net() -> Supernet:
    return small_supernet()


def with_random_norms(module: nn.Module) -> None:
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                assert tensor is not None
                tensor.detach().copy_(torch.rand_like(tensor) + 0.5)


def outcome(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = session.run(None, {name: tensor.contiguous().numpy() for name, tensor in inputs.items()})
    return torch.from_numpy(found[0])


# ------------------------------------------------------------------------------------------------------ what is written


@pytest.mark.parametrize(("name", "every"), [("tiny", 9), ("tiny-int8", 11), ("fbnetv2-f", 97)])
@torch.no_grad()
def test_an_operations_graph_equals_its_module(name: str, every: int) -> None:
    net = on_meta(name)
    tried: Counter[str] = Counter()
    operations = list(distinct_operations(net, operation_sites(net, (3, 32, 32))).values())
    kinds = {operation.name.partition("(")[0]: operation for operation in operations}
    for operation in [*operations[::every], *kinds.values()]:
        function, inputs = operation.build(2, CPU)
        module = getattr(function, "__self__", function)
        if not isinstance(module, nn.Module):
            continue  # a function; the sums of whole networks are below
        with_random_norms(module)
        graph = OnnxGraph()
        names = [[f"x{at}.{of}" for of in range(len(one))] if isinstance(one, list) else f"x{at}" for at, one in
                 enumerate(inputs)]  # fmt: skip
        flat = dict(
            pair
            for name, one in zip(names, inputs, strict=True)
            for pair in (zip(name, one, strict=True) if isinstance(name, list) else [(name, one)])
        )
        output = graph.module(module, names)
        if not graph.nodes:
            continue  # nothing is done
        model = graph.model([(key, tensor.shape) for key, tensor in flat.items()], [output])
        got = outcome(model, flat)
        expected = function(*([x.clone() for x in one] if isinstance(one, list) else one.clone() for one in inputs))
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
        tried[operation.name.partition("(")[0]] += 1
    assert {"Conv2d", "DepthwiseConv2d", "Linear"} < set(tried)


@pytest.mark.parametrize("name", ["tiny", "tiny-int8"])
@torch.no_grad()
def test_a_networks_graph_is_that_of_torchs_exporter(name: str) -> None:
    net = on_meta(name)
    network = fpnas.from_scratch(net, some_archs(net, 3, seed=1)[2]).eval()
    with_random_norms(network)
    images = torch.randn(1, 3, 16, 16)
    graph = OnnxGraph()
    model = graph.model([("images", images.shape)], [graph.module(network, ["images"])])
    torch.testing.assert_close(outcome(model, {"images": images}), network(images), rtol=1e-4, atol=1e-4)
    reference = exported(network, (images,))
    assert Counter(node.op_type for node in graph.nodes) == Counter(node.op_type for node in reference.graph.node)


class Odd(nn.Module):
    """Does what no graph here has a node for."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(16, 24, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).cumsum(1)


def test_what_is_not_written_is_exported() -> None:
    odd, x = Odd().eval(), torch.randn(1, 16, 8, 8)
    graph = OnnxGraph()
    with pytest.raises(Unwritten, match="cumsum"):
        graph.module(odd, ["x"])
    assert (graph.nodes, graph.weights) == ([], [])
    function, inputs = Pieces(1, False).parts([(odd, (x,))])[0]
    function(*inputs)
    network = nn.Sequential(Odd(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    found = onnxruntime.InferenceSession(Pieces(1, False).file(network, x.shape), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        torch.testing.assert_close(
            torch.from_numpy(found.run(None, {"images": x.numpy()})[0]), network(x), rtol=1e-4, atol=1e-4
        )


# -------------------------------------------------------------------------------------------------------- what is timed


def kinds_run(content: bytes, folder: Path) -> Counter[str]:
    """The kinds of nodes that onnxruntime runs of a file."""
    pieces = Pieces(1, False)
    pieces.session(content, kept=folder / "rewritten.onnx")
    return Counter(node.op_type for node in pieces.onnx.load(folder / "rewritten.onnx").graph.node)


@pytest.mark.parametrize("runtime", EXPORTED)
def test_pieces_are_what_the_whole_network_runs(runtime: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Fused and laid out as there: put together, the parts have the nodes of the network, but for those at its ends."""
    net = on_meta("tiny")
    taken: list[Counter[str]] = []
    between = onnx_pieces._between

    def watched(*arguments: Any) -> list[Any]:
        nodes = between(*arguments)
        taken.append(Counter(node.op_type for node in nodes if node.op_type != "Identity"))
        return nodes

    monkeypatch.setattr(onnx_pieces, "_between", watched)
    sites = operation_sites(net, (3, 32, 32))
    pieces = Pieces(1, runtime.endswith("int8"))
    for arch in some_archs(net, 4, seed=5):
        taken.clear()
        names = [site.name(arch) for site in sites if site.runs(arch) for _ in range(site.repeats)]
        operations = distinct_operations(net, sites, arch)
        pieces.parts([operation.build(1, CPU) for operation in operations.values()])
        of = dict(zip(operations, taken, strict=True))
        summed = sum((of[name] for name in names), Counter[str]())
        whole = kinds_run(pieces.file(fpnas.from_scratch(net, arch).eval(), (1, 3, 32, 32)), tmp_path)
        ends = {"ReorderInput", "ReorderOutput", "Transpose", "QuantizeLinear", "DequantizeLinear"}
        missing, further = whole - summed, summed - whole
        assert sum(whole[kind] for kind in whole if kind not in ends) > 5
        assert set(missing) | set(further) <= ends, (missing, further)
        assert sum(missing.values()) + sum(further.values()) <= 4, (missing, further)


@pytest.mark.parametrize(("runtime", "threads"), list(zip(EXPORTED, (1, 2), strict=True)))
def test_a_table_of_a_runtime(net: Supernet, tmp_path: Path, runtime: str, threads: int) -> None:
    clock = Clock()
    table = latency_table(net, SHAPE, runtime=runtime, threads=threads, cache=tmp_path, timer=clock)
    operations = distinct_operations(net, operation_sites(net, SHAPE))
    assert set(table.operations) == set(operations)
    assert (table.runtime, table.version, table.torch) == (runtime, onnxruntime.__version__, None)
    assert (table.threads, table.dtype) == (threads, "int8" if runtime.endswith("int8") else "float32")
    (fit,) = table.fits.values()
    assert 1 <= fit.networks <= shell.NETWORKS
    calls = clock.calls
    assert latency_table(net, SHAPE, runtime=runtime, threads=threads, cache=tmp_path, timer=clock) == table
    assert clock.calls == calls, "a second search measures nothing"
    (file,) = tmp_path.glob(f"*-{runtime}-batch1-threads{threads}-*.json")
    assert read_latency_table(file) == table
    assert Latency(net, SHAPE, read_latency_table(file)).digest == Latency(net, SHAPE, table).digest


def test_runtimes_have_tables_of_their_own(net: Supernet, tmp_path: Path) -> None:
    arch = Arch(net.arch)
    for runtime in latency_runtimes.RUNTIMES:
        assert latency_table(net, SHAPE, runtime=runtime, arch=arch, cache=tmp_path, timer=Clock()).runtime == runtime
    assert len(list(tmp_path.glob("*.json"))) == 3


def test_starting_a_session_is_no_part_of_an_operation(net: Supernet, tmp_path: Path) -> None:
    """Whatever runs takes as long as doing nothing, so that only the call of the network is left."""
    table = latency_table(net, SHAPE, runtime="onnxruntime", cache=tmp_path, timer=Clock(lambda call: 1e-3), networks=0)
    assert table.operations.pop("call of the network") == pytest.approx(1.0)  # pyright: ignore
    assert set(table.operations.values()) == {0.0}


def test_a_measurement_that_is_cut_off_goes_on(net: Supernet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "SAVE_EVERY", 4)

    class Stops(Clock):
        def __call__(self, run: Callable[[], object]) -> float:
            if self.calls == 70:
                raise KeyboardInterrupt
            return super().__call__(run)

    with pytest.raises(KeyboardInterrupt):
        latency_table(net, SHAPE, runtime="onnxruntime", cache=tmp_path, timer=Stops())
    (file,) = tmp_path.glob("*.json")
    part = read_latency_table(file)
    assert len(part.operations) == 4
    whole = latency_table(net, SHAPE, runtime="onnxruntime", cache=tmp_path, timer=Clock())
    assert part.operations.items() <= whole.operations.items()


def test_unknown_and_missing_runtimes(net: Supernet, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="a known runtime, got 'onnx'"):
        latency_table(net, SHAPE, runtime="onnx")
    with pytest.raises(InputError, match="the CPU, for milliseconds in onnxruntime, got cuda"):
        latency_table(net, SHAPE, runtime="onnxruntime", device="cuda")
    assert latency_runtimes.default_runtime("cpu") == "onnxruntime"
    assert latency_runtimes.default_runtime("cuda") == "torch"
    monkeypatch.setattr("fpnas.shipping.onnx.find_spec", lambda name: None)
    assert latency_runtimes.default_runtime("cpu") == "torch"
    with pytest.raises(InputError, match=r"pip install 'fpnas\[onnx\]'"):
        latency_table(net, SHAPE, runtime="onnxruntime")


# -------------------------------------------------------------------------------------------------------------- the fit


def test_a_fit_finds_factor_and_constant() -> None:
    sums = [1.0, 2.0, 3.5, 5.0, 8.0]
    found = fitted(sums, [0.9 * ms + 0.25 for ms in sums])
    assert (found.factor, found.constant, found.networks) == (pytest.approx(0.9), pytest.approx(0.25), 5)
    # A constant below 0 would give small networks less than no time: then the factor alone.
    found = fitted(sums, [1.5 * ms - 0.5 for ms in sums])
    assert found.constant == 0
    assert 1.2 < found.factor < 1.5
    assert fitted([2.0, 2.0], [3.0, 3.0]) == Fit(1.5, 0.0, 2)
    assert fitted([], []) == fitted([0.0], [1.0]) == Fit()


def test_whole_networks_take_factor_times_sum_plus_constant(net: Supernet, tmp_path: Path) -> None:
    plain = latency_table(net, SHAPE, cache=tmp_path, timer=Clock(), networks=0)
    sums = Latency(net, SHAPE, plain)
    names = distinct_operations(net, operation_sites(net, SHAPE))
    table = LatencyTable.from_json(
        {**plain.to_json(), "fits": {LatencyTable.key(names): {"factor": 0.9, "constant": 12.5, "networks": 8}}}, "here"
    )
    latency = Latency(net, SHAPE, table)
    for arch in itertools.islice(every_arch(net), 0, None, 7):
        assert latency.of(arch) == pytest.approx(0.9 * sums.of(arch) + 12.5)
        rows = arch_latency(net, arch, SHAPE, table)
        assert sum(ms for _, _, ms in rows) == pytest.approx(latency.of(arch))
    assert latency.bounds() == pytest.approx(tuple(0.9 * ms + 12.5 for ms in sums.bounds()))
    assert latency.digest != sums.digest
    again = Latency(net, SHAPE, LatencyTable.from_json(json.loads(json.dumps(latency.used.to_json())), "run"))
    assert again.digest == latency.digest
    # Of another space and input it says nothing.
    other = LatencyTable.from_json({**plain.to_json(), "fits": {"0": {"factor": 0.9}}}, "here")
    assert Latency(net, SHAPE, other).digest == sums.digest


@pytest.mark.parametrize("fit", [{"factor": 0}, {"factor": -1.0}, {"constant": -1.0}, {"constant": float("nan")}, 3])
def test_fits_of_unknown_origin_are_checked(fit: object) -> None:
    good = {"format": "fpnas-latency-1", "batch_size": 1, "operations": {"a": 1.5}}
    with pytest.raises(InputError, match="here: fits"):
        LatencyTable.from_json({**good, "fits": {"a": fit}}, "here")


def test_the_networks_of_a_fit_are_timed_whole(net: Supernet, tmp_path: Path) -> None:
    """A clock for which a network takes 3 times its operations, and 0.5 s."""
    sums: list[float] = []

    class Known(Clock):
        def __call__(self, run: Callable[[], object]) -> float:
            took = super().__call__(run)
            if not shell_spread:
                return took
            at = (self.calls - 1 - before) % len(sums)
            return 3 * sums[at] / 1000 + 0.5

    clock, before, shell_spread = Known(), 0, False
    original = shell.spread

    def spread(latency: Latency, count: int) -> tuple[list[Arch], list[float]]:
        nonlocal before, shell_spread
        archs, found = original(latency, count)
        sums.extend(found)
        before, shell_spread = clock.calls, True
        assert len(set(archs)) == len(archs) <= count
        assert found == [latency.of(arch) for arch in archs]
        assert np.ptp(found) > 0
        return archs, found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shell, "spread", spread)
        table = latency_table(net, SHAPE, cache=tmp_path, timer=clock)
    (fit,) = table.fits.values()
    assert (fit.factor, fit.constant) == (pytest.approx(3.0), pytest.approx(500.0))

"""Parts of networks to be timed by themselves in onnxruntime, as they run within a network.

onnxruntime rewrites a graph before it runs it: it fuses activations and sums into convolutions, and keeps images in
blocks of channels or with the channels last. A part by itself would be brought into that layout and back each time. So
each part stands between two convolutions, as in a network; all are rewritten together; then the two are cut off, and
what is left is run as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fpnas.shipping.int8 import EIGHT, prepared, quantised
from fpnas.shipping.onnx import OPSET, PACKAGES, needed
from fpnas.shipping.onnx_graph import IR_VERSION, Called, OnnxGraph, Unwritten, exported

Runnable = tuple[Callable[..., Any], tuple[Any, ...]]
"""What to call, and with what."""

WIDTH = 16
"""Channels on the far side of the convolutions around a part."""

NARROW = 8
"""Below so many channels an input is an image: a network's first, which no convolution makes."""

_CONVOLUTIONS = ("Conv", "FusedConv", "QLinearConv", "NhwcFusedConv")
_RANGES = {"Relu": (0.0, 4.0), "Sigmoid": (0.0, 1.0), "HardSigmoid": (0.0, 1.0), "Softmax": (0.0, 1.0)}
"""Of activations, made up; all others are in (-4, 4)."""


@dataclass(frozen=True)
class _Part:
    inputs: list[str]
    stubs: list[bool]
    output: str
    stub: bool


class Pieces:
    """Runs parts and whole networks in onnxruntime.

    Args:
        threads: within an operation.
        int8: quantise weights and activations, with ranges made up.
    """

    def __init__(self, threads: int, int8: bool) -> None:
        self.runtime, self.onnx = needed("onnxruntime", *PACKAGES), needed("onnx")
        self.threads, self.int8 = threads, int8
        self.copies = 1 if threads == 1 else 4
        """How often a session runs its part at a time: several share the waking of threads, as a network's parts do."""

    def parts(self, runnables: Sequence[Runnable]) -> list[Runnable]:
        """Each part as a session and its inputs; a part that is fused into others, or does nothing, runs nothing."""
        model, parts, values = self._together(runnables)
        rewritten = self._rewritten(model)
        cuts = [_cut(rewritten.graph, part) for part in parts]
        seen = self._seen(rewritten, sorted({name for names, _ in cuts for name in names}), values)
        return [self._piece(rewritten, names, output, seen) for names, output in cuts]

    def network(self, network: nn.Module, shape: Sequence[int]) -> Runnable:
        """A whole network as a session, as it would run in a user's program, and its input."""
        content = self.file(network, shape)
        session = self.session(content)
        images = np.random.default_rng(0).standard_normal(tuple(shape), dtype=np.float32)
        return lambda *_: session.run(None, {"images": images}), ()

    def file(self, network: nn.Module, shape: Sequence[int]) -> bytes:
        """The ONNX file of a network; `shape` is that of its images, N x C x H x W."""
        graph = OnnxGraph()
        try:
            model = graph.model([("images", shape)], [graph.module(network, ["images"])])
        except Unwritten:
            model = exported(network, (torch.zeros(tuple(shape)),))
            first = model.graph.input[0].name
            for node in model.graph.node:
                node.input[:] = ["images" if name == first else name for name in node.input]
            model.graph.input[0].name = "images"
        return (self._quantised(model) if self.int8 else model).SerializeToString()

    def alone(self, part: Runnable) -> bytes | None:
        """A part as a file of its own, with images as they are on both sides; None where it does nothing."""
        graph = OnnxGraph()
        function, arguments = part
        inputs = {f"x{at}": tensor.shape for at, tensor in enumerate(_tensors(arguments))}
        output = _written(graph, function, arguments, list(inputs))
        if not graph.nodes:
            return None
        model = graph.model(list(inputs.items()), [output])
        return (self._quantised(model) if self.int8 else model).SerializeToString()

    def idle(self) -> Runnable:
        """A session that does nothing, to be subtracted from the others."""
        return self._bound(self.onnx.load_from_string(self.idle_file()), {"x": np.zeros(1, dtype=np.float32)}, ["y"])

    def idle_file(self) -> bytes:
        """The file of that session."""
        make, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        ends = [[make.make_tensor_value_info(name, kind, [1])] for name in ("x", "y")]
        graph = make.make_graph([make.make_node("Identity", ["x"], ["y"])], "idle", *ends)
        opset = make.make_opsetid("", OPSET)
        return make.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION).SerializeToString()

    def session(self, content: bytes, *, as_it_is: bool = False, kept: Path | None = None) -> Any:
        """A session of a file; `as_it_is`: not rewritten again; `kept`: where to write what it was rewritten to."""
        options = self.runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        # Threads that wait for more would take the processor from the session that is timed next.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if as_it_is:
            options.graph_optimization_level = self.runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if kept is not None:
            options.optimized_model_filepath = str(kept)
        return self.runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    # --------------------------------------------------------------------------------------------- all parts in one

    def _together(self, runnables: Sequence[Runnable]) -> tuple[Any, list[_Part], dict[str, Any]]:
        """One graph of all parts, each between convolutions, and values of its inputs."""
        graph = OnnxGraph()
        random = np.random.default_rng(0)
        parts: list[_Part] = []
        values: dict[str, Any] = {}

        def drawn(*shape: int) -> Any:
            return random.standard_normal(shape, dtype=np.float32)

        for number, (function, arguments) in enumerate(runnables):
            graph.prefix = f"part{number}."
            made = _outcome(function, arguments)
            tensors = list(_tensors(arguments))
            stubs = [tensor.dim() == 4 and tensor.shape[1] >= NARROW for tensor in tensors]
            inputs, given = [f"part{number}.input{at}" for at in range(len(tensors))], list[str]()
            for name, tensor, stub in zip(inputs, tensors, stubs, strict=True):
                count, *rest = tensor.shape
                values[name] = drawn(count, WIDTH, *rest[1:]) if stub else drawn(*tensor.shape)
                weight = graph.weight(drawn(rest[0], WIDTH, 1, 1) / 4) if stub else ""
                given.append(graph.node("Conv", name, weight) if stub else name)
            output = _written(graph, function, arguments, given)
            stub = made.dim() == 4
            if stub:
                output = graph.node("Conv", output, graph.weight(drawn(WIDTH, made.shape[1], 1, 1) / 4))
            elif output in inputs:
                output = graph.node("Identity", output)
            parts.append(_Part(inputs, stubs, output, stub))
        shapes = [(name, value.shape) for name, value in values.items()]
        return graph.model(shapes, [part.output for part in parts]), parts, values

    def _rewritten(self, model: Any) -> Any:
        if self.int8:
            model = self._quantised(model)
        with TemporaryDirectory(prefix="fpnas-latency-") as folder:
            kept = Path(folder) / "rewritten.onnx"
            self.session(model.SerializeToString(), kept=kept)
            return self.onnx.load(kept)

    def _quantised(self, model: Any) -> Any:
        simple = prepared(model.SerializeToString())
        kinds = {name: node.op_type for node in simple.graph.node for name in node.output}
        names = [*kinds, *(value.name for value in simple.graph.input)]
        return quantised(simple, {name: _RANGES.get(kinds.get(name, ""), (-4.0, 4.0)) for name in names}, EIGHT)

    def _seen(self, rewritten: Any, names: Sequence[str], values: Mapping[str, Any]) -> dict[str, Any]:
        """What is in these tensors when the whole runs."""
        seen = {name: values[name] for name in names if name in values}
        inner = [name for name in names if name not in values]
        if inner:
            model = copy.deepcopy(rewritten)
            del model.graph.output[:]
            model.graph.output.extend(self.onnx.ValueInfoProto(name=name) for name in inner)
            session = self.session(model.SerializeToString(), as_it_is=True)
            wanted = [value.name for value in session.get_inputs()]
            seen |= dict(zip(inner, session.run(inner, {name: values[name] for name in wanted}), strict=True))
        return seen

    # ---------------------------------------------------------------------------------------------- one part again

    def _piece(self, rewritten: Any, inputs: Sequence[str], output: str, seen: Mapping[str, Any]) -> Runnable:
        nodes = _between(rewritten.graph, inputs, output)
        if all(node.op_type == "Identity" for node in nodes):
            return lambda *_: None, ()
        make = self.onnx.helper
        repeated, outputs = list[Any](), list[str]()
        made = {name for node in nodes for name in node.output if name}
        for number in range(self.copies):
            for node in nodes:
                again = copy.deepcopy(node)
                again.name = f"{node.name}#{number}"
                for names in (again.input, again.output):
                    names[:] = [f"{name}#{number}" if name in made else name for name in names]
                repeated.append(again)
            outputs.append(f"{output}#{number}")
        read = {name for node in nodes for name in node.input}
        weights = [weight for weight in rewritten.graph.initializer if weight.name in read]
        used = {name: seen[name] for name in inputs if name in read}
        given = [
            make.make_tensor_value_info(name, make.np_dtype_to_tensor_dtype(value.dtype), value.shape)
            for name, value in used.items()
        ]
        ends = [self.onnx.ValueInfoProto(name=name) for name in outputs]
        graph = make.make_graph(repeated, "part", given, ends, weights)
        model = make.make_model(graph, opset_imports=rewritten.opset_import, ir_version=rewritten.ir_version)
        return self._bound(model, used, outputs)

    def _bound(self, model: Any, inputs: Mapping[str, Any], outputs: Sequence[str]) -> Runnable:
        """A session whose inputs are bound once; the tensors that go with it share their memory."""
        session = self.session(model.SerializeToString(), as_it_is=True)
        binding = session.io_binding()
        own = {name: np.ascontiguousarray(value).copy() for name, value in inputs.items()}
        for name, value in own.items():
            binding.bind_ortvalue_input(name, self.runtime.OrtValue.ortvalue_from_numpy(value))
        for name in outputs:
            binding.bind_output(name)

        def run(*_: object) -> list[Any]:
            session.run_with_iobinding(binding)
            return binding.get_outputs()

        return run, tuple(torch.from_numpy(value) for value in own.values())


# --------------------------------------------------------------------------------------------------- from torch to ONNX


def _tensors(arguments: Sequence[Any]) -> Iterator[Tensor]:
    for argument in arguments:
        for one in argument if isinstance(argument, list) else [argument]:
            if isinstance(one, Tensor):
                yield one


@torch.no_grad()
def _outcome(function: Callable[..., Any], arguments: Sequence[Any]) -> Tensor:
    copies = [[one.clone() for one in each] if isinstance(each, list) else each for each in arguments]
    return function(*(one.clone() if isinstance(one, Tensor) else one for one in copies))


def _written(graph: OnnxGraph, function: Callable[..., Any], arguments: Sequence[Any], given: Sequence[str]) -> str:
    """Adds what a part computes of `given`, one name for each tensor; the name of its output."""
    module = getattr(function, "__self__", function)
    left = iter(given)
    if isinstance(module, nn.Module):
        inputs = [[next(left) for _ in one] if isinstance(one, list) else next(left) for one in arguments]
    else:
        module, inputs = Called(function, arguments), list(given)
    try:
        return graph.module(module, inputs)
    except Unwritten:
        handed = tuple(_tensors(arguments)) if isinstance(module, Called) else tuple(arguments)
        model = graph.onnx.compose.add_prefix(exported(module, handed), graph.prefix)
        names = dict(zip((value.name for value in model.graph.input), given, strict=True))
        for node in model.graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]
        graph.nodes += model.graph.node
        graph.weights += model.graph.initializer
        return model.graph.output[0].name


# ------------------------------------------------------------------------------------------------ cutting a graph apart


def _cut(graph: Any, part: _Part) -> tuple[list[str], str]:
    """The tensors behind the convolutions before a part, and before the one behind it."""
    inputs = list(part.inputs)
    for at, stub in enumerate(part.stubs):
        while stub:
            reader = next((node for node in graph.node if inputs[at] in node.input), None)
            if reader is None:
                break  # nothing reads this input
            inputs[at], stub = reader.output[0], reader.op_type not in _CONVOLUTIONS
    output, stub = part.output, part.stub
    while stub:
        maker = next(node for node in graph.node if output in node.output)
        output, stub = maker.input[0], maker.op_type not in _CONVOLUTIONS
    return inputs, output


def _between(graph: Any, inputs: Sequence[str], output: str) -> list[Any]:
    """The nodes that make `output` of `inputs` and constants, in order."""
    wanted, found = {output} - set(inputs), list[Any]()
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            found.append(node)
            wanted |= set(node.input) - set(inputs)
    return found[::-1]

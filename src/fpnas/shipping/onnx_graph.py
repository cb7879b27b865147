"""ONNX graphs of plain modules, written node by node: what torch's exporter would write, in milliseconds.

Batch norms are folded into the convolutions before them. What has no entry here is left to torch's exporter, which
takes seconds a network. `to_onnx` makes the files that ship; these graphs are for timing.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx._symbolic_trace import PH
from torch.fx.proxy import GraphAppendingTracer
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fpnas.shipping.formats import quiet
from fpnas.shipping.onnx import OPSET, needed, quiet_logs

IR_VERSION = 10
"""Of the files; runtimes since 2024 read it."""


class Unwritten(Exception):
    """A module with something that has no entry here."""


class OnnxGraph:
    """Nodes and weights of a graph that grows.

    Args:
        prefix: of all names that it makes.
    """

    def __init__(self, prefix: str = "") -> None:
        self.onnx = needed("onnx")
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds a node; the name of its output."""
        name = f"{self.prefix}{kind.lower()}{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def weight(self, value: Any) -> str:
        """Adds a constant; its name."""
        array = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
        name = f"{self.prefix}weight{len(self.weights)}"
        self.weights.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape), name))
        return name

    def given(self, *tensors: Tensor | None) -> list[str]:
        """Adds those that are there; their names."""
        return [self.weight(tensor) for tensor in tensors if tensor is not None]

    def module(self, module: nn.Module, inputs: Sequence[str | list[str]]) -> str:
        """Adds what a plain module computes of `inputs`, a list where it takes one; the name of its output.

        Raises:
            Unwritten: it does something that has no entry here; the graph is as before.
        """
        before = len(self.nodes), len(self.weights)
        try:
            return self._traced(module, inputs)
        except Unwritten:
            del self.nodes[before[0] :], self.weights[before[1] :]
            raise

    def model(self, inputs: Sequence[tuple[str, Sequence[int]]], outputs: Sequence[str]) -> Any:
        """The onnx.ModelProto; `inputs` are names and shapes of float32 tensors."""
        make, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        given = [make.make_tensor_value_info(name, kind, shape) for name, shape in inputs]
        made = [make.make_tensor_value_info(name, kind, None) for name in outputs]
        graph = make.make_graph(self.nodes, "graph", given, made, self.weights)
        return make.make_model(graph, opset_imports=[make.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def _traced(self, module: nn.Module, inputs: Sequence[str | list[str]]) -> str:
        traced = _graph_of(module, inputs)
        flat = iter([name for one in inputs for name in ([one] if isinstance(one, str) else one)])
        names: dict[fx.Node, Any] = {}

        def known(argument: Any) -> Any:
            return fx.map_arg(argument, names.__getitem__)

        for node in traced.graph.nodes:
            if node.op == "placeholder":
                names[node] = next(flat)
            elif node.op == "output":
                found = known(node.args[0])
                if isinstance(found, list | tuple):
                    (found,) = found
                return str(found)
            elif node.op == "call_module":
                names[node] = self._layer(traced, node, [known(argument) for argument in node.args])
            else:
                write = _WRITERS.get(node.target)
                if write is None:
                    raise Unwritten(str(node.target))
                names[node] = write(self, *known(node.args), **known(node.kwargs))
        raise Unwritten("a module without an output")

    def _layer(self, traced: fx.GraphModule, node: fx.Node, inputs: list[str]) -> str:
        layer = traced.get_submodule(str(node.target))
        if isinstance(layer, nn.BatchNorm2d):
            before = node.args[0]
            # Folded into the convolution, if nothing else reads that; it has written it already.
            if isinstance(before, fx.Node) and _is_conv(traced, before) and len(before.users) == 1:
                return inputs[0]
            raise Unwritten("a batch norm by itself")
        if isinstance(layer, nn.Conv2d):
            return self._conv(layer, _norm_after(traced, node), inputs[0])
        if isinstance(layer, nn.Linear):
            return self.node("Gemm", *inputs, *self.given(layer.weight, layer.bias), transB=1)
        if isinstance(layer, nn.Identity | nn.Dropout):
            return inputs[0]
        write = _LAYERS.get(type(layer))
        if write is None or (isinstance(layer, nn.GELU) and layer.approximate != "none"):
            raise Unwritten(type(layer).__name__)
        return write(self, *inputs)

    def _conv(self, conv: nn.Conv2d, norm: nn.BatchNorm2d | None, x: str) -> str:
        if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            raise Unwritten("a padding other than with zeros")
        weight, bias = conv.weight, conv.bias
        if norm is not None:
            mean, variance = norm.running_mean, norm.running_var
            assert mean is not None
            assert variance is not None
            weight, bias = fuse_conv_bn_weights(weight, bias, mean, variance, norm.eps, norm.weight, norm.bias)
        return self.node(
            "Conv",
            x,
            *self.given(weight, bias),
            group=conv.groups,
            kernel_shape=list(conv.kernel_size),
            strides=list(conv.stride),
            pads=[*conv.padding, *conv.padding],
            dilations=list(conv.dilation),
        )


class Called(nn.Module):
    """A function as a module, called with `arguments`, of which the tensors are its inputs."""

    def __init__(self, function: Callable[..., Any], arguments: Sequence[Any]) -> None:
        super().__init__()
        self.function, self.arguments = function, arguments

    def forward(self, *tensors: Tensor) -> Tensor:
        """The function's result."""
        left = iter(tensors)
        return self.function(*(next(left) if isinstance(one, Tensor) else one for one in self.arguments))

    def traced(self) -> fx.GraphModule:
        """As a graph with an input for each tensor, which `fx.symbolic_trace` can't tell of a star.

        Raises:
            Unwritten: the function can't be followed.
        """
        graph = fx.Graph()
        tracer = GraphAppendingTracer(graph)
        count = sum(isinstance(one, Tensor) for one in self.arguments)
        try:
            made: Any = self(*(fx.Proxy(graph.placeholder(f"x{at}"), tracer) for at in range(count)))
            graph.output(made.node)
        except Exception as error:  # whatever the function does with what fx hands it
            raise Unwritten(f"a function that fx can't follow: {error}") from error
        return fx.GraphModule({}, graph)


def exported(module: nn.Module, inputs: tuple[Any, ...]) -> Any:
    """The onnx.ModelProto that torch's exporter writes of a module: for what `OnnxGraph` can't write."""
    with quiet(), quiet_logs():
        program = torch.export.export(module.eval(), inputs)
        found = torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False)
    assert found is not None
    return found.model_proto


# ------------------------------------------------------------------------------------------------------ what is written


def _graph_of(module: nn.Module, inputs: Sequence[str | list[str]]) -> fx.GraphModule:
    if isinstance(module, fx.GraphModule):
        return module
    if isinstance(module, Called):
        return module.traced()
    if not any(True for _ in module.children()):  # a layer by itself: as the one layer of a network
        module = nn.Sequential(module)
    # fx sees into lists whose length it is told.
    names = inspect.signature(module.forward).parameters
    lists = {name: [PH] * len(one) for name, one in zip(names, inputs, strict=False) if not isinstance(one, str)}
    try:
        return fx.symbolic_trace(module, concrete_args=lists or None)
    except Exception as error:  # whatever the forward does with what fx hands it
        raise Unwritten(f"a forward that fx can't follow: {error}") from error


def _is_conv(traced: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(traced.get_submodule(str(node.target)), nn.Conv2d)


def _norm_after(traced: fx.GraphModule, node: fx.Node) -> nn.BatchNorm2d | None:
    users = list(node.users)
    if len(users) != 1 or users[0].op != "call_module":
        return None
    layer = traced.get_submodule(str(users[0].target))
    return layer if isinstance(layer, nn.BatchNorm2d) else None


def _axes(graph: OnnxGraph, axes: Iterable[int]) -> str:
    return graph.weight(np.array(list(axes), dtype=np.int64))


def _swish(graph: OnnxGraph, x: str) -> str:
    return graph.node("Mul", x, graph.node("Sigmoid", x))


def _gelu(graph: OnnxGraph, x: str) -> str:
    half, root = graph.weight(np.float32(0.5)), graph.weight(np.float32(2**0.5))
    erf = graph.node("Erf", graph.node("Div", x, root))
    return graph.node("Mul", half, graph.node("Mul", x, graph.node("Add", erf, graph.weight(np.float32(1)))))


def _unary(kind: str, **attributes: Any) -> Callable[..., str]:
    def write(graph: OnnxGraph, x: str, inplace: bool = False) -> str:
        del inplace
        return graph.node(kind, x, **attributes)

    return write


def _binary(kind: str) -> Callable[..., str]:
    def write(graph: OnnxGraph, first: Any, second: Any) -> str:
        return graph.node(kind, *(x if isinstance(x, str) else graph.weight(np.float32(x)) for x in (first, second)))

    return write


def _mean(graph: OnnxGraph, x: str, dim: Any, keepdim: bool = False) -> str:
    axes = [dim] if isinstance(dim, int) else list(dim)
    return graph.node("ReduceMean", x, _axes(graph, axes), keepdims=int(keepdim))


def _stack(graph: OnnxGraph, tensors: Sequence[str], dim: int = 0) -> str:
    axes = _axes(graph, [dim])
    return graph.node("Concat", *(graph.node("Unsqueeze", x, axes) for x in tensors), axis=dim)


def _getitem(graph: OnnxGraph, x: str, index: Any) -> str:
    """x[3]; x[:, :, None, None]; x[..., None, None]."""
    if isinstance(index, int):
        return graph.node("Gather", x, graph.weight(np.int64(index)), axis=0)
    if isinstance(index, tuple) and index[0] is ... and all(one is None for one in index[1:]):
        return graph.node("Unsqueeze", x, _axes(graph, range(1 - len(index), 0)))
    if isinstance(index, tuple) and all(one is None or one == slice(None) for one in index):
        return graph.node("Unsqueeze", x, _axes(graph, [at for at, one in enumerate(index) if one is None]))
    raise Unwritten(f"[{index}]")


def _addcmul(graph: OnnxGraph, x: str, first: str, second: str) -> str:
    return graph.node("Add", x, graph.node("Mul", first, second))


_relu, _sigmoid = _unary("Relu"), _unary("Sigmoid")
_hardsigmoid = _unary("HardSigmoid", alpha=1 / 6, beta=0.5)

_LAYERS: dict[type[nn.Module], Callable[[OnnxGraph, str], str]] = {
    nn.ReLU: _relu,
    nn.SiLU: _swish,
    nn.GELU: _gelu,
    nn.Sigmoid: _sigmoid,
    nn.Hardswish: _unary("HardSwish"),
    nn.Hardsigmoid: _hardsigmoid,
}

_WRITERS: dict[Any, Callable[..., str]] = {
    operator.add: _binary("Add"),
    torch.add: _binary("Add"),
    operator.mul: _binary("Mul"),
    operator.getitem: _getitem,
    torch.addcmul: _addcmul,
    torch.stack: _stack,
    torch.mean: _mean,
    F.relu: _relu,
    F.hardsigmoid: _hardsigmoid,
    "mean": _mean,
    "sigmoid": _sigmoid,
    "softmax": lambda graph, x, dim: graph.node("Softmax", x, axis=dim),
}

"""The graph of a module with the parts that no trace can follow left whole, and an input that the module takes."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn

from fpnas.elastic.checks import blamed, does_not_trace, stays_whole, why_not_traced
from fpnas.elastic.tokens import DotProductAttention
from fpnas.errors import InputError

SIZES = (224, 32, 64, 28, 16, 96, 128, 160, 192, 256, 299)


class Tracer(fx.Tracer):
    """Follows a module down to torch's layers and attention; `whole` are the ids of other modules to be left alone."""

    def __init__(self, whole: frozenset[int] = frozenset()) -> None:
        super().__init__()
        self.record_stack_traces = True
        self.whole = whole

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        del module_qualified_name
        return id(m) in self.whole or isinstance(m, DotProductAttention) or stays_whole(m)


class Graphs(NamedTuple):
    """A module's graphs: layers may run in one mode alone, as auxiliary classifiers do."""

    eval: fx.Graph
    training: fx.Graph


def traced(module: nn.Module) -> tuple[Graphs, dict[str, str]]:
    """The module's graphs and the parts left whole, outermost: name -> why.

    Raises:
        SupernetError: the module's own forward can't be traced.
    """
    why: dict[str, str] = {}
    modes = [(member, member.training) for member in module.modules()]
    while True:
        try:
            tracer = Tracer(frozenset(id(module.get_submodule(name)) for name in why))
            graphs = Graphs(tracer.trace(module.eval()), tracer.trace(module.train()))
            break
        except Exception as error:  # whatever a forward raises under a symbolic trace
            name, part = blamed(module, error)
            if part is module or name in why:
                raise does_not_trace(module, error) from error
            why[name] = why_not_traced(module, error)
        finally:
            for member, mode in modes:
                member.training = mode
    called = {str(node.target) for graph in graphs for node in graph.nodes if node.op == "call_module"}
    return graphs, {name: reason for name, reason in why.items() if name in called}


def runnable(module: nn.Module, input_shape: tuple[int, ...] | None) -> tuple[nn.Module, Tensor]:
    """A copy in eval mode and two examples that it takes, of `input_shape` or of the first usual shape that runs.

    Both know shapes alone (device "meta"), unless the module's forward asks for values.

    Raises:
        InputError: none runs.
    """
    shapes = list(_usual(module)) if input_shape is None else [input_shape]
    failed = "none, and no layer that shows one"
    for copy in (_on_meta(module), deepcopy(module).eval()):
        like = next(copy.parameters(), torch.empty(()))
        for shape in shapes:
            example = torch.zeros(2, *shape, device=like.device, dtype=like.dtype)
            try:
                with torch.no_grad():
                    copy(example)
                return copy, example
            except Exception as error:  # whatever a forward raises for a wrong shape
                name, part = blamed(copy, error)
                reason = str(error).splitlines()[0] if str(error) else repr(error)
                failed = f"{shape}, at which {name!r} ({type(part).__name__}) fails: {reason}"
    fix = "give input_shape=(channels, height, width)" if input_shape is None else "use a size that it can take"
    raise InputError("an input shape that the network takes", failed, fix)


def _on_meta(module: nn.Module) -> nn.Module:
    memo: dict[int, Any] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        empty = tensor.detach().to("meta")
        memo[id(tensor)] = nn.Parameter(empty, requires_grad=False) if isinstance(tensor, nn.Parameter) else empty
    return deepcopy(module, memo).eval()


def _usual(module: nn.Module) -> Iterator[tuple[int, ...]]:
    """The size that timm says, then usual ones, with the channels of the first layer that has weights."""
    for config in (getattr(module, "pretrained_cfg", None), getattr(module, "default_cfg", None)):
        if isinstance(config, dict) and config.get("input_size"):
            yield tuple(config["input_size"])
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            yield from ((layer.in_channels, size, size) for size in SIZES)
            return
        if isinstance(layer, nn.Linear):
            yield (layer.in_features,)
            return

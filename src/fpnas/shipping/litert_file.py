"""What surrounds litert-torch: its packages, and a graph that suits LiteRT."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx

from fpnas.errors import missing_extra

_aten = torch.ops.aten


def needed(*packages: str, otherwise: str = "") -> Any:
    """Imports packages of the extra `litert`; gives the first of them. `otherwise`: what else may be done.

    Raises:
        InputError: one is missing.
    """
    try:
        with mute():
            modules = [importlib.import_module(package) for package in packages]
    except ImportError as error:
        raise missing_extra("the packages that LiteRT files need", "litert", error, otherwise) from error
    return modules[0]


@contextmanager
def mute() -> Generator[None]:
    """Within it, nothing reaches the terminal: the packages' C++ parts print progress and notes; errors are raised."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        kept = [(number, os.dup(number)) for number in (1, 2)]
        try:
            for number, _ in kept:
                os.dup2(nowhere.fileno(), number)
            yield
        finally:
            for number, copy in kept:
                os.dup2(copy, number)
                os.close(copy)


def suited(network: Any) -> Any:
    """An exported graph in which whole maps needn't be transposed: LiteRT's have their channels last.

    Means over positions keep their four axes until they are flattened; softmax is taken over the last axis; and of
    stacked gates one is selected before it gets the axes of a map. What is added as a product is two operations.
    """
    graph: fx.Graph = network.graph
    for node in list(graph.nodes):
        if node.target is _aten.mean.dim and len(node.args) == 2 and sorted(d % 4 for d in node.args[1]) == [2, 3]:
            with graph.inserting_after(node):
                flat = graph.call_function(_aten.flatten.using_ints, (node, 1))
            node.replace_all_uses_with(flat, delete_user_cb=lambda user, flat=flat: user is not flat)
            node.args = (*node.args, True)
        if node.target is _aten.softmax.int and node.args[1] != -1:
            values, axis, *rest = node.args
            with graph.inserting_before(node):
                turned = graph.call_function(_aten.transpose.int, (values, axis, -1))
            with graph.inserting_after(node):
                back = graph.call_function(_aten.transpose.int, (node, axis, -1))
            node.replace_all_uses_with(back, delete_user_cb=lambda user, back=back: user is not back)
            node.args = (turned, -1, *rest)
        if node.target is _aten.addcmul.default and not node.kwargs:
            total, one, other = node.args
            with graph.inserting_before(node):
                product = graph.call_function(_aten.mul.Tensor, (one, other))
                node.replace_all_uses_with(graph.call_function(_aten.add.Tensor, (total, product)))
        if node.target is _aten.select.int and node.args[1] == 0:
            _select_first(graph, node)
    graph.eliminate_dead_code()
    network.recompile()
    return network


def _select_first(graph: fx.Graph, node: fx.Node) -> None:
    """select(unsqueeze(x, d), 0, i) becomes unsqueeze(select(x, 0, i), d - 1), for each unsqueeze behind axis 0."""
    source: Any = node.args[0]
    axes: list[int] = []
    while source.target is _aten.unsqueeze.default and source.args[1] > 0:
        source, axis = source.args
        axes.append(axis - 1)
    if not axes:
        return
    with graph.inserting_before(node):
        found = graph.call_function(_aten.select.int, (source, *node.args[1:]))
        for axis in reversed(axes):
            found = graph.call_function(_aten.unsqueeze.default, (found, axis))
    node.replace_all_uses_with(found)
    graph.erase_node(node)


@contextmanager
def channels_last_kept(config: Any) -> Generator[None]:
    """Within it, channels stay last wherever they can; the converter by itself counts transposes, not sizes."""
    before = config.layout_optimize_partitioner
    config.layout_optimize_partitioner = "GREEDY"
    try:
        yield
    finally:
        config.layout_optimize_partitioner = before

"""Stochastic depth (Huang et al., 2016) for a plain network, in a copy of its graph that shares its layers.

A residual is an addition of which one operand leads to the other: x + f(x). The copy has a `DropPath` behind each f;
the network itself, and so its state and its file, stays as it is.
"""

from __future__ import annotations

import copy
import operator
import warnings
from typing import Any

import torch
from torch import Tensor, fx, nn

from fpnas.errors import InputError

_ADDITIONS: tuple[Any, ...] = (operator.add, operator.iadd, torch.add, "add", "add_")


class DropPath(nn.Module):
    """In training, each image's values are 0 with probability `rate`, else divided by 1 - rate.

    Draws from torch's global random state, which the loop lends.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = torch.rand((len(x), *[1] * (x.dim() - 1)), device=x.device) >= self.rate
        return x * (kept.to(x.dtype) / (1 - self.rate))


def with_drop_path(network: nn.Module, rate: float) -> nn.Module:
    """A module that runs `network`'s layers and leaves out residual branches at random while in training mode.

    Args:
        network: a `torch.fx.GraphModule`, as `extract` gives, or a module that `torch.fx` can trace.
        rate: of the last residual; that of the i-th of n is rate * i / n.

    Raises:
        InputError: the network can't be traced.
    """
    if isinstance(network, fx.GraphModule):
        graph = copy.deepcopy(network.graph)
    else:
        try:
            graph = fx.Tracer().trace(network)
        except Exception as error:  # whatever a user's forward raises under a symbolic trace
            got = f"{type(error).__name__}: {error}"
            raise InputError("a network that torch.fx can trace, for drop_path", got, "leave drop_path at 0") from error
    branches = list(_residual_branches(graph))
    if not branches:
        warnings.warn("drop_path has no effect: the network has no residuals", stacklevel=2)
    running = fx.GraphModule(network, graph, class_name="WithDropPath")
    for number, (branch, addition) in enumerate(branches, start=1):
        name = f"drop_path_{number}"
        running.add_submodule(name, DropPath(rate * number / len(branches)))
        with graph.inserting_after(branch):
            dropped = graph.call_module(name, (branch,))
        addition.replace_input_with(branch, dropped)
    running.recompile()
    return running


def _residual_branches(graph: fx.Graph) -> list[tuple[fx.Node, fx.Node]]:
    """Each residual's branch and its addition, in the order of the graph."""
    before: dict[fx.Node, frozenset[fx.Node]] = {}
    found: list[tuple[fx.Node, fx.Node]] = []
    for node in graph.nodes:
        inputs = node.all_input_nodes
        before[node] = frozenset(inputs).union(*(before[source] for source in inputs))
        if node.target in _ADDITIONS and len(inputs) == 2:
            one, other = inputs
            if one in before[other]:
                found.append((other, node))
            elif other in before[one]:
                found.append((one, node))
    return found

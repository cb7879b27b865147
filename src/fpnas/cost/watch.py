"""What forward passes of a supernet show: each module's inputs and output, and the functions its own forward calls.

For latency, where more counts than multiply-adds. Which of it is an operation is left to `operations`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_any, tree_map_only

from fpnas.cost.passes import run_one_example
from fpnas.elastic import Supernet
from fpnas.elastic.submodules import Part, dealt, is_leaf, parts_of, showing
from fpnas.space import Option


@dataclass(frozen=True)
class TensorLike:
    """Stands for a tensor: its shape, the batch included (1)."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class FunctionCall:
    """A call of a function of torch, with `TensorLike`s for tensors."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]


@dataclass
class ModuleCall:
    """A call of a module, with `TensorLike`s for tensors.

    Args:
        arch: the architecture in force.
        arguments: those without a name.
        options: those with one.
        callers: the ids of the modules looked at that were running, from the outermost in.
        functions: what its own forward called, unless it is a leaf.
        output: the shape of its output, () where that is no tensor.
    """

    arch: Mapping[str, Option]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    callers: tuple[int, ...]
    functions: list[FunctionCall] = field(default_factory=list[FunctionCall])
    output: tuple[int, ...] = ()

    @property
    def kind(self) -> tuple[Any, ...]:
        """Calls of one kind take equally long."""
        return self.arguments, self.options


class Watch:
    """Looks on while architectures run; everything is by a part's path.

    `calls` holds a part's first call under each architecture, and `first` all its calls in the first forward pass that
    had one.
    """

    def __init__(self, supernet: Supernet) -> None:
        self._supernet = supernet
        self._parts = list(parts_of(Part("", supernet.module)))
        self.calls: dict[str, list[ModuleCall]] = {}
        self.first: dict[str, list[ModuleCall]] = {}

    def run(self, input_shape: tuple[int, ...]) -> None:
        """Architectures that show each part, on one example of `input_shape`, such as (C, H, W)."""
        before = self._supernet.arch
        try:
            for shown in showing(self._supernet.space, self._parts, self.calls):
                self._supernet.select(shown)
                found = _seen(self._supernet, self._parts, input_shape, others_ran=bool(self.calls))
                for part, calls in dealt(self._parts, found, self._supernet.arch):
                    if calls:
                        self.calls.setdefault(part.path, []).append(calls[0])
                        self.first.setdefault(part.path, calls)
        finally:
            self._supernet.select(before)


def _seen(
    supernet: Supernet, parts: list[Part], input_shape: tuple[int, ...], others_ran: bool
) -> dict[int, list[ModuleCall]]:
    """The calls of each module in a forward pass of the architecture in force, by the module's id."""
    found: dict[int, list[ModuleCall]] = {}
    running: list[tuple[nn.Module, ModuleCall]] = []

    def before(module: nn.Module, arguments: Any, options: Any) -> None:
        above = tuple(id(other) for other, _ in running)
        call = ModuleCall(supernet.arch, _without_tensors(arguments), _without_tensors(options), above)
        found.setdefault(id(module), []).append(call)
        running.append((module, call))

    def after(module: nn.Module, arguments: Any, output: Any) -> None:
        del module, arguments
        _, call = running.pop()
        if isinstance(output, Tensor):
            call.output = tuple(output.shape)

    class Functions(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            del types
            result = func(*args, **(kwargs or {}))
            if running and not is_leaf(running[-1][0]) and tree_any(lambda x: isinstance(x, Tensor), result):
                call = FunctionCall(func, _without_tensors(args), _without_tensors(kwargs or {}))
                running[-1][1].functions.append(call)
            return result

    modules = {id(part.module): part.module for part in parts}.values()
    with ExitStack() as undo, Functions():
        for module in modules:
            undo.callback(module.register_forward_pre_hook(before, with_kwargs=True).remove)
            undo.callback(module.register_forward_hook(after).remove)
        run_one_example(supernet, input_shape, others_ran=others_ran)
    return found


def _without_tensors(value: Any) -> Any:
    return tree_map_only(Tensor, lambda tensor: TensorLike(tuple(tensor.shape)), value)

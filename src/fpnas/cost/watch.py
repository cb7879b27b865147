"""What forward passes of a supernet show: each module's inputs and output, and the functions its own forward calls.

For latency, where more counts than multiply-adds. Which of it is an operation is left to `operations`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_any, tree_map_only

from fpnas.cost.parts import is_leaf
from fpnas.cost.passes import run_one_example
from fpnas.elastic import Supernet
from fpnas.space import Option


@dataclass(frozen=True)
class TensorLike:
    """Stands for a tensor: its shape, the batch included (1)."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModuleCall:
    """A call of a module: the architecture in force, and its arguments with `TensorLike`s for tensors."""

    arch: Mapping[str, Option]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class FunctionCall:
    """A call of a function of torch, with `TensorLike`s for tensors."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]


class Watch:
    """Looks on while architectures run; everything is by a module's path.

    `calls` holds a module's first call under each architecture, `repeats` how often it was called in the first forward
    pass that did so, `outputs` the shape of its first output, and `functions` what its own forward called in that
    pass, unless it is a leaf.
    """

    def __init__(self, supernet: Supernet) -> None:
        self._supernet = supernet
        self._paths = dict(supernet.module.named_modules())
        self.calls: dict[str, list[ModuleCall]] = {}
        self.repeats: dict[str, int] = {}
        self.outputs: dict[str, tuple[int, ...]] = {}
        self.functions: dict[str, list[FunctionCall]] = {}

    def run(self, input_shape: tuple[int, ...]) -> None:
        """The architecture in force on one example of `input_shape` (C, H, W)."""
        stack: list[str] = []
        known = set(self.calls)
        began: set[str] = set()

        def enter(path: str) -> Any:
            def before(module: nn.Module, arguments: Any, options: Any) -> None:
                del module
                stack.append(path)
                if path not in known:
                    self.repeats[path] = self.repeats.get(path, 0) + 1
                if path not in began:
                    began.add(path)
                    call = ModuleCall(self._supernet.arch, _without_tensors(arguments), _without_tensors(options))
                    self.calls.setdefault(path, []).append(call)

            return before

        def leave(module: nn.Module, arguments: Any, output: Any) -> None:
            del module, arguments
            path = stack.pop()
            if isinstance(output, Tensor):
                self.outputs.setdefault(path, tuple(output.shape))

        class Functions(TorchFunctionMode):
            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                del types
                result = func(*args, **(kwargs or {}))
                if (
                    stack
                    and stack[-1] not in known
                    and not is_leaf(paths[stack[-1]])
                    and tree_any(lambda x: isinstance(x, Tensor), result)
                ):
                    call = FunctionCall(func, _without_tensors(args), _without_tensors(kwargs or {}))
                    functions.setdefault(stack[-1], []).append(call)
                return result

        functions, paths = self.functions, self._paths
        handles = [m.register_forward_pre_hook(enter(path), with_kwargs=True) for path, m in self._paths.items()]
        handles += [module.register_forward_hook(leave) for module in self._paths.values()]
        try:
            with Functions():
                run_one_example(self._supernet, input_shape)
        finally:
            for handle in handles:
                handle.remove()


def _without_tensors(value: Any) -> Any:
    return tree_map_only(Tensor, lambda tensor: TensorLike(tuple(tensor.shape)), value)

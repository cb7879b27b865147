"""Forward passes, looked at: each module's calls with their inputs and output, the multiply-adds, the functions called.

One recorder for `trace` (FLOPs and parameters) and for `latency`; what the calls mean is theirs. Multiply-adds are read
off the rules of torch's own counter, the kernels that it doesn't see through switched off.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_any, tree_map_only
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from fpnas.elastic import ElasticModule, ElasticStructure, Supernet, Whole
from fpnas.elastic.checks import does_not_run, evaluating, stays_whole
from fpnas.elastic.submodules import Part, dealt, is_leaf, parts_of, showing
from fpnas.space import Option


@dataclass(frozen=True)
class TensorLike:
    """Stands for a tensor: its shape, the batch included (1)."""

    shape: tuple[Any, ...]


@dataclass(frozen=True)
class FunctionCall:
    """A call of a function of torch, with `TensorLike`s for tensors."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]


@dataclass
class Call:
    """A call of a module on a batch of one, with `TensorLike`s for tensors.

    Args:
        arguments: those without a name.
        options: those with one.
        callers: the ids of the recorded modules that were running, from the outermost in.
        output: the shape of its output, batch included; () where that is no tensor.
        positions: see `ElasticModule.positions`; of other modules, the output's elements by channel.
        flops: multiply-adds, without those of other recorded modules; 0 where all modules have rules of their own.
        functions: what its own forward called, unless it is a leaf or a structure.
    """

    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    callers: tuple[int, ...]
    output: tuple[int, ...] = ()
    positions: int = 0
    flops: int = 0
    functions: list[FunctionCall] = field(default_factory=list[FunctionCall])


@contextmanager
def recording(
    supernet: Supernet,
    input_shape: tuple[int, ...],
    input_dtype: torch.dtype | None = None,
    arch: Mapping[str, Option] | None = None,
    *,
    alike: Callable[[Call], object],
    functions: bool = False,
) -> Generator[Iterator[tuple[Mapping[str, Option], Part, list[Call]]]]:
    """Runs architectures on one example of zeros, in eval mode: (architecture, part that runs in it, the part's calls).

    Args:
        supernet: as it was when the block ends.
        input_shape: of the example, such as (C, H, W).
        input_dtype: of the input; by default that of the parameters.
        arch: run this architecture alone; by default as many as show each part.
        alike: equal for calls of a shared module that may be exchanged.
        functions: note the functions that modules call, which takes longer.

    Raises:
        InputError: the supernet can't take the input, or its layers don't fit one another.
        SupernetError: a module runs where its conditions forbid it, or its calls can't be told apart.
    """
    parts = list(parts_of(supernet.module))

    def passes(recorder: _Recorder) -> Iterator[tuple[Mapping[str, Option], Part, list[Call]]]:
        example = supernet.example(input_shape, input_dtype)
        ran: set[str] = set()
        for number, shown in enumerate(showing(supernet.space, parts, ran) if arch is None else (arch,)):
            calls = recorder.run(supernet.select(shown), example, others_ran=number > 0)
            for part, found in dealt(parts, calls, supernet.arch, alike):
                if found:
                    ran.add(part.path)
                yield supernet.arch, part, found

    with ExitStack() as undo, torch.no_grad(), evaluating(supernet), _seen_through(supernet):
        undo.callback(supernet.select, supernet.arch)
        yield passes(_Recorder([part.module for part in parts], functions, undo))


class _Recorder(TorchFunctionMode):
    """Hooks on modules until `undo`, and a mode that notes the functions of torch that a module's own forward calls.

    `running` are the modules at work and their calls, from the outermost in.
    """

    def __init__(self, modules: Iterable[nn.Module], functions: bool, undo: ExitStack) -> None:
        super().__init__()
        distinct = {id(module): module for module in modules}
        self.running: list[tuple[nn.Module, Call]] = []
        self._calls: dict[int, list[Call]] = {}
        self._calling = {i for i, m in distinct.items() if not (is_leaf(m) or isinstance(m, ElasticStructure))}
        self._functions = functions
        self._counts = not all(_has_rules(module) for module in distinct.values())
        for module in distinct.values():
            undo.callback(module.register_forward_pre_hook(self._begins, with_kwargs=True).remove)
            undo.callback(module.register_forward_hook(self._ends).remove)

    def run(self, supernet: Supernet, example: Tensor, others_ran: bool) -> dict[int, list[Call]]:
        """The calls of each module in a forward pass of the architecture in force, by the module's id."""
        self._calls, self.running = {}, []
        counter = _Counter(self.running) if self._counts else nullcontext()
        noting = self if self._functions else nullcontext()
        with noting, counter:
            try:
                supernet(example)
            except Exception as error:  # whatever a user's forward raises
                shape = tuple(example.shape[1:])
                raise does_not_run(supernet.module, error, supernet.arch, shape, others_ran) from error
        return self._calls

    def _begins(self, module: nn.Module, arguments: Any, options: Any) -> None:
        callers = tuple(id(other) for other, _ in self.running)
        call = Call(_without_tensors(arguments), _without_tensors(options), callers)
        self._calls.setdefault(id(module), []).append(call)
        self.running.append((module, call))

    def _ends(self, module: nn.Module, arguments: Any, output: Any) -> None:
        positions = _positions(module, arguments, output)  # what that calls of torch is none of the callers'
        _, call = self.running.pop()
        call.positions, call.flops = positions, call.flops // 2  # torch counts two for each
        if isinstance(output, Tensor):
            call.output = tuple(output.shape)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        module, call = self.running[-1] if self.running else (None, None)
        if call is not None and id(module) in self._calling and tree_any(lambda x: isinstance(x, Tensor), result):
            call.functions.append(FunctionCall(func, _without_tensors(args), _without_tensors(kwargs or {})))
        return result


class _Counter(TorchDispatchMode):
    """Adds up the FLOPs of the module which is running, by the rules of torch's own counter. That one also takes apart
    each operation that has none: in a large supernet that takes seconds, and was done before it came here."""

    def __init__(self, running: list[tuple[nn.Module, Call]]) -> None:
        super().__init__()
        self._running = running

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        rule = flop_registry.get(func.overloadpacket)
        if rule is not None and self._running:
            self._running[-1][1].flops += rule(*args, **kwargs, out_val=result)
        return result


def _without_tensors(value: Any) -> Any:
    if type(value) is tuple and len(value) == 1 and isinstance(value[0], Tensor):  # as most are, and much quicker
        return (TensorLike(tuple(value[0].shape)),)
    return tree_map_only(Tensor, lambda tensor: TensorLike(tuple(tensor.shape)), value) if value else value


def _has_rules(module: nn.Module) -> bool:
    """Whether a module's multiply-adds are known without a counter, which takes as long again as the pass itself: those
    of fpnas's own modules, and of torch's that have no weights."""
    kind = type(module).__module__
    weights = module.parameters(recurse=stays_whole(module))
    ours = kind.startswith("fpnas.") and not isinstance(module, Whole)
    return ours or (kind.startswith("torch.nn") and next(weights, None) is None)


def _positions(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> int:
    if isinstance(module, ElasticModule):
        return module.positions(inputs, output)
    if not isinstance(output, Tensor) or output.dim() < 2:
        return 0
    return output.numel() // max(1, output.shape[-1 if isinstance(module, nn.Linear | nn.LayerNorm) else 1])


def multiply_adds(network: nn.Module, example: Tensor) -> int:
    """Of a plain network in a forward pass in eval mode, by torch's own counter."""
    training = network.training
    with torch.no_grad(), _seen_through(network), FlopCounterMode(display=False) as counter:
        network.eval()(example)
    network.train(training)
    return counter.get_total_flops() // 2  # torch counts two for each


@contextmanager
def _seen_through(module: nn.Module) -> Generator[None]:
    """Kernels that torch's counter doesn't see through are off within; the slow switches only where needed."""
    members = list(module.modules())
    with ExitStack() as undo:
        undo.enter_context(sdpa_kernel(SDPBackend.MATH))
        if any(isinstance(member, nn.MultiheadAttention) for member in members):
            undo.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
            torch.backends.mha.set_fastpath_enabled(False)
        if any(isinstance(member, nn.RNNBase) for member in members):
            for backend in cast("list[Any]", [torch.backends.mkldnn, torch.backends.cudnn]):
                undo.callback(setattr, backend, "enabled", backend.enabled)
                backend.enabled = False
        yield

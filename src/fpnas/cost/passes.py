"""One forward pass, looked at: what each module saw in each call, and the multiply-adds that it did itself.

Multiply-adds are read off torch's own counter, kernels of its own that the counter doesn't know switched off. What
the calls mean for a table of costs is left to `trace`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from fpnas.elastic import ElasticModule, Supernet
from fpnas.elastic.checks import does_not_run, evaluating, stays_whole


@dataclass(frozen=True)
class Call:
    """A call of a module in a forward pass of a batch of one.

    Args:
        output_shape: of the example; () where the output is no tensor.
        positions: see `ElasticModule.positions`; of other modules, the output's elements by channel.
        flops: multiply-adds, without those of other modules that were looked at.
        callers: the ids of such modules that were running, from the outermost in.
    """

    output_shape: tuple[int, ...]
    positions: int
    flops: int
    callers: tuple[int, ...]


class _Counter(TorchDispatchMode):
    """The FLOPs so far, by the rules of torch's own counter, which also takes apart each operation that has none: in a
    large supernet that takes seconds, and what can be taken apart was so before it came here."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        rule = flop_registry.get(func.overloadpacket)
        if rule is not None:
            self.total += rule(*args, **kwargs, out_val=result)
        return result


@dataclass
class _Stack:
    """The modules that are running, by id: where the counter stood when each began, and what its inner ones did."""

    counter: _Counter
    running: list[int] = field(default_factory=list[int])
    starts: list[int] = field(default_factory=list[int])
    inner: list[int] = field(default_factory=lambda: [0])

    def push(self, module: nn.Module) -> None:
        self.running.append(id(module))
        self.starts.append(self.counter.total)
        self.inner.append(0)

    def pop(self) -> int:
        """What the module that ends did itself."""
        self.running.pop()
        spent = self.counter.total - self.starts.pop()
        own = spent - self.inner.pop()
        self.inner[-1] += spent
        return own // 2  # torch counts two for a multiply-add


@contextmanager
def watching(
    supernet: Supernet,
    modules: Collection[nn.Module],
    input_shape: tuple[int, ...],
    input_dtype: torch.dtype | None,
) -> Generator[Callable[[bool], dict[int, list[Call]]]]:
    """A function that runs the architecture in force, in eval mode, and gives the calls of each of `modules` by id.

    Its argument says whether another architecture has run at this input: then it isn't the input's shape that an error
    is about. It raises `InputError` where the network doesn't take the input or its layers don't fit one another.
    """
    calls: dict[int, list[Call]] = {}
    counter = _Counter()
    stack = _Stack(counter)

    def before(module: nn.Module, inputs: Any) -> None:
        del inputs
        stack.push(module)

    def after(module: nn.Module, inputs: Any, output: Any) -> None:
        own = stack.pop()
        shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
        call = Call(shape, _positions(module, inputs, output), own, tuple(stack.running))
        calls.setdefault(id(module), []).append(call)

    def run(others_ran: bool) -> dict[int, list[Call]]:
        calls.clear()
        with _countable(supernet), nullcontext() if known else counter:
            run_one_example(supernet, input_shape, input_dtype, others_ran)
        return dict(calls)

    known = all(_has_rules(module) for module in modules)
    with ExitStack() as undo:
        for module in modules:
            undo.callback(module.register_forward_pre_hook(before).remove)
            undo.callback(module.register_forward_hook(after).remove)
        yield run


def run_one_example(
    supernet: Supernet,
    input_shape: tuple[int, ...],
    input_dtype: torch.dtype | None = None,
    others_ran: bool = False,
) -> None:
    """The architecture in force on one example of zeros, in eval mode, for what hooks can see of it.

    Args:
        supernet: left as it was.
        input_shape: of the example.
        input_dtype: by default that of the parameters.
        others_ran: whether another architecture has run at this input: then it isn't its shape that an error is about.

    Raises:
        InputError: the network doesn't take the input, or its layers don't fit one another.
    """
    example = supernet.example(input_shape, input_dtype)
    try:
        with torch.no_grad(), evaluating(supernet):
            supernet(example)
    except Exception as error:  # whatever a user's forward raises
        raise does_not_run(supernet.module, error, supernet.arch, input_shape, others_ran) from error


def _has_rules(module: nn.Module) -> bool:
    """Whether a module's multiply-adds are known without a counter, which takes as long again as the pass itself: those
    of fpnas's own modules, and of torch's that have no weights."""
    kind = type(module).__module__
    weights = module.parameters(recurse=stays_whole(module))
    return kind.startswith("fpnas.") or (kind.startswith("torch.nn") and next(weights, None) is None)


def _positions(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> int:
    if isinstance(module, ElasticModule):
        return module.positions(inputs, output)
    if not isinstance(output, Tensor) or output.dim() < 2:
        return 0
    return output.numel() // max(1, output.shape[-1 if isinstance(module, nn.Linear | nn.LayerNorm) else 1])


@contextmanager
def _countable(module: nn.Module) -> Generator[None]:
    """Switches off the kernels that torch's counter doesn't see through, the slow switches only where needed."""
    members = list(module.modules())
    fast = torch.backends.mha
    onednn, cudnn = cast(Any, torch.backends.mkldnn), cast(Any, torch.backends.cudnn)
    before = fast.get_fastpath_enabled(), onednn.enabled, cudnn.enabled
    try:
        if any(isinstance(member, nn.MultiheadAttention) for member in members):
            fast.set_fastpath_enabled(False)
        if any(isinstance(member, nn.RNNBase) for member in members):
            onednn.enabled = cudnn.enabled = False
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        fast.set_fastpath_enabled(before[0])
        onednn.enabled, cudnn.enabled = before[1:]

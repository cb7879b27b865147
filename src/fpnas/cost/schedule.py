"""Forward passes of a supernet as operations in the order of the exported graph, with the tensors alive at each."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from fpnas.cost.liveness import Schedule, scheduled
from fpnas.cost.written import Event, Frame, Stored, padded_numel, variants
from fpnas.elastic import ElasticLayer, ElasticStructure, Supernet, Whole
from fpnas.elastic.checks import does_not_run, evaluating
from fpnas.elastic.dims import resolve
from fpnas.elastic.submodules import Condition, Part, parts_of, showing
from fpnas.errors import SupernetError
from fpnas.space import Option
from fpnas.streams import generator

RANDOM = 8
"""Random architectures that are run beside those that show each part; they come last."""


@dataclass(frozen=True)
class Pass:
    """A forward pass of one architecture."""

    arch: Mapping[str, Option]
    schedule: Schedule


def passes(
    supernet: Supernet,
    input_shape: tuple[int, ...],
    input_dtype: torch.dtype | None = None,
    arch: Mapping[str, Option] | None = None,
) -> Iterator[Pass]:
    """A forward pass of `arch`; by default passes that between them show each operation, with and without the sums
    around it, and then random ones.

    Raises:
        InputError: the supernet can't take the input.
        SupernetError: calls of a shared layer can't be told apart.
    """
    parts = list(parts_of(supernet.module))
    with_sums = [*parts, *_settings(parts)]
    draws, space = generator(0, "schedules"), supernet.space
    random = [[int(torch.randint(n, (), generator=draws)) for n in space.cardinalities] for _ in range(RANDOM)]
    seen: set[str] = set()
    example = supernet.example(input_shape, input_dtype)
    with ExitStack() as undo, torch.no_grad(), evaluating(supernet):
        undo.callback(supernet.select, supernet.arch)
        recorder = _Recorder(supernet, parts, undo)
        if arch is not None:
            yield recorder.run(arch, example)
            return
        for shown in showing(space, with_sums, seen):
            yield recorder.run(shown, example)
            seen |= {part.path for part in with_sums if part.path not in seen and part.runs(supernet.arch)}
        for codes in random:
            yield recorder.run(space.decode(codes), example)


def _settings(parts: Sequence[Part]) -> Iterator[Part]:
    """Parts under each setting of which operations or what is alive at them hang: with and without the sums of a
    structure; and other operators, with and without the sums of the structures around them."""
    sums = {id(part.module): dim for part in parts if (dim := _sums(part.module)) is not None}
    both = (frozenset({True}), frozenset({False}))
    for part in parts:
        around = [sums[key] for key in part.above if key in sums]
        for own in variants(part.module):
            for values in itertools.product(both, repeat=len(around)):
                yield _under(part, (own, *zip(around, values, strict=True)))
        if id(part.module) in sums:
            yield from (_under(part, ((sums[id(part.module)], value),)) for value in both)


def _under(part: Part, more: Sequence[Condition]) -> Part:
    name = " ".join([part.path, *(str(min(values)) for _, values in more)])
    return Part(name, part.module, (*part.conditions, *more), part.above)


def _sums(module: nn.Module) -> Any:
    sums = module.sums if isinstance(module, ElasticStructure) else None
    return None if sums is None else sums[0]


class _Recorder(TorchFunctionMode):
    """Hooks on all modules until `undo`; notes layers that are called, and functions outside of these."""

    def __init__(self, supernet: Supernet, parts: Iterable[Part], undo: ExitStack) -> None:
        super().__init__()
        self._supernet = supernet
        self._parts: dict[int, list[Part]] = {}
        for part in parts:
            self._parts.setdefault(id(part.module), []).append(part)
        self._frames: list[Frame] = []
        self._inside = 0
        weights = (*supernet.parameters(), *supernet.buffers())
        self._weights = {_storage(weight) for weight in weights}
        for module in supernet.module.modules():
            undo.callback(module.register_forward_pre_hook(self._begins, with_kwargs=True).remove)
            undo.callback(module.register_forward_hook(self._ends, with_kwargs=True).remove)

    def run(self, arch: Mapping[str, Option], example: Tensor) -> Pass:
        """A forward pass of one architecture."""
        self._frames, self._inside = [], 0
        self._kept: list[Tensor] = []  # so that no two tensors share an address
        self._stored: dict[int, Stored] = {}
        self._events: list[Event] = []
        self._calls: dict[str, int] = {}
        self._supernet.select(arch)
        with self:
            try:
                self._supernet(example)
            except SupernetError:
                raise
            except Exception as error:  # whatever a user's forward raises
                raise does_not_run(self._supernet.module, error, arch, tuple(example.shape[1:]), False) from error
        schedule = scheduled(self._events, self._stored)
        self._kept = []
        return Pass(self._supernet.arch, schedule)

    def _begins(self, module: nn.Module, arguments: Any, options: Any) -> None:
        del arguments, options
        if self._inside or _is_layer(module):
            self._inside += 1
            return
        part = self._part(module)
        number = self._calls.get(part.path, 0) if part else 0
        if part is not None:
            self._calls[part.path] = number + 1
        self._frames.append(Frame(module, part, number))

    def _ends(self, module: nn.Module, arguments: Any, options: Any, output: Any) -> None:
        if not self._inside:
            self._frames.pop()
            return
        self._inside -= 1
        if self._inside:
            return
        part, arch = self._part(module), self._supernet.arch
        inputs, outputs = self._tensors((arguments, options)), self._tensors(output)
        reads, writes = [self._seen(x) for x in inputs], [self._seen(y) for y in outputs]
        if set(writes) <= set(reads):
            return  # an identity, or a dropout
        path = (part or self._owners()[-1].part or Part("", module)).path
        if isinstance(module, ElasticLayer):
            for dim, keys in ((module.width, reads[:1]), (module.makes, writes)):
                for key in keys:
                    if dim is not None:
                        self._stored[key].of_width(dim, arch, path)
        elif next(module.parameters(recurse=False), None) is not None:  # its widths are fixed
            for key in (*reads, *writes):
                self._stored[key].of_width(1, arch, path)
        if not isinstance(module, ElasticLayer) or module.makes is None:
            self._hand_on(reads, writes)
        for written in writes:
            self._stored[written].maker = self._stored[written].maker or module
        padded = padded_numel(module, inputs[0]) if inputs else None
        self._note(Frame(module, part, self._call_of(part)), module, None, reads, writes, padded)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self._inside and self._frames and isinstance(result, Tensor | tuple | list):
            outputs = self._tensors(result)
            inputs = self._tensors((args, kwargs or {}))
            reads, writes = [self._seen(x) for x in inputs], [self._seen(y) for y in outputs]
            if writes and not set(writes) <= set(reads):
                self._hand_on(reads, writes)
                self._note(self._frames[-1], None, func, reads, writes)
        return result

    def _owners(self) -> list[Frame]:
        """The parts at work, from the outermost in."""
        return [frame for frame in self._frames if frame.part is not None]

    def _call_of(self, part: Part | None) -> int:
        if part is None:
            return 0
        number = self._calls.get(part.path, 0)
        self._calls[part.path] = number + 1
        return number

    def _note(
        self,
        frame: Frame,
        layer: nn.Module | None,
        function: Any,
        reads: list[int],
        writes: list[int],
        padded: int | None = None,
    ) -> None:
        owners = self._owners()
        if frame.part is None:  # within one that is taken whole
            frame = owners[-1]
        around = itself = frame.part.conditions if frame.part else ()
        for own in owners:
            happens = _sums(own.module)
            if happens is not None:
                condition = (happens, frozenset({bool(resolve(happens, self._supernet.arch))}))
                around = (*around, condition)
                itself = (*itself, condition) if own is frame else itself
        self._events.append(Event(frame, itself, around, layer, function, reads, writes, padded))

    def _hand_on(self, reads: list[int], writes: list[int]) -> None:
        """What a function makes is as wide as what it reads, as a rule; other passes say where it isn't."""
        for written in writes:
            for read in reads:
                for dim, multiple in self._stored[read].widths.items():
                    self._stored[written].of_width(dim, self._supernet.arch, *multiple.paths)

    def _seen(self, tensor: Tensor) -> int:
        key = _storage(tensor)
        if key not in self._stored:
            self._stored[key] = Stored(tensor.numel())
            self._kept.append(tensor)
        return key

    def _tensors(self, value: Any) -> list[Tensor]:
        found = [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]
        return [tensor for tensor in found if tensor.numel() and _storage(tensor) not in self._weights]

    def _part(self, module: nn.Module) -> Part | None:
        """The module's part that is called now."""
        group = self._parts.get(id(module), [])
        if len(group) <= 1:
            return group[0] if group else None
        above = tuple(id(frame.module) for frame in self._frames)
        here = [part for part in group if part.above == above and part.runs(self._supernet.arch)]
        if len(here) != 1:
            got = f"{' and '.join(repr(part.path) for part in group)}, one layer"
            raise SupernetError("calls of a shared layer that can be told apart", got, "call it under one name")
        return here[0]


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # pyright: ignore[reportPrivateUsage]


def _is_layer(module: nn.Module) -> bool:
    """Whether a call of it is one operation of the exported graph."""
    if isinstance(module, ElasticLayer):
        return not isinstance(module, Whole)
    return type(module).__module__.startswith("torch.nn") and next(module.children(), None) is None

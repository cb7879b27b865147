"""Operations to be called alone: their names, and how to make each as a plain module, a sum or a call of a function.

The names are the keys of latency tables, so they say all that decides the time: kinds, arguments and input sizes.
Which operations there are is `operations`'s.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map_only

from fpnas.cost.recorder import FunctionCall, TensorLike
from fpnas.elastic import ElasticLayer, ElasticModule, ElasticStructure, Supernet, initialise
from fpnas.elastic.dims import Dim, choices_in, resolve
from fpnas.elastic.submodules import is_leaf
from fpnas.space import Option
from fpnas.streams import generator

Runnable = tuple[Callable[..., Any], tuple[Any, ...]]
"""What to call, and with what."""

Build = Callable[[Mapping[str, Option], int, torch.device], Runnable]
"""(architecture, batch size, device) -> something to call, with fresh weights, in eval mode and channels_last."""

Shape = tuple[Dim, ...]
"""Of one example."""

Inputs = tuple[Shape | list[Shape | None] | None, ...]
"""Positional arguments: a tensor's shape, or a list of them; None for None."""


CALL = "call of the network"
"""The name of the operation that a network without a layer is."""

Template = tuple[str, tuple[Dim, ...], Build]
"""Of an operation: its name with a place for the value of each `Dim`, these, and how it is made."""


def of_module(supernet: Supernet, module: nn.Module, inputs: Inputs) -> Template:
    """A module of the supernet: an elastic layer, a plain one, or a module that holds such but switches nothing."""
    name = _Name()
    given = [f"[{name.shapes(one)}]" if isinstance(one, list) else name.shapes([one]) for one in inputs]
    text = f"{name.module(module)} on {', '.join(given)}"
    return text, tuple(name.dims), partial(_module, supernet, module, inputs)


def of_sum(shape: Shape) -> Template:
    """The sum of two tensors."""
    name, like = _Name(), TensorLike((1, *shape))
    return f"add on {name.shapes([shape])}", tuple(name.dims), partial(_call, FunctionCall(torch.add, (like, like), {}))


def of_function(call: FunctionCall) -> Template:
    """A call of one of torch's functions, at the shapes that were seen."""
    named = [*((None, value) for value in call.arguments), *call.options.items()]
    shapes = [item.shape[1:] for item in flat([value for _, value in named]) if isinstance(item, TensorLike)]
    others = [(key, value) for key, value in named if not isinstance(value, TensorLike | list)]
    told = ", ".join(str(value) if key is None else f"{key}={value}" for key, value in others)
    function = getattr(call.function, "__name__", type(call.function).__name__)
    return _escaped(f"{function}({told}) on {_Name().shapes(shapes)}"), (), partial(_call, call)


def of_empty_network() -> Template:
    """A network without a layer: what calling one costs by itself."""
    return CALL, (), _empty_network


def flat(arguments: Sequence[Any]) -> Iterator[Any]:
    """The arguments, those in lists one by one."""
    for argument in arguments:
        if isinstance(argument, list | tuple):
            yield from argument
        else:
            yield argument


def elastic_members(module: nn.Module) -> list[ElasticModule]:
    """Those within a module, itself included."""
    return [member for member in module.modules() if isinstance(member, ElasticModule)]


class _Name:
    """Collects a name with places for values, each `Dim` once."""

    def __init__(self) -> None:
        self.dims: list[Dim] = []

    def place(self, dim: Dim) -> str:
        """The text of a value: its own, or a place for it."""
        if not choices_in(dim):
            return str(resolve(dim, {}))
        if dim not in self.dims:
            self.dims.append(dim)
        return f"{{{self.dims.index(dim)}}}"

    def module(self, module: nn.Module) -> str:
        """Kinds and arguments, outside in."""
        if isinstance(module, ElasticModule):
            # Beside its arguments whatever it was told in whole numbers, such as a stride; a structure's flags decide
            # what its own forward does.
            kinds = (int, bool) if isinstance(module, ElasticStructure) else (int,)
            told = {key: value for key, value in vars(module).items() if type(value) in kinds and key[0] != "_"}
            own = {key: value for key, value in told.items() if key != "training"}
            parts = [f"{key}={self.place(dim)}" for key, dim in {**module.dims, **own}.items()]
            return f"{type(module).__name__}({', '.join(parts)})"
        if is_leaf(module):
            return _escaped(" ".join(repr(module).split()))
        inner = [self.module(child) for child in module.children()]
        if isinstance(module, nn.Sequential):
            return " + ".join(inner)
        return f"{type(module).__name__}({', '.join(inner)})"

    def shapes(self, shapes: Sequence[Shape | None]) -> str:
        """16x28x28, 16x28x28."""
        return ", ".join("none" if shape is None else "x".join(map(self.place, shape)) for shape in shapes)


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


# -------------------------------------------------------------------------------------------------- to be called alone


def _module(
    supernet: Supernet,
    module: nn.Module,
    inputs: Inputs,
    arch: Mapping[str, Option],
    batch_size: int,
    device: torch.device,
) -> Runnable:
    before = supernet.arch
    try:
        supernet.select(arch)
        # What deepcopy finds in its memo it takes for copied: each elastic layer becomes its plain counterpart.
        layers = [member for member in elastic_members(module) if isinstance(member, ElasticLayer)]
        plain: nn.Module = deepcopy(module, {id(layer): layer.extract() for layer in layers})
    finally:
        supernet.select(before)
    plain = plain.to_empty(device=device)
    for tensor in itertools.chain(plain.parameters(), plain.buffers()):
        tensor.detach().fill_(0.5)
    initialise(plain, generator(0, "latency"))
    plain = plain.eval().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    new = _tensors(device)

    def made(shape: Shape | None) -> Tensor | None:
        return None if shape is None else new(batch_size, [resolve(size, arch) for size in shape])

    given = [[made(shape) for shape in one] if isinstance(one, list) else made(one) for one in inputs]
    # In the extracted network leaves are called, and the forward of all else is part of the network's own.
    called = is_leaf(module) and not isinstance(module, ElasticStructure)
    return plain if called else plain.forward, tuple(given)


def _call(call: FunctionCall, arch: Mapping[str, Option], batch_size: int, device: torch.device) -> Runnable:
    """The call on random tensors, whose first axis is the batch where it was 1 in the example."""
    new = _tensors(device)

    def like(seen: TensorLike) -> Tensor:
        first, *rest = seen.shape or (1,)
        return new(batch_size if first == 1 else first, [resolve(size, arch) for size in rest])

    arguments, options = tree_map_only(TensorLike, like, (call.arguments, dict(call.options)))
    return lambda *given: call.function(*given, **options), arguments


def _empty_network(arch: Mapping[str, Option], batch_size: int, device: torch.device) -> Runnable:
    del arch
    graph = fx.Graph()
    graph.output(graph.placeholder("x"))
    return fx.GraphModule({}, graph, class_name="Network").eval(), (torch.zeros(batch_size, device=device),)


def _tensors(device: torch.device) -> Callable[[int, Sequence[int]], Tensor]:
    """Makes random ones, images in channels_last as `ImageData.normalize` has them."""
    draws = torch.Generator(device).manual_seed(0)

    def new(first: int, rest: Sequence[int]) -> Tensor:
        made = torch.randn((first, *rest), generator=draws, device=device)
        return made.contiguous(memory_format=torch.channels_last) if made.dim() == 4 else made

    return new

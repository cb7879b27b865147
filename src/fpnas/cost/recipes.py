"""Operations by name, and how to make one alone: a plain module, a sum or a function with something to be called on.

The names are the keys of latency tables, so they say all that decides the time: kinds, arguments and input sizes.
Which operations there are is `operations`'s.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map_only

from fpnas.cost.watch import FunctionCall, TensorLike
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


@dataclass(frozen=True)
class Recipe:
    """An operation for any architecture.

    Args:
        template: its name, with a place for the value of each of `dims`.
        dims: the arguments on which it depends.
        build: makes it.
    """

    template: str
    dims: tuple[Dim, ...]
    build: Build = field(compare=False)


def module_recipe(supernet: Supernet, module: nn.Module, inputs: Inputs) -> Recipe:
    """Of a module of the supernet: an elastic layer, a plain one, or a module that holds such but switches nothing."""
    template = _Template()
    given = [f"[{template.shapes(one)}]" if isinstance(one, list) else template.shapes([one]) for one in inputs]
    name = f"{template.module(module)} on {', '.join(given)}"
    return Recipe(name, tuple(template.dims), partial(_module, supernet, module, inputs))


def sum_recipe(shape: Shape) -> Recipe:
    """Of the sum of two tensors."""
    template = _Template()
    name = f"add on {template.shapes([shape])}"

    def build(arch: Mapping[str, Option], batch_size: int, device: torch.device) -> Runnable:
        like = TensorLike((1, *(resolve(size, arch) for size in shape)))
        return _function(FunctionCall(torch.add, (like, like), {}), arch, batch_size, device)

    return Recipe(name, tuple(template.dims), build)


def function_recipe(call: FunctionCall) -> Recipe:
    """Of a call of one of torch's functions, at the shapes that were seen."""
    given = [*call.arguments, *call.options.values()]
    shapes = [item.shape[1:] for item in flat(given) if isinstance(item, TensorLike)]
    others = [str(value) for value in call.arguments if not isinstance(value, TensorLike | list)]
    others += [f"{key}={value}" for key, value in call.options.items() if not isinstance(value, TensorLike | list)]
    name = getattr(call.function, "__name__", type(call.function).__name__)
    text = f"{name}({', '.join(others)}) on {_Template().shapes(shapes)}"
    return Recipe(_escaped(text), (), partial(_function, call))


def network_recipe() -> Recipe:
    """Of a network without a layer: what calling one costs by itself."""
    return Recipe("call of the network", (), _network)


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


class _Template:
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
    new = _Tensors(device)

    def made(shape: Shape | None) -> Tensor | None:
        return None if shape is None else new(batch_size, [resolve(size, arch) for size in shape])

    given = [[made(shape) for shape in one] if isinstance(one, list) else made(one) for one in inputs]
    # In the extracted network leaves are called, and the forward of all else is part of the network's own.
    called = is_leaf(module) and not isinstance(module, ElasticStructure)
    return plain if called else plain.forward, tuple(given)


def _function(call: FunctionCall, arch: Mapping[str, Option], batch_size: int, device: torch.device) -> Runnable:
    """The call on random tensors, whose first axis is the batch where it was 1 in the example."""
    del arch
    new = _Tensors(device)

    def like(seen: TensorLike) -> Tensor:
        first, *rest = seen.shape or (1,)
        return new(batch_size if first == 1 else first, rest)

    arguments, options = tree_map_only(TensorLike, like, (call.arguments, dict(call.options)))
    return lambda *given: call.function(*given, **options), arguments


def _network(arch: Mapping[str, Option], batch_size: int, device: torch.device) -> Runnable:
    del arch
    graph = fx.Graph()
    graph.output(graph.placeholder("x"))
    return fx.GraphModule({}, graph, class_name="Network").eval(), (torch.zeros(batch_size, device=device),)


class _Tensors:
    """Random ones, images in channels_last as `ImageData.normalize` has them."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._generator = device, torch.Generator(device).manual_seed(0)

    def __call__(self, first: int, rest: Sequence[int]) -> Tensor:
        made = torch.randn((first, *rest), generator=self._generator, device=self._device)
        return made.contiguous(memory_format=torch.channels_last) if made.dim() == 4 else made

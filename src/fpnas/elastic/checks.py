"""What can be wrong with a user's module as a supernet, found when it is built, and said with the layer's name.

Without an input: choices of one name that differ, choices that no layer reads, options that change nothing, parameters
that layers share, a forward that no trace can follow. With one: widths that don't match, in architectures that between
them take each option of each choice, and each pair of choices apart.
"""

from __future__ import annotations

import itertools
import linecache
import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fpnas.elastic.base import ElasticLayer, ElasticModule
from fpnas.elastic.dims import Dim, choices_in, resolve, separate
from fpnas.errors import InputError, SupernetError
from fpnas.space import Arch, Choice, SearchSpace


def choices_read(module: nn.Module) -> dict[str, Choice]:
    """The choices that elastic modules within `module` read, in order of first appearance.

    Raises:
        SupernetError: a name is used for two different choices.
    """
    read: dict[str, tuple[Choice, str]] = {}
    for name, member in module.named_modules():
        for choice in choices_of(member):
            first, reader = read.setdefault(choice.name, (choice, name))
            if first != choice:
                got = f"two of {choice.name!r}: {first.options} in {reader!r} and {choice.options} in {name!r}"
                raise SupernetError("one meaning of a choice's name", got, "rename one")
    return {name: choice for name, (choice, _) in read.items()}


def choices_of(module: nn.Module) -> tuple[Choice, ...]:
    """The choices that an elastic module's own arguments read."""
    dims = module.dims.values() if isinstance(module, ElasticModule) else ()
    return tuple(dict.fromkeys(choice for dim in dims for choice in choices_in(dim)))


def refuse_shared_parameters(module: nn.Module) -> None:
    """`SupernetError` where two layers hold one parameter: extraction copies slices, and would part them."""
    holders: dict[int, str] = {}
    seen: set[int] = set()
    for name, member in module.named_modules():
        if isinstance(member, nn.ParameterDict | nn.ParameterList) or id(member) in seen:
            continue
        seen.add(id(member))
        for local, parameter in member.named_parameters(recurse=False):
            path = f"{name}.{local}" if name else local
            if holders.setdefault(id(parameter), path) != path:
                got = f"{holders[id(parameter)]!r} and {path!r}, which are one"
                raise SupernetError("parameters of their own for all layers", got, "share the layer instead")


def warn_of_idle_options(module: nn.Module, space: SearchSpace) -> None:
    """Warns of options of a choice between which no layer can tell: the search would divide its time among equals."""
    whole = [dim for m in module.modules() if isinstance(m, ElasticModule) for dim in m.dims.values()]
    dims = [part for dim in whole for part in separate(dim)]
    for choice in space.choices:
        readers = [dim for dim in dict.fromkeys(dims) if choice in choices_in(dim)]
        columns = [tuple(_column(dim, choice, option) for dim in readers) for option in choice.options]
        for number, column in enumerate(columns):
            first = columns.index(column)
            if first < number:
                pair = f"{choice.options[first]!r} and {choice.options[number]!r}"
                warnings.warn(f"no layer tells the options {pair} of {choice.name!r} apart; remove one", stacklevel=3)


def _column(dim: Dim, choice: Choice, option: Any) -> tuple[Any, ...]:
    """The values of `dim` under an option, over all options of the other choices that it reads."""
    others = [other for other in choices_in(dim) if other != choice]
    picks = itertools.product(*(other.options for other in others))
    names = [other.name for other in others]
    return tuple(resolve(dim, {choice.name: option, **dict(zip(names, pick, strict=True))}) for pick in picks)


def probes(space: SearchSpace) -> Iterator[Arch]:
    """Architectures that take each option once, and each pair of choices at different ends of their options."""
    for number in range(max(space.cardinalities)):
        yield space.decode([min(number, n - 1) for n in space.cardinalities])
    for bit in range((len(space) - 1).bit_length()):
        yield space.decode([(n - 1) * (position >> bit & 1) for position, n in enumerate(space.cardinalities)])


@contextmanager
def evaluating(module: nn.Module) -> Generator[None]:
    """Within it, `module` is in eval mode; afterwards each member is in its own mode again."""
    modes = [(member, member.training) for member in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for member, mode in modes:
            member.training = mode


def check_input(supernet: Any, archs: Iterable[Arch], example: Tensor) -> None:
    """Runs `archs` of a `Supernet` on a batch of one.

    Raises:
        InputError: one doesn't run, with the layer's name.
    """
    with torch.no_grad():
        for number, arch in enumerate(archs):
            try:
                supernet.select(arch)(example)
            except Exception as error:  # whatever a user's forward raises
                raise does_not_run(supernet.module, error, arch, tuple(example.shape[1:]), number > 0) from error


def does_not_run(
    module: nn.Module, error: Exception, arch: Mapping[str, Any], shape: Sequence[int], others_ran: bool
) -> InputError:
    """The error for an architecture that can't be run; where others could be, it isn't for the input's shape."""
    name, layer = blamed(module, error)
    reads = choices_of(layer)
    under = {choice.name: arch[choice.name] for choice in reads} if reads else dict(arch)
    reason = str(error).splitlines()[0] if str(error) else repr(error)
    where = f"{name!r} ({type(layer).__name__}) fails under {under}: {reason}"
    if others_ran:
        fix = "let layers that meet read the same choice of width"
        return SupernetError(f"architectures that all run on an input of {tuple(shape)}", where, fix)
    fix = "use a size that it can take, or correct the layer's widths"
    return InputError("an input shape that the network takes", f"{tuple(shape)}, at which {where}", fix)


def does_not_trace(module: nn.Module, error: Exception) -> SupernetError:
    """The error for a forward that `torch.fx` can't follow."""
    fix = "keep loops and conditions on tensors' values and sizes out of forward"
    return SupernetError("a forward that torch.fx can trace", why_not_traced(module, error), fix)


def why_not_traced(module: nn.Module, error: Exception) -> str:
    """What a trace ended with, and in which member and line."""
    name, layer = blamed(module, error)
    place = f"{name!r} ({type(layer).__name__}{_line(error)})"
    return f"{type(error).__name__} in {place}: {str(error).splitlines()[0] if str(error) else error!r}"


def blamed(module: nn.Module, error: Exception) -> tuple[str, nn.Module]:
    """The innermost member of `module` whose code was running when `error` was raised."""
    names = {id(member): name for name, member in module.named_modules()}
    found = module
    trace = error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and id(owner) in names:
            found = owner
        trace = trace.tb_next
    return names[id(found)] or "the module itself", found


LIBRARIES = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))
"""Where code lies that is not the user's."""


def _line(error: Exception) -> str:
    """Where a user's own code was, as ", file:line: code"; nothing where there is none."""
    found, trace = "", error.__traceback__
    while trace is not None:
        file, number = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        if not file.startswith(LIBRARIES):
            code = linecache.getline(file, number).strip()
            found = f", {Path(file).name}:{number}" + (f": {code}" if code else "")
        trace = trace.tb_next
    return found


def holds_elastic(module: nn.Module) -> bool:
    """Whether an elastic module lies within."""
    return any(isinstance(member, ElasticModule) for member in module.modules())


def stays_whole(module: nn.Module) -> bool:
    """Whether extraction takes a module whole: an elastic layer, or one of torch's own with nothing elastic within."""
    if isinstance(module, ElasticLayer):
        return True
    containers = nn.Sequential | nn.ModuleList | nn.ModuleDict | nn.ParameterList | nn.ParameterDict
    own = type(module).__module__.startswith("torch.nn") and not isinstance(module, containers)
    return own and not holds_elastic(module)

"""`Ram` and `Flash`: what a network needs on a device, in bytes, from tables as FLOPs are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from itertools import takewhile
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn

from fpnas.cost.liveness import Operation
from fpnas.cost.models import FromTables, LayerSum, once, site_params
from fpnas.cost.runtime import kept_bytes, kept_shares
from fpnas.cost.schedule import Pass, passes
from fpnas.cost.tables import MaxCost, Share, greatest_of_shares, grid, sum_of_shares
from fpnas.cost.trace import LayerSite, own_parameters, trace_sites
from fpnas.cost.written import BATCH_NORMS, Place, Stored
from fpnas.elastic import ElasticLayer, Supernet
from fpnas.elastic.dims import Dim, choices_in, resolve
from fpnas.elastic.submodules import Condition
from fpnas.errors import SupernetError, unknown_name
from fpnas.space import Choice, Option

Precision = Literal["int8", "float32"]

ALIGNMENT = 16
"""Bytes of which a tensor takes a whole multiple, as in the arena of TensorFlow Lite Micro."""

UNSEEN = 4
"""Of the passes of random architectures those that the tables are checked with, but not made of."""


class Ram(FromTables[MaxCost]):
    """The most bytes that TensorFlow Lite Micro needs for one image, in the order of the exported LiteRT file.

    At an operation its inputs, its output and what later operations read are alive, such as the input of a residual
    block. Convolutions include the batch norm and the relu behind them. Operations that work number by number, such as
    sums and other activations, write over an input that nobody reads again; swish needs a second map for its sigmoid.
    A strided convolution's pads widen its input where "SAME" padding doesn't do. Each tensor takes a whole multiple of
    16 bytes. On top come the records that the runtime keeps of operators and channels (`fpnas.cost.runtime`).

    It is the greatest of tables over few choices and a sum of such (`MaxCost`), exactly that of the extracted network.

    Args:
        supernet: the supernet.
        input_shape: of one example.
        precision: of the exported file's activations: "int8", a byte each, or "float32".
        input_dtype: of the input; by default that of the parameters. Tokens are torch.int64.

    Raises:
        InputError: the supernet can't take `input_shape`, or an unknown precision.
        SupernetError: what is alive at an operation hangs on other choices than those of the structures around it, so
            that it can't be tabled.

    Example:
        >>> from fpnas import Ram, spaces
        >>> ram = Ram(spaces.tiny(in_channels=1), (1, 28, 28))
        >>> ram.bounds()
        (9488.0, 225424.0)
    """

    def __init__(
        self,
        supernet: Supernet,
        input_shape: tuple[int, ...],
        precision: Precision = "int8",
        input_dtype: torch.dtype | None = None,
    ) -> None:
        space, self.input_shape, self.precision = supernet.space, input_shape, precision
        self.name = _named("bytes of RAM", precision)
        width = width_of(precision)
        seen = list(passes(supernet, input_shape, input_dtype))
        records = sum_of_shares(space, kept_shares((run.schedule.records for run in seen[:-UNSEEN]), width))
        super().__init__(space, greatest_of_shares(space, _shares(seen[:-UNSEEN], width), records))
        codes = torch.tensor([self.space.encode(run.arch) for run in seen])
        wanted = [_needed(run, width) for run in seen]
        if self(codes).tolist() != wanted:
            raise _untabled("the whole network")

    def of(self, arch: Mapping[str, Option]) -> int:
        """The bytes of one architecture."""
        return round(super().of(arch))


def width_of(precision: Precision) -> int:
    """Bytes of a number; `InputError` where there is no precision of that name."""
    if precision not in get_args(Precision):
        raise unknown_name("precision", precision, get_args(Precision))
    return 1 if precision == "int8" else 4


def _named(what: str, precision: Precision) -> str:
    return what if precision == "int8" else f"{what} ({precision})"


def _aligned(elements: Any, width: int) -> Any:
    return np.ceil(np.asarray(elements, dtype=np.float64) * (width / ALIGNMENT)) * ALIGNMENT


def _bytes_alive(operation: Operation, width: int) -> float:
    return float(sum(_aligned(held.numel, width) for held in operation.alive))


def _needed(run: Pass, width: int) -> float:
    alive = max(_bytes_alive(operation, width) for operation in run.schedule.operations)
    return alive + kept_bytes(run.schedule.records, run.arch, width)


def _shares(seen: Sequence[Pass], width: int) -> Iterator[Share]:
    """Each operation's bytes, as a table over the choices on which the tensors hang that are alive at it."""
    variants: dict[tuple[Place, tuple[Condition, ...]], list[Operation]] = {}
    for run in seen:
        for operation in run.schedule.operations:
            variants.setdefault((operation.place, operation.conditions), []).append(operation)
    done: set[object] = set()
    for (place, conditions), found in variants.items():
        if len({len(operation.alive) for operation in found}) > 1:
            raise _untabled(place[0])
        switches = {choice for dim, _ in conditions for choice in choices_in(dim)}
        columns = [
            _size([op.alive[number] for op in found], switches, place[0]) for number in range(len(found[0].alive))
        ]
        key = (frozenset(conditions), tuple(columns))
        if key in done:
            continue
        done.add(key)
        scope = tuple(dict.fromkeys(choice for dim, _ in columns for choice in choices_in(dim)))
        sizes = [_aligned(grid(dim, scope) * float(ratio), width) for dim, ratio in columns]
        yield scope, sum(sizes), conditions


def _size(column: Sequence[Stored], known: set[Choice], where: str) -> tuple[Dim, Fraction]:
    """The width, and its constant multiple, that a tensor's elements are in all passes.

    Of several the one that the nearest layer reads or makes: others may have been equal by chance. Then the one with
    the fewest choices that aren't known to matter anyway.
    """
    others = column[1:]
    fits = [
        d for d, m in column[0].widths.items() if all(d in o.widths and o.widths[d].times == m.times for o in others)
    ]

    def order(dim: Dim) -> tuple[int, int]:
        near = max(_in_common(path, where) for path in column[0].widths[dim].paths)
        return -near, len(set(choices_in(dim)) - known)

    if fits:
        best = min(fits, key=order)
        return best, column[0].widths[best].times
    if len({held.numel for held in column}) > 1:
        raise _untabled(where)
    return 1, Fraction(column[0].numel)


def _in_common(path: str, other: str) -> int:
    """How many modules hold both."""
    pairs = zip(path.split("."), other.split("."), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def _untabled(where: str) -> SupernetError:
    got = f"others in {where!r}" if where else "others in the module itself"
    fix = "set a budget of FLOPs, parameters or flash instead"
    return SupernetError("operations whose memory hangs on the choices around them, for a budget of RAM", got, fix)


class Flash(LayerSum):
    """Bytes of the weights in the exported file.

    A weight takes a byte ("int8") or four ("float32"), a bias always four. A batch norm behind a convolution or a
    linear layer is folded into it, which leaves a bias. Code, graph and scales of the file don't count.

    Args:
        supernet: the supernet.
        input_shape: of one example.
        precision: of the exported file's weights: "int8" or "float32".
        input_dtype: of the input; by default that of the parameters. Tokens are torch.int64.

    Raises:
        InputError: the supernet can't take `input_shape`, or an unknown precision.

    Example:
        >>> from fpnas import Flash, spaces
        >>> flash = Flash(spaces.tiny(in_channels=1), (1, 28, 28))
        >>> flash.bounds()
        (18840.0, 825976.0)
    """

    def __init__(
        self,
        supernet: Supernet,
        input_shape: tuple[int, ...],
        precision: Precision = "int8",
        input_dtype: torch.dtype | None = None,
    ) -> None:
        self.precision, width = precision, width_of(precision)
        self.name = _named("bytes of flash", precision)
        site_bytes = partial(_site_bytes, width=width, folded=_folded(passes(supernet, input_shape, input_dtype)))
        super().__init__(supernet, once(trace_sites(supernet, input_shape, input_dtype=input_dtype)), site_bytes)


def _folded(seen: Iterable[Pass]) -> dict[int, nn.Module]:
    """Batch norm, by its id -> the layer that takes it in."""
    return {id(norm): into for run in seen for norm, into in run.schedule.folded}


def _site_bytes(site: LayerSite, values: Mapping[str, Any], *, width: int, folded: Mapping[int, nn.Module]) -> Any:
    layer = site.layer
    into = folded.get(id(layer))
    if isinstance(layer, BATCH_NORMS) and into is not None:
        # A bias of the layer before takes the norm's in.
        return 0 if getattr(into, "bias", None) is not None else site_params(site, values) * 2
    if isinstance(layer, ElasticLayer):
        vectors = _vectors(layer, values)
        return (site_params(site, values) + vectors * -1) * width + vectors * 4
    return sum(own.numel() * (width if own.dim() > 1 else 4) for own in own_parameters(layer))


def _vectors(layer: ElasticLayer, values: Mapping[str, Any]) -> Any:
    """Parameters of an elastic layer that are biases, or a norm's."""
    if not any(parameter.dim() > 1 for parameter in layer.parameters()):
        return layer.num_params(values)
    if getattr(layer, "bias", None) is None:
        return 0
    name = next(name for name, dim in layer.dims.items() if dim is layer.makes)
    return values[name]


def used_memory(
    supernet: Supernet,
    arch: Mapping[str, Option],
    input_shape: tuple[int, ...],
    input_dtype: torch.dtype | None = None,
) -> dict[str, dict[str, int]]:
    """Of one architecture, for each precision, the bytes that `Ram` and `Flash` count: "ram" and "flash". It need not
    be of a space that these can table; {} where not even one forward pass can be followed."""
    try:
        (run,) = passes(supernet, input_shape, input_dtype, arch)
    except SupernetError:
        return {}
    sites = [site for site in once(trace_sites(supernet, input_shape, arch, input_dtype)) if site.runs(arch)]
    values = [{name: resolve(dim, arch) for name, dim in site.dims.items()} for site in sites]
    known = _folded([run])
    found: dict[str, dict[str, int]] = {}
    for precision in get_args(Precision):
        width = width_of(precision)
        flash = sum(_site_bytes(s, v, width=width, folded=known) for s, v in zip(sites, values, strict=True))
        found[precision] = {"ram": round(_needed(run, width)), "flash": round(float(flash))}
    return found

"""The words of a search: `Choice`, `SearchSpace`, `Arch`. No torch, no networks.

A space is an ordered list of choices; an architecture takes one option of each. Architectures travel in two forms:
`Arch`, by name, for people and files; and *codes*, one option index a choice in the order of the space, for the maths.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from fpnas.errors import InputError, SupernetError, unknown_name

Option = int | float | str
"""What a choice chooses from: plain JSON values, equal to themselves after a round trip."""


@dataclass(frozen=True)
class Choice:
    """One search variable. The part of the name before the last dot is its group: `group3.kernel` is of `group3`.

    Raises:
        SupernetError: no name, no options, or the same option twice.
    """

    name: str
    options: tuple[Option, ...]

    def __post_init__(self) -> None:
        if not self.name or not self.options:
            raise SupernetError("a choice with a name and at least one option", repr(self), "give it both")
        # 8.0 and 8 are equal and hash alike: one spelling, so that JSON and caches can't tell them apart.
        plain = tuple(int(o) if isinstance(o, bool | float) and float(o).is_integer() else o for o in self.options)
        object.__setattr__(self, "options", plain)
        if len(set(self.options)) != len(self.options):
            raise SupernetError(f"distinct options of {self.name!r}", repr(self.options), "remove the repeats")

    @property
    def group(self) -> str:
        """The group that a joint distribution ties this choice to; a name without a dot is a group of its own."""
        return self.name.rpartition(".")[0] or self.name

    def index(self, option: Option) -> int:
        """The index of `option`, or `InputError`."""
        for position, known in enumerate(self.options):
            if known == option and isinstance(known, str) == isinstance(option, str):
                return position
        raise InputError(f"an option of {self.name!r} among {list(self.options)}", repr(option), "choose one of these")


@dataclass(frozen=True)
class Arch(Mapping[str, Option]):
    """An architecture: a frozen, hashable mapping from the name of a choice to the option taken."""

    _options: Mapping[str, Option]

    def __init__(self, options: Mapping[str, Option]) -> None:
        object.__setattr__(self, "_options", MappingProxyType(dict(options)))

    def __getitem__(self, name: str) -> Option:
        return self._options[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._options)

    def __len__(self) -> int:
        return len(self._options)

    def __hash__(self) -> int:
        return hash(frozenset(self._options.items()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self) == dict(other)  # pyright: ignore[reportUnknownArgumentType]

    def __repr__(self) -> str:
        return f"Arch({dict(self._options)})"

    def __reduce__(self) -> tuple[type[Arch], tuple[dict[str, Option]]]:
        return Arch, (dict(self._options),)

    def to_json(self) -> str:
        """One JSON object, choice -> option."""
        return json.dumps(dict(self._options))

    @staticmethod
    def from_json(text: str) -> Arch:
        """The inverse of `to_json`; `InputError` where the text is not an object of plain options."""
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:  # the second: nesting without end
            raise InputError("an architecture as a JSON object", f"no JSON ({error})", "repair the text") from None
        return Arch.from_mapping(value)

    @staticmethod
    def from_mapping(value: object) -> Arch:
        """An `Arch` from an untrusted value, such as parsed JSON."""
        if not isinstance(value, Mapping):
            raise InputError("an object choice -> option", type(value).__name__, "see arch.json of any run")
        for name, option in value.items():  # pyright: ignore[reportUnknownVariableType]
            if not isinstance(name, str) or not isinstance(option, int | float | str):
                raise InputError("plain options (number or text)", f"{name!r}: {option!r}", "see arch.json of any run")
        return Arch(value)  # pyright: ignore[reportUnknownArgumentType]


@dataclass(frozen=True)
class SearchSpace:
    """The ordered choices of a search.

    Raises:
        SupernetError: no choice, or a name twice.
    """

    choices: tuple[Choice, ...]

    def __init__(self, choices: Iterable[Choice]) -> None:
        object.__setattr__(self, "choices", tuple(choices))
        names = [choice.name for choice in self.choices]
        if not names:
            raise SupernetError("at least one choice", "none", "use a Choice as an argument of an elastic layer")
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise SupernetError("distinct names of choices", f"{twice} twice", "rename one of each")

    def __len__(self) -> int:
        return len(self.choices)

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        """The number of options of each choice."""
        return tuple(len(choice.options) for choice in self.choices)

    @cached_property
    def size(self) -> int:
        """The number of architectures, exactly."""
        return math.prod(self.cardinalities)

    @property
    def max_entropy(self) -> float:
        """H0, the entropy in nats of the uniform distribution over the space."""
        return sum(math.log(n) for n in self.cardinalities)

    @cached_property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """The indices of the choices of each group, in order of first appearance."""
        groups: dict[str, list[int]] = {}
        for index, choice in enumerate(self.choices):
            groups.setdefault(choice.group, []).append(index)
        return {name: tuple(indices) for name, indices in groups.items()}

    @cached_property
    def _position(self) -> dict[str, int]:
        return {choice.name: index for index, choice in enumerate(self.choices)}

    def position(self, name: str) -> int:
        """The index of the choice called `name`, or `InputError`."""
        if name not in self._position:
            raise unknown_name("choice", name, self._position)
        return self._position[name]

    def encode(self, arch: Mapping[str, Option]) -> tuple[int, ...]:
        """The codes of an architecture; `InputError` where a choice is missing, unknown, or takes no such option."""
        for name in arch:
            self.position(name)
        missing = [choice.name for choice in self.choices if choice.name not in arch]
        if missing:
            raise InputError(f"an option for each of {len(self)} choices", f"none for {missing[0]!r}", "add it")
        return tuple(choice.index(arch[choice.name]) for choice in self.choices)

    def decode(self, codes: Sequence[int]) -> Arch:
        """The architecture of a row of codes, given as plain integers."""
        if len(codes) != len(self) or any(not 0 <= c < n for c, n in zip(codes, self.cardinalities, strict=False)):
            raise InputError(f"{len(self)} codes below {self.cardinalities}", str(tuple(codes)), "encode() makes them")
        return Arch({choice.name: choice.options[code] for choice, code in zip(self.choices, codes, strict=True)})

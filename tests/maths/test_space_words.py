"""`Choice`, `SearchSpace` and `Arch`: names to codes and back, JSON, equality, groups, and what they refuse."""

from __future__ import annotations

import itertools
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fpnas import Arch, Choice, InputError, SearchSpace
from fpnas.errors import SupernetError

options = st.lists(
    st.one_of(st.integers(-(10**9), 10**9), st.floats(allow_nan=False), st.text(max_size=5)),
    min_size=1,
    max_size=6,
    unique=True,
)
names = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6, unique=True)


Names = list[tuple[str, list[int | float | str]]]


@st.composite
def named_options_and_codes(draw: st.DrawFn) -> tuple[Names, tuple[int, ...]]:
    named = [(name, draw(options)) for name in draw(names)]
    return named, tuple(draw(st.integers(0, len(values) - 1)) for _, values in named)


def space_of(named: Names) -> SearchSpace:
    return SearchSpace(Choice(name, tuple(values)) for name, values in named)


SPACE = SearchSpace(
    [
        Choice("stem", (8, 16)),
        Choice("group1.kernel", (0, 3, 5)),
        Choice("group2.kernel", (3,)),
        Choice("group1.act", ("relu", "swish")),
        Choice("net.block.width", (0.5, 1.0)),
        Choice("net.block.depth", (1, 2, 3)),
    ]
)
ARCH = {
    "stem": 16,
    "group1.kernel": 5,
    "group2.kernel": 3,
    "group1.act": "relu",
    "net.block.width": 0.5,
    "net.block.depth": 2,
}


@given(named_options_and_codes())
def test_codes_architectures_and_json_are_forms_of_one_thing(drawn: tuple[Names, tuple[int, ...]]) -> None:
    named, codes = drawn
    space = space_of(named)
    arch = space.decode(codes)
    assert list(arch.items()) == [(name, values[code]) for (name, values), code in zip(named, codes, strict=True)]
    back = Arch.from_json(arch.to_json())
    assert (back, hash(back)) == (arch, hash(arch))
    assert [type(option) for option in back.values()] == [type(option) for option in arch.values()]
    assert space.encode(arch) == space.encode(back) == codes


def test_by_hand() -> None:
    assert SPACE.encode(ARCH) == (1, 2, 0, 0, 0, 1)
    assert dict(SPACE.decode((1, 2, 0, 0, 0, 1))) == ARCH
    assert json.loads(Arch(ARCH).to_json()) == ARCH
    assert SPACE.encode(dict(reversed(ARCH.items()))) == (1, 2, 0, 0, 0, 1)


def test_size_and_entropy_of_the_uniform_distribution_by_enumeration() -> None:
    every = set(itertools.product(*(range(len(choice.options)) for choice in SPACE.choices)))
    assert len({SPACE.decode(codes) for codes in every}) == len(every) == SPACE.size == 72
    assert SPACE.max_entropy == pytest.approx(math.log(72), abs=1e-12)
    assert SPACE.cardinalities == (2, 3, 1, 2, 2, 3)
    assert len(SPACE) == 6


def test_groups_go_by_the_name_before_the_last_dot_in_order_of_appearance() -> None:
    assert SPACE.groups == {"stem": (0,), "group1": (1, 3), "group2": (2,), "net.block": (4, 5)}
    assert list(SPACE.groups) == ["stem", "group1", "group2", "net.block"]


def test_equality_and_hash() -> None:
    arch, other = Arch(ARCH), Arch(dict(reversed(ARCH.items())))
    assert arch == other == ARCH
    assert hash(arch) == hash(other)
    assert len({arch, other, Arch(ARCH | {"stem": 8})}) == 2
    assert arch != Arch(ARCH | {"stem": 8})
    assert arch != Arch({"stem": 16})
    assert arch != "stem"
    assert SearchSpace(SPACE.choices) == SPACE
    assert SearchSpace(SPACE.choices[::-1]) != SPACE


def test_an_architecture_is_frozen() -> None:
    mine = dict(ARCH)
    arch = Arch(mine)
    mine["stem"] = 8
    assert arch["stem"] == 16
    with pytest.raises(TypeError):
        arch["stem"] = 8  # type: ignore[index]
    with pytest.raises(AttributeError):
        arch._options = {}  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group1.kernal": 3}, r"known choice, got 'group1.kernal'; did you mean 'group1.kernel'"),
        ({"zzz": 3}, r"known choice, got 'zzz'; choose one of: group1.act, "),
        ({"stem": 12}, r"option of 'stem' among \[8, 16\], got 12"),
        ({"stem": "16"}, r"option of 'stem' among \[8, 16\], got '16'"),
        ({"group1.act": 0}, r"option of 'group1.act'"),
    ],
)
def test_encode_refuses(change: dict[str, int | str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SPACE.encode(ARCH | change)


def test_encode_names_a_missing_choice() -> None:
    with pytest.raises(InputError, match=r"each of 6 choices, got none for 'group1.act'"):
        SPACE.encode({name: option for name, option in ARCH.items() if name != "group1.act"})


@pytest.mark.parametrize("codes", [(), (0, 0, 0, 0, 0), (0,) * 7, (2, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, -1)])
def test_decode_refuses(codes: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="6 codes below"):
        SPACE.decode(codes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("", "no JSON"),
        ("[1]", "got list"),
        ("3", "got int"),
        ('{"a": null}', "'a': None"),
        ('{"a": [3]}', r"'a': \[3\]"),
        ('{"a": {"b": 1}}', "plain options"),
    ],
)
def test_from_json_refuses(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Arch.from_json(text)


def test_from_mapping_refuses_names_that_are_no_text() -> None:
    with pytest.raises(InputError, match="3: 4"):
        Arch.from_mapping({3: 4})


@pytest.mark.parametrize(("name", "values"), [("", (1,)), ("a", ()), ("a", (1, 2, 1)), ("a", (1, 1.0))])
def test_a_choice_refuses(name: str, values: tuple[int | float, ...]) -> None:
    with pytest.raises(SupernetError):
        Choice(name, values)


def test_a_space_refuses() -> None:
    with pytest.raises(SupernetError, match="at least one choice"):
        SearchSpace([])
    with pytest.raises(SupernetError, match=r"\['a'\] twice"):
        SearchSpace([Choice("a", (1, 2)), Choice("b", (1,)), Choice("a", (3,))])


def test_errors_are_also_value_errors() -> None:
    with pytest.raises(ValueError, match="choose one of these"):
        SPACE.choices[0].index(3)

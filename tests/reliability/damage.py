"""Damage for files: edits of bytes, values of JSON that nobody expects, headers of arrays that lie.

A `Damage` is a function of a file's bytes that hypothesis draws; it shrinks to the least that still breaks a reader.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Damage = Callable[[bytes], bytes]

EVIL: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    10**30,
    -(10**400),
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../../etc/passwd",
    "<script>alert(1)</script>",
    "\ud800",
    "\0",
    "9" * 5000,
    [],
    [[]],
    {},
    [None],
    {"a": {"b": []}},
)
"""Where JSON may hold them instead of what belongs there."""

EVIL_BYTES = (b"\0" * 4, b"\xff" * 4, b"\xff\xff\xff\x7f", b"\x80", b'"', b"{", b"[" * 2000, b"\n", b"1e999", b"nan")


def edited(content: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    """Applies edits (how, where as a share of the length, which bytes) one after another."""
    for how, where, new in edits:
        at = int(where * len(content))
        match how:
            case "overwrite":
                content = content[:at] + new + content[at + len(new) :]
            case "insert":
                content = content[:at] + new + content[at:]
            case "cut":
                content = content[:at]
            case "drop":
                content = content[:at] + content[at + 4 * len(new) :]
            case _:
                content = content[:at] + content[at : at + 16 * len(new)] * 2 + content[at:]
    return content


def bytes_damage() -> st.SearchStrategy[Damage]:
    """One to four edits anywhere."""
    how = st.sampled_from(["overwrite", "overwrite", "insert", "cut", "drop", "repeat"])
    new = st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(EVIL_BYTES))
    where = st.floats(0, 1, exclude_max=True)
    return st.lists(st.tuples(how, where, new), min_size=1, max_size=4).map(
        lambda edits: lambda content: edited(content, edits)
    )


def with_evil(value: Any, where: list[int], evil: Any) -> Any:
    """A copy of a JSON value in which the node that `where` leads to is `evil`, gone, or has an unknown name."""
    if not where or not isinstance(value, dict | list) or not value:
        return evil
    first, *rest = where
    if isinstance(value, dict):
        key = list(value)[first % len(value)]
        if first >= 1000:  # the key itself
            name = evil if isinstance(evil, str) else "odd"
            return {name if other == key else other: inner for other, inner in value.items()}
        if first >= 900:
            return {other: inner for other, inner in value.items() if other != key}
        return {**value, key: with_evil(value[key], rest, evil)}
    at = first % len(value)
    return [*value[:at], with_evil(value[at], rest, evil), *value[at + 1 :]]


def json_damage() -> st.SearchStrategy[Damage]:
    """JSON, or lines of it, of sound form with one value that isn't what belongs there."""

    def make(given: tuple[list[int], Any, bool]) -> Damage:
        where, evil, lines = given

        def damage(content: bytes) -> bytes:
            parts = content.decode().splitlines() if lines else [content.decode()]
            at = sum(where) % len(parts)
            try:
                parts[at] = json.dumps(with_evil(json.loads(parts[at]), where, evil))
            except ValueError:
                return content[: len(content) // 2]
            return "\n".join(parts).encode()

        return damage

    numbers = st.lists(st.integers(0, 1100), max_size=4)
    return st.tuples(numbers, st.sampled_from(EVIL), st.booleans()).map(make)


def array_damage() -> st.SearchStrategy[Damage]:
    """An .npz of sound form in which one array's header says something else."""
    shapes = ("()", "(0,)", "(1000000000000,)", "(2, 3)", "(-1,)", "(3.5,)", "(10, 10, 10, 10)", "(1e3,)", "x", "(9,)")
    types = ("'|O'", "'<U1'", "'<f8'", "'|u1'", "'<i8'", "'>i4'", "'<M8[s]'", "'<c16'", "'|V9'", "[('a', '<i4')]", "5")
    change = st.one_of(
        st.tuples(st.just("shape"), st.sampled_from(shapes)), st.tuples(st.just("descr"), st.sampled_from(types))
    )
    how = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])

    def make(given: tuple[int, tuple[str, str], int, bool]) -> Damage:
        number, (field, text), compression, keep_data = given

        def damage(content: bytes) -> bytes:
            out = io.BytesIO()
            with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", compression) as new:
                names = old.namelist()
                for name in names:
                    data = old.read(name)
                    if name == names[number % len(names)]:
                        data = _other_header(data, field, text, keep_data)
                    new.writestr(name, data)
            return out.getvalue()

        return damage

    return st.tuples(st.integers(0, 9), change, how, st.booleans()).map(make)


def _other_header(data: bytes, field: str, text: str, keep_data: bool) -> bytes:
    start = 10 + int.from_bytes(data[8:10], "little")
    header = data[10:start].decode().strip()
    at = header.index(f"'{field}': ") + len(field) + 4
    end = header.index(", '", at) if field == "descr" else header.index(")", at) + 1
    changed = (header[:at] + text + header[end:]).ljust(117) + "\n"
    return data[:8] + len(changed).to_bytes(2, "little") + changed.encode() + (data[start:] if keep_data else b"")

"""Damage for files: edits of bytes, values of JSON that nobody expects, headers of arrays that lie.

A `Damage` is a function of a file's bytes. hypothesis draws it, and shrinks it to the least that still breaks a reader;
`drawn` draws it from a plain generator, which is much quicker.
"""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Sequence
from typing import Any, Literal

from hypothesis import strategies as st

Damage = Callable[[bytes], bytes]
Kind = Literal["bytes", "json", "arrays"]

EVIL: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 10**30, -(10**400), 0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "../../etc/passwd", "<script>alert(1)</script>", "\ud800", "\0", "9" * 5000),
    *([], [[]], {}, [None], {"a": {"b": []}}),
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


def with_evil_json(content: bytes, where: list[int], evil: Any, lines: bool) -> bytes:
    """JSON, or lines of it, of sound form with one value that isn't what belongs there; half of what is no JSON."""
    try:
        parts = content.decode().splitlines() if lines else [content.decode()]
        at = sum(where) % len(parts)
        parts[at] = json.dumps(with_evil(json.loads(parts[at]), where, evil))
    except (ValueError, RecursionError, ZeroDivisionError):
        return content[: len(content) // 2]
    return "\n".join(parts).encode()


def with_other_header(content: bytes, number: int, header: tuple[str, str], pack: int, keep_data: bool) -> bytes:
    """An .npz of sound form in which one array's header says something else; half of what is none."""
    out = io.BytesIO()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", pack) as new:
            names = old.namelist()
            for name in names:
                data = old.read(name)
                if name == names[number % len(names)]:
                    data = _other_header(data, *header, keep_data)
                new.writestr(name, data)
    except Exception:  # what damaged archives raise are a dozen kinds
        return content[: len(content) // 2]
    return out.getvalue()


HOW = ("overwrite", "overwrite", "insert", "cut", "drop", "repeat")
SHAPES = ("()", "(0,)", "(1000000000000,)", "(2, 3)", "(-1,)", "(3.5,)", "(10, 10, 10, 10)", "(1e3,)", "x", "(9,)")
TYPES = ("'|O'", "'<U1'", "'<f8'", "'|u1'", "'<i8'", "'>i4'", "'<M8[s]'", "'<c16'", "'|V9'", "[('a', '<i4')]", "5")
HEADERS = [("shape", text) for text in SHAPES] + [("descr", text) for text in TYPES]
PACKS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def damage_of(kinds: Sequence[Kind]) -> st.SearchStrategy[Damage]:
    """As hypothesis draws it: one to four edits anywhere, one value, or one header."""
    new = st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from(EVIL_BYTES))
    edits = st.lists(st.tuples(st.sampled_from(HOW), st.floats(0, 1, exclude_max=True), new), min_size=1, max_size=4)
    numbers = st.lists(st.integers(0, 1100), max_size=4)
    values = st.tuples(numbers, st.sampled_from(EVIL), st.booleans())
    headers = st.tuples(st.integers(0, 9), st.sampled_from(HEADERS), st.sampled_from(PACKS), st.booleans())
    known: dict[Kind, st.SearchStrategy[Damage]] = {
        "bytes": edits.map(lambda given: lambda content: edited(content, given)),
        "json": values.map(lambda given: lambda content: with_evil_json(content, *given)),
        "arrays": headers.map(lambda given: lambda content: with_other_header(content, *given)),
    }
    return st.one_of([known[kind] for kind in kinds])


def drawn(draws: random.Random, kinds: Sequence[Kind], content: bytes, others: Sequence[bytes]) -> bytes:
    """Damaged `content`; edits may bring in parts of `others`."""
    kind = draws.choice(kinds)
    if kind == "json":
        where = [draws.randrange(1100) for _ in range(draws.randrange(5))]
        return with_evil_json(content, where, draws.choice(EVIL), draws.random() < 0.5)
    if kind == "arrays":
        header, pack = draws.choice(HEADERS), draws.choice(PACKS)
        return with_other_header(content, draws.randrange(10), header, pack, draws.random() < 0.5)
    edits: list[tuple[str, float, bytes]] = []
    for _ in range(draws.randint(1, 4)):
        other = draws.choice(others)
        start = draws.randrange(len(other) + 1)
        part = other[start : start + draws.choice((1, 4, 16, 64))] or b"\0"
        new = draws.choice((draws.randbytes(draws.randint(1, 8)), draws.choice(EVIL_BYTES), part))
        edits.append((draws.choice(HOW), draws.random(), new))
    return edited(content, edits)


def _other_header(data: bytes, field: str, text: str, keep_data: bool) -> bytes:
    start = 10 + int.from_bytes(data[8:10], "little")
    header = data[10:start].decode().strip()
    at = header.index(f"'{field}': ") + len(field) + 4
    end = header.index(", '", at) if field == "descr" else header.index(")", at) + 1
    changed = (header[:at] + text + header[end:]).ljust(117) + "\n"
    return data[:8] + len(changed).to_bytes(2, "little") + changed.encode() + (data[start:] if keep_data else b"")

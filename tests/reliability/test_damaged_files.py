"""Every reader, given files that are damaged in all manner of ways: it reads them or refuses them in one clear line.

Nothing else may come out (no other error, no hang, nothing written). One half of the damage is drawn by hypothesis,
which finds the least that breaks a reader, the other is guided by what the reader does. `make test` tries a few hundred
cases, `make soak` 100,000 of each half. What once failed is kept in `KEPT`.
"""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from damage import Damage, damage_of, edited
from guided import explored
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import READERS, Sound, sound_files, try_out

from fpnas.errors import FpnasError
from fpnas.runner.callbacks import steps_logged

CASES = -(-100_000 // len(READERS))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    return sound_files(lambda: tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize("name", READERS)
def test_what_is_sound_is_read(name: str, sound: Sound) -> None:
    folder, _ = sound(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        READERS[name].read(folder)


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, Damage]:
    name = draw(st.sampled_from(sorted(READERS)))
    return name, draw(damage_of(READERS[name].kinds))


@settings(max_examples=250, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=damaged())
def test_damaged_files_are_read_or_refused(case: tuple[str, Damage], sound: Sound) -> None:
    name, damage = case
    try_out(name, damage(sound(name)[1]), sound)


@pytest.mark.soak
@pytest.mark.parametrize("name", READERS)
def test_a_hundred_thousand_damaged_files_are_read_or_refused(name: str, sound: Sound) -> None:
    """In parts that can run alone: so many cases for each reader."""

    @settings(max_examples=CASES, suppress_health_check=list(HealthCheck))
    @given(damage=damage_of(READERS[name].kinds))
    def cases(damage: Damage) -> None:
        try_out(name, damage(sound(name)[1]), sound)

    cases()


@pytest.mark.parametrize("name", READERS)
def test_damage_that_follows_the_reader(name: str, sound: Sound) -> None:
    explored(name, sound, cases=10, seed=0)


@pytest.mark.soak
@pytest.mark.parametrize("name", READERS)
def test_a_hundred_thousand_files_that_follow_the_reader(name: str, sound: Sound) -> None:
    explored(name, sound, cases=CASES, seed=random.SystemRandom().getrandbits(32))


def test_what_leads_somewhere_new_is_kept(sound: Sound) -> None:
    """Mistakes deep in an arch.json are met by those that get so far: the corpus grows, and so do the steps."""
    few, many = (explored("arch.json", sound, cases, seed=1) for cases in (1, 80))
    assert (few.kept, few.cases) == (1, 1)
    assert many.kept > 3
    assert many.steps > few.steps


HUGE = b"[-1" + 400 * b"0" + b"]"

KEPT: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "a broken stream of deflate: zlib.error": ("npz", lambda content: edited(content, BROKEN)),
    "a mean beyond all floats: OverflowError": ("arch.json", lambda content: content.replace(b"[0.5]", HUGE)),
    "an accuracy beyond all floats: OverflowError": (
        "nas-bench-macro json",
        lambda content: content.replace(b"[90.0, ", HUGE[:-1] + b", "),
    ),
    "a checkpoint that is another pickle: KeyError": ("checkpoint", lambda _: _saved({"a": 1})),
    "a column of a table whose name is no text: UnicodeDecodeError": (
        "table parquet",
        lambda content: content.replace(b"kernel", b"k\x80rnel"),
    ),
    "a column of images whose name is no text": ("parquet", lambda content: content.replace(b"label", b"l\x80bel")),
    "a checkpoint whose logs lie outside": (
        "checkpoint",
        lambda _: _saved({"job": {}, "seconds": 0.0, "log_sizes": {"../x": 0}}),
    ),
}
"""Cases that once failed: what was wrong -> the reader, and the damage."""


BROKEN = [("overwrite", 0.12, b"\xff" * 12)]


def _saved(state: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("what", KEPT)
def test_what_once_failed_is_refused(what: str, sound: Sound, tmp_path: Path) -> None:
    name, damage = KEPT[what]
    reader = READERS[name]
    content = damage(sound(name)[1])
    try_out(name, content, sound)
    (tmp_path / reader.file).write_bytes(content)
    with pytest.raises(FpnasError):
        reader.read(tmp_path)


def test_a_log_whose_last_line_is_nested_without_end_tells_of_no_steps(tmp_path: Path) -> None:
    """It ended in a RecursionError."""
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 4}\n' + 20_000 * "[" + "\n")
    assert steps_logged(log) == 5


def test_the_damage_does_damage(sound: Sound) -> None:
    """Most cases change the file, and many are refused: otherwise the above would show nothing."""
    whole = sound("fashion-mnist")[1]
    assert edited(whole, [("overwrite", 0.5, b"\x01\x02")])[: len(whole) // 2] == whole[: len(whole) // 2]
    assert edited(whole, [("cut", 0.5, b"x")]) == whole[: len(whole) // 2]
    assert len(edited(whole, [("insert", 0.0, b"xyz")])) == len(whole) + 3

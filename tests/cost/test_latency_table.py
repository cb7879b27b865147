"""`LatencyTable` in JSON, there and back, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fpnas import InputError, LatencyTable


@given(
    st.dictionaries(st.text(), st.floats(0, 1e9), max_size=5),
    st.integers(1, 1000),
    st.text(max_size=20),
    st.none() | st.integers(1, 64),
)
def test_tables_survive_json(ops: dict[str, float], batch: int, device: str, threads: int | None) -> None:
    table = LatencyTable(ops, batch, device, threads, torch="2.13.0")
    assert LatencyTable.from_json(json.loads(json.dumps(table.to_json())), "here") == table


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "format"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": "1"}, "batch_size"),
        ({"threads": 0}, "threads"),
        ({"operations": [1]}, "operations"),
        ({"operations": {"a": None}}, "operations.a"),
        ({"operations": {"a": float("nan")}}, "operations.a"),
        ({"operations": {"a": -1.0}}, "0 ms or more, got -1 for 'a'"),
        ({"device": "n" * 300}, "device"),
    ],
)
def test_what_is_no_table_is_refused(change: dict[str, object], message: str) -> None:
    good = {"format": "fpnas-latency-1", "batch_size": 1, "operations": {"a": 1.5}}
    assert LatencyTable.from_json(good, "here").operations == {"a": 1.5}
    with pytest.raises(InputError) as caught:
        LatencyTable.from_json({**good, **change}, "here")
    assert message in str(caught.value)
    assert "here" in str(caught.value)
    with pytest.raises(InputError):
        LatencyTable.from_json(3, "here")

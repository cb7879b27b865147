"""Numbers and Markdown as people read them."""

from __future__ import annotations

import math

from fpnas.text import by_group, counted, duration, held_out, lasting, percent, short, table


def test_numbers_are_shown_as_people_write_them() -> None:
    shown = {1_946_192: "1.946 M", 85_830: "85.83 k", 1.5e9: "1.5 G", 9216: "9,216", 12.34567: "12.35", -2e6: "-2 M"}
    assert {value: short(value) for value in shown} == shown
    edges = {
        9999.6: "10 k",
        999_999: "1 M",
        999_950_000: "1 G",
        1234.5: "1,234",
        1234: "1,234",
        -0.0: "0",
        1e-7: "1e-07",
    }
    assert {value: short(value) for value in edges} == edges
    shown = {0.123: "0.123 s", 45: "45 s", 343.4: "5 min 43 s", 12_000: "3 h 20 min"}
    assert {value: duration(value) for value in shown} == shown
    assert [percent(87.254), percent(87.254, 1)] == ["87.25 %", "87.3 %"]
    assert {show(bad) for show in (short, duration, percent) for bad in (math.nan, math.inf)} == {"–"}


def test_one_is_not_many() -> None:
    assert [counted(number, "step") for number in (0, 1, 2400)] == ["0 steps", "1 step", "2,400 steps"]
    assert held_out(1, "test") == "1 held-out image (test)"
    assert held_out(1250, "split") == "1,250 held-out images (split off the training images)"
    assert lasting(1, "look", 600) == "1 look, which makes 600 steps"
    assert lasting(2, "epoch", 1) == "2 epochs, which make 1 step"


def test_options_by_group_and_a_table() -> None:
    assert by_group({"a.kernel": 3, "b": 1, "a.act": "relu"}) == {"a": {"kernel": 3, "act": "relu"}, "": {"b": 1}}
    assert table(["a", "b"], [["1", "2"]]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]

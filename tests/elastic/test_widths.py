"""Channels as segments of widths: what meets becomes one, in the smallest common unit, and is cut where widths end."""

from __future__ import annotations

import pytest

from fpnas.elastic.follow.widths import Layout, Segment, Width, between, fresh, hold, length, resolved, tie


def sizes(layout: Layout) -> list[tuple[int, int]]:
    return [(width.size, unit) for width, unit in resolved(layout)]


def same(one: Layout, other: Layout) -> bool:
    """The same widths in the same units."""
    return resolved(one) == resolved(other)


def test_units_meet_in_their_smallest_common_one() -> None:
    channels, groups, wider = fresh(24), (Segment(Width(6), 4),), (Segment(Width(4), 6),)
    tie(channels, groups, "")
    assert same(channels, groups)
    assert sizes(channels) == [(6, 4)]
    tie(channels, wider, "")
    assert same(channels, wider)
    assert same(groups, wider)
    assert sizes(channels) == [(2, 12)]


def test_a_width_that_meets_two_is_cut_where_the_first_ends() -> None:
    left, right, whole = fresh(8), fresh(16), fresh(24)
    maps: Layout = (Segment(whole[0].width, 9),)
    tie((*left, *right), whole, "")
    assert sizes(whole) == [(8, 1), (16, 1)]
    assert sizes(maps) == [(8, 9), (16, 9)]
    assert same(whole, (*left, *right))


def test_thirds_that_are_one_width_are_cut_together() -> None:
    third = fresh(6)
    tie(fresh(6), third, "")
    whole = (*third, *third, *third)
    other = fresh(18)
    tie(other, whole, "")
    assert sizes(other) == [(6, 1)] * 3
    assert len({width for width, _ in resolved(other)}) == 1


def test_what_cannot_be_one_is_held_with_the_reason() -> None:
    for one, other in ((fresh(8), fresh(9)), ((Segment(Width(2), 4), *fresh(2)), (*fresh(2), Segment(Width(2), 4)))):
        tie(one, other, "they differ")
        assert {width.held for width, _ in (*resolved(one), *resolved(other))} == {"they differ"}


def test_held_stays_held() -> None:
    one, other = fresh(8, "first"), fresh(8)
    tie(other, one, "")
    hold([other], "second")
    assert [width.held for width, _ in resolved(other)] == ["first"]
    tie(other, (*fresh(4), *fresh(4)), "")
    assert [width.held for width, _ in resolved(one)] == ["first", "first"]


@pytest.mark.parametrize(("start", "stop", "expected"), [(0, 24, [(6, 4)]), (8, 24, [(4, 4)]), (8, 12, [(1, 4)])])
def test_a_part_of_the_channels(start: int, stop: int, expected: list[tuple[int, int]]) -> None:
    part = between((Segment(Width(6), 4),), start, stop)
    assert part is not None
    assert sizes(part) == expected
    assert length(part) == stop - start


def test_no_part_within_a_unit() -> None:
    assert between((Segment(Width(6), 4),), 0, 2) is None

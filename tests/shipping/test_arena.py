"""Plans of activations: nothing that is alive at once overlaps, but for what may be written over."""

from __future__ import annotations

import itertools
import random

import pytest

from fpnas.shipping.arena import ALIGNMENT, Step, aligned, planned


def chain(seed: int, count: int = 40) -> tuple[list[Step], dict[int, int]]:
    """Operators that read the last tensor and perhaps an earlier one, of random sizes; some may write over it."""
    rng = random.Random(seed)
    sizes, steps = {0: rng.randrange(1, 500)}, []
    for number in range(1, count):
        over = rng.random() < 0.4
        sizes[number] = sizes[number - 1] if over else rng.randrange(1, 500)
        reads = [number - 1, *([rng.randrange(number)] if rng.random() < 0.3 else [])]
        steps.append(Step(reads, [number], [(number - 1, number, 0)] if over else []))
    return steps, sizes


@pytest.mark.parametrize("seed", range(20))
def test_what_is_alive_at_once_does_not_overlap(seed: int) -> None:
    steps, sizes = chain(seed)
    plan = planned(steps, sizes, [0], [len(steps)])
    assert set(plan.offsets) == set(sizes)
    assert all(place >= 0 and place % ALIGNMENT == 0 for place in plan.offsets.values())
    assert plan.size == max(plan.offsets[each] + aligned(sizes[each]) for each in sizes)
    first = {0: 0} | {written: n for n, step in enumerate(steps) for written in step.writes}
    last = dict(first)
    for number, step in enumerate(steps):
        last |= dict.fromkeys(step.reads, number)
    last[len(steps)] = len(steps)
    allowed = {(read, written) for n, step in enumerate(steps) for read, written, _ in step.over if last[read] == n}
    for one, other in itertools.combinations(sizes, 2):
        if first[one] <= last[other] and first[other] <= last[one] and (one, other) not in allowed:
            apart = plan.offsets[one] + sizes[one] <= plan.offsets[other]
            assert apart or plan.offsets[other] + sizes[other] <= plan.offsets[one]
    assert plan.peak <= plan.size <= 1.05 * plan.peak


def test_a_pad_holds_its_input_at_its_end() -> None:
    """A convolution's output of 64 bytes lies in the last of the 160 that it is padded to."""
    steps = [Step([0], [1]), Step([1], [2], [(1, 2, 96)]), Step([2], [3])]
    plan = planned(steps, {0: 16, 1: 64, 2: 160, 3: 32}, [0], [3])
    assert plan.offsets[1] == plan.offsets[2] + 96
    assert plan.size == plan.peak == 160 + 32


def test_what_is_read_again_is_not_written_over() -> None:
    steps = [Step([0], [1], [(0, 1, 0)]), Step([0, 1], [2], [(0, 2, 0), (1, 2, 0)])]
    plan = planned(steps, dict.fromkeys(range(3), 32), [0], [2])
    assert plan.offsets[1] != plan.offsets[0] == plan.offsets[2]
    assert plan.size == plan.peak == 64

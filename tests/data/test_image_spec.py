"""`ImageSpec`: JSON there and back, the arithmetic of normalization, and what a file of unknown origin may not say."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from fpnas.data import ImageSpec, load
from fpnas.errors import InputError

GOOD = {"image_size": 8, "in_channels": 2, "mean": [0.1, 0.5], "std": [1, 0.25], "classes": ["a", "b"]}


def test_json_there_and_back_and_it_normalizes_like_the_data() -> None:
    data = load("digits", image_size=16)
    spec = ImageSpec.of(data)
    assert torch.equal(spec.normalize(data.heldout.inputs), data.normalize(data.heldout.inputs))
    assert ImageSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert spec.shape == (1, 16, 16)
    assert spec.num_classes == 10


@pytest.mark.parametrize("key", GOOD)
def test_without_a_key_there_is_none(key: str) -> None:
    assert ImageSpec.from_json(GOOD) is not None
    assert ImageSpec.from_json({name: value for name, value in GOOD.items() if name != key}) is None
    assert ImageSpec.from_json({**GOOD, "further": 1}) == ImageSpec.from_json(GOOD)


WRONG: dict[str, list[Any]] = {
    "image_size": [0, 10**9, "8", True],
    "in_channels": [3, 1.5],
    "mean": [[0.1], 0.1, ["a", "b"], [float("nan"), 0.1], [10**400, 0.1]],
    "std": [[0, 1], [-1, 1], [float("inf"), 1]],
    "classes": ["ab", ["a"], [1, 2]],
    "fit": ["squeeze", 1],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_what_cannot_be_is_refused(key: str, value: Any) -> None:
    with pytest.raises(InputError):
        ImageSpec.from_json({**GOOD, key: value})
    with pytest.raises(InputError, match=f"a sound ({key}.*|description) of the images, got"):
        ImageSpec(**{**GOOD, key: value})


def test_made_directly_it_says_what_is_missing_or_unknown() -> None:
    with pytest.raises(InputError, match=r"a sound classes of the images, got .*required"):
        ImageSpec(8, 1, (0.5,), (0.5,))  # type: ignore[call-arg]
    with pytest.raises(InputError, match=r"a sound std.0 of the images, got 0 \(Input should be greater than 0\)"):
        ImageSpec(8, 1, (0.5,), (0,), ("a", "b"))

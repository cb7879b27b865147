"""`Recipe`: its ranges, what it fills in, and that each field tells runs apart."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from typing import Any

import pytest

from fpnas.errors import InputError
from fpnas.train import Recipe

OTHER: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 13,
    "accumulate": 2,
    "sync_batch_norm": True,
    "optimizer": "adamw",
    "lr": 0.3,
    "weight_decay": 0.1,
    "warmup": 0.2,
    "label_smoothing": 0.2,
    "ema": 0.9,
    "crop": "pad",
    "crop_area": 0.5,
    "flip": True,
    "randaugment": 3,
    "random_erasing": 0.2,
    "mixup": 0.2,
    "cutmix": 1.0,
    "drop_path": 0.1,
    "teacher_weight": 0.7,
    "teacher_temperature": 1.0,
}
"""For each field a value that isn't its default."""


def test_each_field_is_in_the_settings_and_tells_runs_apart() -> None:
    usual = Recipe()
    assert {*OTHER, "warmup_epochs"} == {field.name for field in dataclasses.fields(Recipe)}
    seen = [json.dumps(usual.settings())]
    for name, value in OTHER.items():
        settings = usual.with_fields({name: value}).settings()
        assert settings[name] == value
        seen.append(json.dumps(settings))
    assert len(set(seen)) == len(seen)


def test_a_warm_up_in_epochs_is_one_in_shares() -> None:
    """The same settings, so that a run goes on under either."""
    share, epochs = Recipe(warmup=0.1), Recipe(warmup_epochs=3)
    assert epochs.settings() == share.settings()
    assert [epochs.rate(step, 100) for step in range(100)] == [share.rate(step, 100) for step in range(100)]
    for wrong, words in (({"warmup_epochs": 30}, "below the 30"), ({"warmup_epochs": 1, "warmup": 0.2}, "got both")):
        with pytest.raises(InputError, match=words):
            Recipe(**wrong)


def test_what_is_left_open_is_filled_in() -> None:
    for optimizer in ("sgd", "adamw"):
        recipe = Recipe(optimizer=optimizer)
        settings = recipe.settings()
        assert (settings["lr"], settings["weight_decay"]) == (recipe.max_lr, recipe.decay)
    # Filled in late: a change of the optimizer alone brings its own rate along.
    assert Recipe(optimizer="sgd").with_fields({"optimizer": "adamw"}).max_lr < 0.1 < Recipe().max_lr


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        *((name, value) for name in ("epochs", "batch_size", "lr") for value in (-1, 0)),
        ("batch_size", 1),
        *itertools.product(
            ("lr", "weight_decay", "mixup", "cutmix", "teacher_temperature"), (math.nan, math.inf, -1.0)
        ),
        *itertools.product(("warmup", "label_smoothing", "ema", "drop_path"), (math.nan, -0.1, 1.0, 2.0)),
        *itertools.product(("random_erasing", "teacher_weight", "crop_area"), (math.nan, -0.1, 1.1)),
        ("crop_area", 0.0),
        ("teacher_temperature", 0.0),
        ("randaugment", 30),
        ("randaugment", -1),
        ("optimizer", "adam"),
        ("crop", "centre"),
    ],
)
def test_a_field_out_of_range_is_refused_by_name(field: str, wrong: Any) -> None:
    with pytest.raises(InputError, match=rf"expected (a known )?{field}.*, got .*; "):
        Recipe(**{field: wrong})


def test_a_field_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'label_smoothing'"):
        Recipe().with_fields({"label_smothing": 0.1})


def test_the_rate_is_the_cosines_by_hand() -> None:
    """20 steps of which a quarter rise: fifths of the greatest, then cos from 0 to pi over the 15 that are left."""
    recipe = Recipe(lr=0.8, warmup=0.25)
    rates = [recipe.rate(step, 20) for step in range(20)]
    assert rates[:5] == pytest.approx([0.16, 0.32, 0.48, 0.64, 0.8])
    assert rates[5:] == pytest.approx([0.4 + 0.4 * math.cos(math.pi * step / 15) for step in range(15)])
    assert Recipe(lr=1.0, warmup=0.0).rate(0, 1) == 1.0

"""What `--json` prints is what its schema says, and the schemas say enough: each refuses what was changed.

Of bench, export and predict the tests of these commands hold what is printed to the schema (`calling.document`).
"""

from __future__ import annotations

import copy
import json
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jsonschema
import pytest
from calling import SEARCH, Found, call, schema

from fpnas.cli.app import app
from fpnas.spaces import SPACES

COMMANDS = ("spaces", "cost", "evaluate", "search")
PLACES: dict[str, list[Any]] = {"spaces": [0], "cost": [None, ("layers", 0)]}
PLACES["evaluate"] = [None, ("per_class", 0), ("mistakes", 0)]
MAY_BE_ABSENT = {("memory", "cost")}
"""Of networks whose forward pass can't be followed."""
MAY_BE_EMPTY = {("output_shape", "cost"), ("mistakes", "evaluate")}


def printed(command: str, found: Found) -> Any:
    arguments = {
        "spaces": (),
        "cost": (found.folder,),
        "evaluate": (found.folder, "--data", "digits"),
        "search": (*SEARCH[1:], "--dry-run", "--out", "unused"),
    }[command]
    with patch.dict(SPACES, {"tiny": SPACES["tiny"]}, clear=True):  # the large spaces take seconds each
        called = call(command, *arguments, "--json")
    assert not Path("unused").exists()
    assert called.code == 0, called.err
    return json.loads(called.out)


def fits(value: Any, command: str) -> bool:
    return jsonschema.Draft202012Validator(schema(command)).is_valid(value)


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_printed_fits_and_a_key_less_or_more_does_not(command: str, small: Found) -> None:
    jsonschema.Draft202012Validator.check_schema(schema(command))
    document = printed(command, small)
    jsonschema.validate(document, schema(command))
    for place in PLACES.get(command, [None]):
        for name in list(inside(document, place)):
            for change in ("gone", "nothing", "more"):
                damaged = copy.deepcopy(document)
                part = inside(damaged, place)
                if change == "gone":
                    del part[name]
                elif change == "nothing":
                    part[name] = []
                else:
                    part[f"{name}_more"] = 1
                allowed = change == "nothing" and (name, command) in MAY_BE_EMPTY
                allowed |= change == "gone" and (name, command) in MAY_BE_ABSENT
                assert fits(damaged, command) == allowed, (name, change)


def inside(document: Any, place: Any) -> Any:
    if place is None:
        return document
    return document[place] if isinstance(place, int) else document[place[0]][place[1]]


def test_every_command_with_json_has_a_schema() -> None:
    names = {path.name.partition(".")[0] for path in files("fpnas.cli").joinpath("schemas").iterdir()}
    commands = [command.callback.__name__ for command in app.registered_commands if command.callback is not None]
    assert "search" in commands
    assert {name for name in commands if "--json" in call(name, "--help").out} == names


def test_layers_json_is_what_cost_prints(small: Found) -> None:
    layers = json.loads((small.folder / "layers.json").read_text())
    assert layers == printed("cost", small)
    arch = json.loads((small.folder / "arch.json").read_text())
    assert (layers["flops"], layers["params"]) == (arch["flops"], arch["params"])

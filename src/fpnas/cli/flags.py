"""Flags in groups: a command names a dataclass among its parameters, and has a flag for each of its fields."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

Given = dict[str, Any]
"""Of a group's flags those that the command line has, by the names of the fields."""


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """`command` as typer can read it, with the fields of its groups in place of these.

    A group is a dataclass whose fields are annotated as parameters of a command are, or any dataclass `D`, as
    `Annotated[D, {field: typer.Option(...)}]`: then it has flags for these fields, with their types and defaults. With
    `Annotated[Given, D, {...}]` the command gets a dictionary of those that the command line has.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[Any, list[str]]] = {}
    parts: dict[str, list[str]] = {}
    hints = get_type_hints(command, include_extras=True)
    for name, parameter in inspect.signature(command).parameters.items():
        hint = hints[name]
        kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        if kind == Given:
            fields = {field.name: field for field in dataclasses.fields(marks[0])}
            own = get_type_hints(marks[0])
            parts[name] = list(marks[1])
            parameters += [_optional(fields[field], own[field], option) for field, option in marks[1].items()]
            continue
        options = marks[0] if marks else None
        if not dataclasses.is_dataclass(kind):
            parameters.append(parameter.replace(annotation=hint, kind=parameter.KEYWORD_ONLY))
            continue
        own = get_type_hints(kind, include_extras=True)
        shown: dict[str, Any] = (
            own if options is None else {n: Annotated[_plain(own[n]), o] for n, o in options.items()}
        )
        fields = [field for field in dataclasses.fields(kind) if field.name in shown]
        groups[name] = kind, [field.name for field in fields]
        parameters += [
            inspect.Parameter(field.name, parameter.KEYWORD_ONLY, default=field.default, annotation=shown[field.name])
            for field in fields
        ]

    @functools.wraps(command)
    def spread_out(**given: Any) -> None:
        made = {name: kind(**{field: given.pop(field) for field in fields}) for name, (kind, fields) in groups.items()}
        for name, fields in parts.items():
            values = {field: given.pop(field) for field in fields}
            made[name] = {field: value for field, value in values.items() if value is not None}
        command(**given, **made)

    spread_out.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    spread_out.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return spread_out


def _optional(field: dataclasses.Field[Any], kind: Any, option: Any) -> inspect.Parameter:
    """A flag that is None where it isn't given; the help shows the field's default, unless the option says another."""
    if option.show_default is True and field.default is not None:
        option.show_default = str(field.default)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[_plain(kind) | None, option]
    )


def _plain(kind: Any) -> Any:
    """Text for a choice of words: a dataclass checks them itself."""
    return str if get_origin(kind) is Literal else kind

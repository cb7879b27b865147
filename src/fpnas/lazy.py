"""Names of a package that are imported when they are first asked for: `fpnas --help` doesn't wait for torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def imported_on_demand(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package whose names come from its modules, which are attributes, too.

    Args:
        package: its full name.
        homes: module of the package -> the names that come from there, with blanks between them.

    Example:
        >>> __getattr__, __dir__ = imported_on_demand("fpnas.train", {"recipe": "Recipe"})  # doctest: +SKIP
    """
    home_of = {name: home for home, names in homes.items() for name in names.split()}

    def __getattr__(name: str) -> Any:
        unknown = AttributeError(f"module {package!r} has no attribute {name!r}", name=name)
        if name.startswith("__"):
            raise unknown
        home = home_of.get(name, name)
        try:
            module = import_module(f"{package}.{home}")
        except ModuleNotFoundError as error:
            if error.name == f"{package}.{home}":
                raise unknown from None
            raise
        value = getattr(module, name) if name in home_of else module
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *home_of})

    return __getattr__, __dir__

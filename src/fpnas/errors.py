"""The one error tree of fpnas.

Every error that a user can cause is an `FpnasError`; the shell prints it as one line and exits with code 2. A message
says what was expected, what came, and how to mend it. Broken invariants of our own are `assert`s, not errors.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

T = TypeVar("T")


class FpnasError(Exception):
    """The root: whatever fpnas raises on purpose."""


class InputError(FpnasError, ValueError):
    """Something that the user gave does not fit.

    Args:
        expected: what would have been right, as a noun phrase.
        got: what came.
        fix: what to do about it, as an imperative.
    """

    def __init__(self, expected: str, got: str, fix: str) -> None:
        super().__init__(f"expected {expected}, got {got}; {fix}")
        self._parts = expected, got, fix

    def about(self, origin: str) -> InputError:
        """The same, naming the file or other origin of what came."""
        expected, got, fix = self._parts
        return type(self)(expected, f"{origin}: {got}", fix)

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        return type(self), self._parts  # so that it survives the way out of another process


class RunFolderError(InputError):
    """A run folder is in use, belongs to another run, or can't be read or written."""


class DivergedError(InputError):
    """A job has had no finite loss for many steps in a row: going on would change nothing."""


class RankError(InputError):
    """Another of torchrun's processes has ended, or hangs: none of them can go on."""


class SupernetError(InputError):
    """A module can't serve as a supernet: its choices contradict each other, or a trace can't follow it."""


def unknown_name(kind: str, name: str, known: Iterable[str], other: str = "") -> InputError:
    """The error for a name that is not among the known ones; suggests the nearest, and what `other` says."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    fix = f"did you mean {near[0]!r}?" if near else f"choose one of: {', '.join(names)}"
    return InputError(f"a known {kind}", repr(name), fix + other)


def missing_extra(needed: str, extra: str, error: ImportError | None = None, otherwise: str = "") -> InputError:
    """The error for a package that isn't installed; `needed` names it, `extra` of fpnas installs it, or `otherwise`."""
    got = "no such package" if error is None else f"no such package ({error})"
    return InputError(needed, got, f"run `pip install 'fpnas[{extra}]'`{otherwise}")


def refuses(refusal: Callable[[ErrorDetails], InputError]) -> Callable[[type[T]], type[T]]:
    """A decorator of pydantic's dataclasses: the constructor raises `InputError`, made of the first flaw."""

    def decorate(kind: type[T]) -> type[T]:
        made: Callable[..., None] = kind.__init__
        names = list(kind.__annotations__)

        @functools.wraps(made)
        def checked(self: T, *args: Any, **fields: Any) -> None:
            # By name, so that the flaw is told by it and not by its place.
            named = dict(zip(names, args, strict=False))
            try:
                made(self, *args[len(named) :], **{**named, **fields})
            except ValidationError as error:
                raise refusal(error.errors()[0]) from None

        kind.__init__ = checked
        return kind

    return decorate


def reason(error: BaseException) -> str:
    """What an error of a library says, in one line that can stand in a message."""
    return " ".join(str(error).split())[:200] or type(error).__name__

"""Spaces by their names, fpnas's and a user's own, so that the command line and `fpnas.load` can build either.

A run folder names its space and never the code behind it: what runs is what the user imports, in Python or by
`fpnas --import FILE`, and nothing that lies in a folder can choose it.
"""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from torch import nn

from fpnas.elastic import Supernet
from fpnas.errors import FpnasError, InputError, unknown_name
from fpnas.spaces.fbnetv2 import fbnetv2_f, fbnetv2_f_fine, fbnetv2_f_int8, fbnetv2_fpp
from fpnas.spaces.large import fpnas_l0, fpnas_l1, fpnas_l2
from fpnas.spaces.models import LIBRARIES, OWN_MODELS, Model, Smaller, named, on_cpu, register_model
from fpnas.spaces.nasbench import nasbench_macro
from fpnas.spaces.tiny import tiny, tiny_int8

Make = Callable[..., Supernet]
M = TypeVar("M", bound=Make)

SPACES: dict[str, Make] = {
    "tiny": tiny,
    "tiny-int8": tiny_int8,
    "fbnetv2-f": fbnetv2_f,
    "fbnetv2-f-int8": fbnetv2_f_int8,
    "fbnetv2-f-fine": fbnetv2_f_fine,
    "fbnetv2-fpp": fbnetv2_fpp,
    "fpnas-l0": fpnas_l0,
    "fpnas-l1": fpnas_l1,
    "fpnas-l2": fpnas_l2,
    "nasbench-macro": nasbench_macro,
}
OWN: dict[str, Make] = {}
"""What was registered."""
WORDS = ("num_classes", "in_channels", "image_size", "seed")
"""What the function of one's own space may ask for."""


def by_name(name: str) -> Make:
    """The function of a space by its name; it takes any of `WORDS`.

    That of a network from timm, torchvision or one's own file also takes `weights` (by default none) and `smaller`.

    Raises:
        InputError: none is called so.
    """
    if name in SPACES:
        return partial(_of_fpnas, SPACES[name])
    if name in OWN:
        return partial(_own, name)
    if is_model(name):
        return partial(_of_model, name)
    raise unknown_name("space", name, {**SPACES, **OWN}, " (your own: fpnas --import FILE)")


def is_model(name: str) -> bool:
    """Whether a space is made of a network that exists."""
    return name in OWN_MODELS or name.partition("/")[0] in LIBRARIES


def is_own(name: str) -> bool:
    """Whether a space's code is the user's, so that commands need `--import` to know it."""
    return name in OWN_MODELS or not (name in SPACES or is_model(name))


def register(name: str) -> Callable[[M], M]:
    """A decorator that makes a function's space known under `name`, which its supernet must have too.

    The function takes any of num_classes, in_channels, image_size (px) and seed, and is given those that it names. What
    it draws from torch's global generator is decided by the seed. A later function takes an earlier one's place.

    Args:
        name: small letters, digits and hyphens, as `--space` and arch.json say it.

    Raises:
        InputError: the name doesn't fit or is taken, or the function wants something else.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise InputError("a space's name of small letters, digits and hyphens", f"{name!r:.80}", "rename it")
    if name in SPACES:
        raise InputError("a name that no space of fpnas has", repr(name), "rename it")

    def keep(make: M) -> M:
        strange = [word for word in _needed(make) if word not in WORDS]
        if strange:
            got = f"{', '.join(strange)} in that of {name!r}"
            raise InputError(f"a function of any of {', '.join(WORDS)}", got, "give it a default")
        OWN[name] = make
        return make

    return keep


def model(source: str, weights: str | Path | None = None) -> Model:
    """The network of that name, with its weights.

    Args:
        source: `timm/NAME`, `torchvision/NAME`, or FILE.py:FUNCTION, a file of yours and a function in it that takes
            nothing and returns a network; once imported, that function's name, with hyphens, is known too.
        weights: a .safetensors or .pth file; "none" for fresh ones; by default the library's pretrained ones, which it
            downloads where they aren't here yet, or those that one's own function gives its network.

    Raises:
        InputError: the library isn't installed or knows no such network, there is no such file or function, or the
            weights can't be had or don't fit.

    Example:
        >>> from fpnas.spaces import model
        >>> small = model("torchvision/mobilenet_v3_small", weights="none").supernet(num_classes=6, image_size=64)
        >>> len(small.space.choices) > 10
        True
    """
    own = import_file(source) if is_file(source) else None
    return named(own or source, weights)


def import_file(path: str | Path) -> str | None:
    """Runs a Python file that registers spaces; what lies beside it can be imported from then on.

    Args:
        path: of the file; with `:FUNCTION` behind it, that function, which takes nothing and returns a network, is
            registered for `spaces.model`.

    Returns:
        The name of the network's space, which is the function's with hyphens; None without a function.

    Raises:
        InputError: there is no such file, it fails, registers nothing or has no such function.
    """
    place, _, function = str(path).rpartition(":") if is_file(str(path)) else (str(path), "", "")
    file = Path(place)
    if file.suffix != ".py" or not file.is_file():
        raise InputError("a Python file that registers a space", f"{str(path)!r:.200}", "check the path")
    name = f"{file.stem}_for_fpnas"  # never that of a package
    spec = spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module
    sys.path.append(str(file.resolve().parent))
    before = dict(OWN)
    try:
        spec.loader.exec_module(module)
    except FpnasError:
        raise
    except (Exception, SystemExit) as error:
        raise InputError("a Python file that can be imported", _told(error), "mend it") from error
    if function:
        return _registered(module, function, file)
    if before == OWN:
        fix = "put @fpnas.spaces.register(NAME) above the function that makes one"
        raise InputError("a file that registers a space", str(file), fix)
    return None


def is_file(source: str) -> bool:
    """Whether it is written as FILE.py:FUNCTION."""
    return re.search(r"\.py:\w+$", source) is not None


def _registered(module: ModuleType, function: str, file: Path) -> str:
    """The name under which a function's network is known."""
    make, name = getattr(module, function, None), function.lower().replace("_", "-").strip("-")
    if not callable(make):
        raise InputError(f"a function {function!r} in {file}", "none", "correct the name behind the colon")
    if name in SPACES or name in OWN:
        raise InputError("a function that isn't called as a space is", repr(function), "rename it")

    def made() -> nn.Module:
        try:
            with on_cpu(seed=0):
                found = make()
        except Exception as error:
            raise InputError(f"a function that makes the network {name!r}", _told(error), "mend it") from error
        if not isinstance(found, nn.Module):
            raise InputError(f"an nn.Module from {function!r}", type(found).__name__, "return one")
        return found

    register_model(name, made)
    return name


def _of_model(
    name: str,
    *,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int | None = None,
    seed: int = 0,
    weights: str | Path | None = "none",
    smaller: Smaller | None = None,
) -> Supernet:
    with on_cpu(seed):
        return named(name, weights).supernet(num_classes, in_channels, image_size, smaller, seed)


def _of_fpnas(make: Make, *, image_size: int | None = None, **options: Any) -> Supernet:
    del image_size  # they take any
    return make(**options)


def _own(name: str, *, seed: int = 0, **options: Any) -> Supernet:
    make = OWN[name]
    parameters = inspect.signature(make).parameters
    every = any(word.kind is word.VAR_KEYWORD for word in parameters.values())
    given = {word: value for word, value in {**options, "seed": seed}.items() if every or word in parameters}
    missing = [word for word in _needed(make) if word not in given]
    if missing:
        raise InputError(f"{' and '.join(missing)} for the space {name!r}", "none", "add it to arch.json")
    with on_cpu(seed):
        try:
            made: Any = make(**given)
        except FpnasError:
            raise
        except Exception as error:
            raise InputError(f"a function that makes the space {name!r}", _told(error), "mend it") from error
    if not isinstance(made, Supernet):
        raise InputError(f"a Supernet from the function of {name!r}", type(made).__name__, "return one")
    if made.name != name:
        raise InputError(f"a supernet with the name {name!r}", repr(made.name), f"give it name={name!r}")
    return made


def _told(error: BaseException) -> str:
    """An error of the user's code, with the place."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error!s:.300} ({place.filename}:{place.lineno})"


def _needed(make: Make) -> list[str]:
    """The parameters that a function has no default for."""
    words = inspect.signature(make).parameters.values()
    return [w.name for w in words if w.default is w.empty and w.kind not in (w.VAR_KEYWORD, w.VAR_POSITIONAL)]

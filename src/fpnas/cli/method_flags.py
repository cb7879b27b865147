"""Flags that belong to methods: what `fpnas search` is given of them becomes arguments of the method's function."""

from __future__ import annotations

import inspect
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import typer

from fpnas.errors import InputError, unknown_name


@dataclass(frozen=True)
class MethodFlags:
    """A flag each for the arguments of methods, None or False where it isn't given."""

    lam: Annotated[
        float | None, typer.Option("--lam", min=0, help="Architectures sampled a step for each nat of entropy; 0.25.")
    ] = None
    join_at: Annotated[
        float | None,
        typer.Option(
            "--join-at", min=0, max=1, help="Where to join the variables of a group: a fraction of the epochs; 0.45."
        ),
    ] = None
    at_least: Annotated[
        int | None, typer.Option("--at-least", min=1, help="The least number of architectures a step; 2.")
    ] = None
    num_samples: Annotated[
        int | None,
        typer.Option("--num-samples", min=1, help="Architectures a step where it is fixed; 16 of parsec, else 4."),
    ] = None
    temperature: Annotated[
        str | None,
        typer.Option(
            "--temperature",
            help="Divides the log-likelihoods: a number, product (1) or mean (the images). fpnas: 4; others: product.",
        ),
    ] = None
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            help="none: eq. 7 as the paper prints it. mean: with 1/K subtracted from each importance weight.",
        ),
    ] = None
    beta: Annotated[
        float | None,
        typer.Option(
            "--beta",
            min=0,
            help="Weight of the cost term; 0.3. Only fpnas has one unless you give this.",
        ),
    ] = None
    cost_floor: Annotated[
        float | None,
        typer.Option(
            "--cost-floor",
            min=0,
            help="The cost term fades where the mean excess over the target is below this; 0: it never fades.",
        ),
    ] = None
    cost_estimator: Annotated[
        str | None,
        typer.Option(
            "--cost-estimator", help="C(alpha) from the step's own samples (the paper), from many others, or exact."
        ),
    ] = None
    alpha_lr: Annotated[
        float | None, typer.Option("--alpha-lr", min=0, help="Rate of alpha; 0.03, of darts 0.0003, of fbnetv2 0.01.")
    ] = None
    warmup: Annotated[
        float | None,
        typer.Option("--warmup", min=0, max=1, help="Share of the epochs with weights only; 0.3, with --frozen 0.9."),
    ] = None
    frozen: Annotated[
        bool,
        typer.Option("--frozen", help="One-shot random search or evolution: weights are trained first, then frozen."),
    ] = False


_TERM = {"beta": "beta", "cost_floor": "floor", "cost_estimator": "estimator"}
"""Of the fields those that make a `CostTerm`, and its arguments."""

_ARGUMENT = {**dict.fromkeys(_TERM, "cost_term"), "alpha_lr": "lr"}
"""Fields that aren't called as the method's argument is."""


def arguments(method: str, given: MethodFlags) -> dict[str, Any]:
    """Arguments of the method's function, from the flags that were given.

    Raises:
        InputError: an unknown method, or a flag that it doesn't have.
    """
    from fpnas.search import CostTerm
    from fpnas.search.methods import METHODS

    if method not in METHODS:
        raise unknown_name("method", method, METHODS)
    own = fields_of(method)
    values = {name: value for name, value in asdict(given).items() if value is not None and value is not False}
    for name in values:
        if name not in own:
            others = " or ".join(other for other in METHODS if name in fields_of(other))
            expected = f"flags that {method} has: {', '.join(map(flag, own))}"
            raise InputError(expected, flag(name), f"leave it out, or take --method {others}")
    found = {_ARGUMENT.get(name, name): value for name, value in values.items() if name not in _TERM}
    if "temperature" in found:
        found["temperature"] = _temperature(found["temperature"])
    term = {_TERM[name]: value for name, value in values.items() if name in _TERM}
    return {**found, "cost_term": CostTerm(**term)} if term else found


def fields_of(method: str) -> list[str]:
    """Those of `MethodFlags` whose argument the method's function has."""
    from fpnas.search.methods import METHODS

    known = inspect.signature(METHODS[method]).parameters
    return [name for name in MethodFlags.__dataclass_fields__ if _ARGUMENT.get(name, name) in known]


def flag(name: str) -> str:
    """The flag of a field."""
    return f"--{name.replace('_', '-')}"


def _temperature(text: str) -> float | str:
    if text in ("mean", "product"):
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError("a temperature: a number, product or mean", repr(text), "correct --temperature") from None

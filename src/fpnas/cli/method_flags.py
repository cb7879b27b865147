"""Flags that belong to methods: what `fpnas search` is given of them becomes arguments of the method's function."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from fpnas.errors import InputError, unknown_name
from fpnas.search import CostTerm, methods

Lam = Annotated[
    float | None, typer.Option("--lam", min=0, help="Architectures sampled a step for each nat of entropy; 0.25.")
]
JoinAt = Annotated[
    float | None,
    typer.Option(
        "--join-at", min=0, max=1, help="Where to join the variables of a group: a fraction of the epochs; 0.45."
    ),
]
AtLeast = Annotated[int | None, typer.Option("--at-least", min=1, help="The least number of architectures a step; 2.")]
NumSamples = Annotated[
    int | None,
    typer.Option("--num-samples", min=1, help="Architectures a step where it is fixed; 16 of parsec, else 4."),
]
Temperature = Annotated[
    str | None,
    typer.Option(
        "--temperature",
        help="What log-likelihoods are divided by: a number, product (1) or mean (images); 4, or product.",
    ),
]
BaselineFlag = Annotated[
    str | None, typer.Option("--baseline", help="none, as eq. 7 is printed, or mean: 1/K is taken off its weights.")
]
Beta = Annotated[
    float | None,
    typer.Option(
        "--beta",
        min=0,
        help="Weight of the cost term; 0.3. fpnas has one; parsec, reinforce, darts and fbnetv2 where asked.",
    ),
]
CostFloor = Annotated[
    float | None,
    typer.Option("--cost-floor", min=0, help="Mean excess over the target below which the cost term fades; 0, never."),
]
CostEstimator = Annotated[
    str | None,
    typer.Option(
        "--cost-estimator", help="C(alpha) from the step's own samples (the paper), from many others, or exact."
    ),
]
AlphaLr = Annotated[
    float | None, typer.Option("--alpha-lr", min=0, help="Rate of alpha; 0.03, of darts 0.0003, of fbnetv2 0.01.")
]
Warmup = Annotated[
    float | None,
    typer.Option("--warmup", min=0, max=1, help="Fraction of the epochs with weights only; 0.3, with --frozen 0.9."),
]
Frozen = Annotated[
    bool, typer.Option("--frozen", help="One-shot random search or evolution: weights are trained first, then frozen.")
]

_TERM = {"--beta": "beta", "--cost-floor": "floor", "--cost-estimator": "estimator"}
_OWN = {
    "--lam": "lam",
    "--join-at": "join_at",
    "--at-least": "at_least",
    "--num-samples": "num_samples",
    "--temperature": "temperature",
    "--baseline": "baseline",
    **dict.fromkeys(_TERM, "cost_term"),
    "--alpha-lr": "lr",
    "--warmup": "warmup",
    "--frozen": "frozen",
}
"""Flag -> argument of a method's function."""


def arguments(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of the method's function, from flags that were given; None and False are none.

    Raises:
        InputError: an unknown method, or a flag that it doesn't have.
    """
    if method not in methods.METHODS:
        raise unknown_name("method", method, methods.METHODS)
    found: dict[str, Any] = {}
    term: dict[str, Any] = {}
    own = flags_of(method)
    for flag, value in given.items():
        if value is None or value is False:
            continue
        if flag not in own:
            others = " or ".join(name for name in methods.METHODS if flag in flags_of(name))
            raise InputError(
                f"flags that {method} has: {', '.join(own)}", flag, f"leave it out, or take --method {others}"
            )
        if flag in _TERM:
            term[_TERM[flag]] = value
        else:
            found[_OWN[flag]] = _temperature(value) if flag == "--temperature" else value
    return {**found, "cost_term": CostTerm(**term)} if term else found


def flags_of(method: str) -> list[str]:
    """Those of `_OWN` whose argument the method's function has."""
    known = inspect.signature(methods.METHODS[method]).parameters
    return [flag for flag, argument in _OWN.items() if argument in known]


def _temperature(text: str) -> float | str:
    if text in ("mean", "product"):
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError("a temperature: a number, product or mean", repr(text), "correct --temperature") from None

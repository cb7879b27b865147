"""The search spaces: one function each, and their names on the command line."""

from __future__ import annotations

from collections.abc import Callable

from fpnas.elastic import Supernet
from fpnas.errors import unknown_name
from fpnas.spaces.fbnetv2 import fbnetv2_f, fbnetv2_f_fine, fbnetv2_fpp
from fpnas.spaces.large import fpnas_l0, fpnas_l1, fpnas_l2
from fpnas.spaces.nasbench import nasbench_macro
from fpnas.spaces.published import IMAGE_SIZES, PUBLISHED, Published
from fpnas.spaces.tiny import tiny

SPACES: dict[str, Callable[..., Supernet]] = {
    "tiny": tiny,
    "fbnetv2-f": fbnetv2_f,
    "fbnetv2-f-fine": fbnetv2_f_fine,
    "fbnetv2-fpp": fbnetv2_fpp,
    "fpnas-l0": fpnas_l0,
    "fpnas-l1": fpnas_l1,
    "fpnas-l2": fpnas_l2,
    "nasbench-macro": nasbench_macro,
}


def by_name(name: str) -> Callable[..., Supernet]:
    """The function of a space by its hyphenated name, or `InputError`."""
    if name not in SPACES:
        raise unknown_name("space", name, SPACES)
    return SPACES[name]


__all__ = [
    "IMAGE_SIZES",
    "PUBLISHED",
    "SPACES",
    "Published",
    "by_name",
    "fbnetv2_f",
    "fbnetv2_f_fine",
    "fbnetv2_fpp",
    "fpnas_l0",
    "fpnas_l1",
    "fpnas_l2",
    "nasbench_macro",
    "tiny",
]

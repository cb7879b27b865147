"""Judges of architectures."""

from fpnas.evaluators.base import (
    Evaluator,
    FixedJudge,
    Gradual,
    HasLayers,
    KnowsNetworks,
    Learned,
    Rehearses,
    SoftEvaluator,
)
from fpnas.evaluators.proxy import ProxyEvaluator
from fpnas.evaluators.ranks import Split
from fpnas.evaluators.supernet import SupernetEvaluator
from fpnas.evaluators.table import TableEvaluator

__all__ = [
    "Evaluator",
    "FixedJudge",
    "Gradual",
    "HasLayers",
    "KnowsNetworks",
    "Learned",
    "ProxyEvaluator",
    "Rehearses",
    "SoftEvaluator",
    "Split",
    "SupernetEvaluator",
    "TableEvaluator",
]

"""Judges of architectures."""

from fpnas.evaluators.base import (
    Evaluator,
    FixedJudge,
    Gradual,
    HasLayers,
    KnowsNetworks,
    Learned,
    OnDevice,
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
    "OnDevice",
    "ProxyEvaluator",
    "Rehearses",
    "SoftEvaluator",
    "Split",
    "SupernetEvaluator",
    "TableEvaluator",
]

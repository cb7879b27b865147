"""Judges of architectures."""

from fpnas.evaluators.base import Evaluator, FixedJudge, Gradual, KnowsNetworks, Learned, SoftEvaluator
from fpnas.evaluators.proxy import ProxyEvaluator
from fpnas.evaluators.racing import Racing
from fpnas.evaluators.ranks import Split
from fpnas.evaluators.supernet import SupernetEvaluator
from fpnas.evaluators.table import TableEvaluator

__all__ = [
    "Evaluator",
    "FixedJudge",
    "Gradual",
    "KnowsNetworks",
    "Learned",
    "ProxyEvaluator",
    "Racing",
    "SoftEvaluator",
    "Split",
    "SupernetEvaluator",
    "TableEvaluator",
]

"""Judges of architectures."""

from fpnas.evaluators.base import Evaluator, Learned
from fpnas.evaluators.supernet import SupernetEvaluator

__all__ = ["Evaluator", "Learned", "SupernetEvaluator"]

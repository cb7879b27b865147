"""Searches: the loop, the methods that are settings of it, and what a method of one's own is made of."""

from fpnas.job import Job, Step
from fpnas.search import methods
from fpnas.search.cost_term import CostTerm
from fpnas.search.loop import Search
from fpnas.search.result import SearchResult
from fpnas.search.strategy import DrawingStrategy, Scores, SearchState, StepResult, Strategy
from fpnas.search.within import Within

__all__ = [
    "CostTerm",
    "DrawingStrategy",
    "Job",
    "Scores",
    "Search",
    "SearchResult",
    "SearchState",
    "Step",
    "StepResult",
    "Strategy",
    "Within",
    "methods",
]

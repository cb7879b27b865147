"""Searches: the loop, and the methods that are settings of it."""

from fpnas.job import Job, Step
from fpnas.search import methods
from fpnas.search.cost_term import CostTerm
from fpnas.search.loop import Search
from fpnas.search.result import SearchResult

__all__ = ["CostTerm", "Job", "Search", "SearchResult", "Step", "methods"]

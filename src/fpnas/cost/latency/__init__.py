"""Latency in ms: a sum of operations, each measured alone.

`operations` finds them, `standalone` names and makes them, `timing` times them with a clock that it is given,
`latency_table` holds the numbers and `model` adds them up. Clocks and files are the shell's: `runner/latency_cache.py`.
"""

from fpnas.cost.latency.latency_table import LatencyTable
from fpnas.cost.latency.model import AdditiveLatency, Latency, arch_latency
from fpnas.cost.latency.operations import Operation, OperationSite, distinct_operations, operation_sites
from fpnas.cost.latency.timing import Timer, measure

__all__ = [
    "AdditiveLatency",
    "Latency",
    "LatencyTable",
    "Operation",
    "OperationSite",
    "Timer",
    "arch_latency",
    "distinct_operations",
    "measure",
    "operation_sites",
]

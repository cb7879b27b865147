"""Latency in ms: a sum of operations, each measured alone.

`operations` finds them, `standalone` names and makes them, `timing` times them with a clock that it is given,
`latency_table` holds the numbers and `model` adds them up. Clocks and files are the shell's: `runner/latency_cache.py`.
"""

from fpnas.cost.latency.latency_table import Fit, LatencyTable
from fpnas.cost.latency.model import AdditiveLatency, Latency, arch_latency, fitted
from fpnas.cost.latency.operations import Operation, OperationSite, distinct_operations, operation_sites
from fpnas.cost.latency.timing import Prepare, Prepared, Timer, measure, measure_whole

__all__ = [
    "AdditiveLatency",
    "Fit",
    "Latency",
    "LatencyTable",
    "Operation",
    "OperationSite",
    "Prepare",
    "Prepared",
    "Timer",
    "arch_latency",
    "distinct_operations",
    "fitted",
    "measure",
    "measure_whole",
    "operation_sites",
]

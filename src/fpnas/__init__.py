"""fpnas: Fast Probabilistic Neural Architecture Search (FP-NAS, CVPR 2021) for your images and your budget."""

import os

# A search runs thousands of shapes of convolution. oneDNN, torch's convolutions on a CPU, keeps the code that it made
# for the last 1,024, and makes the others anew; more save time where a space has many shapes, and take memory (figures
# in benchmarks/results/process_settings_*). It reads this at its first use.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16384")

from typing import TYPE_CHECKING

from fpnas.lazy import imported_on_demand

if TYPE_CHECKING:
    from fpnas import data, elastic, parallel, shipping, spaces, tables
    from fpnas.cost import Budget, Budgets, Flash, Flops, Latency, LatencyTable, Params, Ram, layer_costs
    from fpnas.distribution import ArchDistribution
    from fpnas.elastic import Supernet
    from fpnas.errors import FpnasError, InputError
    from fpnas.estimators import SampleSize
    from fpnas.evaluators import Evaluator, ProxyEvaluator, SupernetEvaluator, TableEvaluator
    from fpnas.finder import Found, find
    from fpnas.runner import Callback, evaluate, export, latency_table, load, predict, run, training_of
    from fpnas.search import CostTerm, Search, SearchResult, methods
    from fpnas.space import Arch, Choice, SearchSpace
    from fpnas.train import Recipe, Training, from_scratch, inherited

__all__ = [
    "Arch",
    "ArchDistribution",
    "Budget",
    "Budgets",
    "Callback",
    "Choice",
    "CostTerm",
    "Evaluator",
    "Flash",
    "Flops",
    "Found",
    "FpnasError",
    "InputError",
    "Latency",
    "LatencyTable",
    "Params",
    "ProxyEvaluator",
    "Ram",
    "Recipe",
    "SampleSize",
    "Search",
    "SearchResult",
    "SearchSpace",
    "Supernet",
    "SupernetEvaluator",
    "TableEvaluator",
    "Training",
    "data",
    "elastic",
    "evaluate",
    "export",
    "find",
    "from_scratch",
    "inherited",
    "latency_table",
    "layer_costs",
    "load",
    "methods",
    "parallel",
    "predict",
    "run",
    "shipping",
    "spaces",
    "tables",
    "training_of",
]

if not TYPE_CHECKING:
    __getattr__, __dir__ = imported_on_demand(
        __name__,
        {
            "cost": "Budget Budgets Flash Flops Latency LatencyTable Params Ram layer_costs",
            "distribution": "ArchDistribution",
            "elastic": "Supernet",
            "errors": "FpnasError InputError",
            "estimators": "SampleSize",
            "evaluators": "Evaluator ProxyEvaluator SupernetEvaluator TableEvaluator",
            "finder": "Found find",
            "runner": "Callback evaluate export latency_table load predict run training_of",
            "search": "CostTerm Search SearchResult methods",
            "space": "Arch Choice SearchSpace",
            "train": "Recipe Training from_scratch inherited",
        },
    )

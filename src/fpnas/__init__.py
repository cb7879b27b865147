"""fpnas: Fast Probabilistic Neural Architecture Search (FP-NAS, CVPR 2021) for your images and your budget."""

from fpnas import data, elastic, spaces
from fpnas.cost import Budget, Flops, Params, layer_costs
from fpnas.distribution import ArchDistribution
from fpnas.elastic import Supernet
from fpnas.errors import FpnasError, InputError
from fpnas.estimators import SampleSize
from fpnas.evaluators import Evaluator, SupernetEvaluator
from fpnas.runner import Callback, load, run
from fpnas.search import Search, SearchResult, methods
from fpnas.space import Arch, Choice, SearchSpace
from fpnas.train import Training, from_scratch, inherited

__all__ = [
    "Arch",
    "ArchDistribution",
    "Budget",
    "Callback",
    "Choice",
    "Evaluator",
    "Flops",
    "FpnasError",
    "InputError",
    "Params",
    "SampleSize",
    "Search",
    "SearchResult",
    "SearchSpace",
    "Supernet",
    "SupernetEvaluator",
    "Training",
    "data",
    "elastic",
    "from_scratch",
    "inherited",
    "layer_costs",
    "load",
    "methods",
    "run",
    "spaces",
]

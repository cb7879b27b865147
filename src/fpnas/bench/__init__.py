"""Methods on a table of known results: simple regret against queries, over seeds and rotations.

`contest` runs one search and says what its answers are worth, `pool` many on all cores, `results` and `picture` make
Markdown and SVG of what came out. The command line has flags and printing.
"""

from fpnas.bench.contest import METHODS, Contest, Outcome, Task, method, regret_of
from fpnas.bench.picture import picture
from fpnas.bench.pool import run_all
from fpnas.bench.results import Quartiles, markdown, summary

__all__ = [
    "METHODS",
    "Contest",
    "Outcome",
    "Quartiles",
    "Task",
    "markdown",
    "method",
    "picture",
    "regret_of",
    "run_all",
    "summary",
]

"""What all tests share: one thread a process, hypothesis without a deadline, and shapes that are checked.

* `pytest -n 2` on two cores runs two processes; if each of them also used two OpenMP threads, the threads would wait
  for one another and everything would take 12 times as long.
* Spaces that a test registers, by itself, by `--import` or by running an example, are forgotten after it.
* What is there before the first test, modules above all, is left out of garbage collections: with torch's 600,000
  objects each full one takes half a second. Full ones are rarer, too.
* jaxtyping's annotations become checks (by beartype) in the words, the maths, the costs and the data. The networks
  stay as they are: `torch.fx`, which extracts a network, can't follow a decorated `forward`.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from unittest.mock import patch

import pytest
import torch
from beartype.claw import beartype_packages
from hypothesis import settings
from jaxtyping import install_import_hook

WITHOUT_TENSORS = ("fpnas.space", "fpnas.cost.latency.model", "fpnas.cost.layers")
"""No shapes: beartype alone checks the same in a tenth of the time."""
CHECKED = (
    "fpnas.distribution",
    "fpnas.estimators",
    # Of fpnas.cost not what makes a function for each layer, and each would be compiled anew (seconds); and not
    # budget: beartype can't check an argument against CostModel, a protocol that isn't @runtime_checkable.
    "fpnas.cost.models",
    "fpnas.cost.tables",
    "fpnas.data",
)

torch.set_num_threads(1)

settings.register_profile("fpnas", deadline=None, database=None)
settings.load_profile("fpnas")

# A module that is there already would stay unchecked.
assert not any(name.partition(".")[0] == "fpnas" for name in sys.modules), "the hook must come before fpnas"
beartype_packages(WITHOUT_TENSORS)
install_import_hook(CHECKED, "beartype.beartype")


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.set_threshold(700, 10, 100)


@pytest.fixture(autouse=True)
def _own_spaces_are_forgotten() -> Iterator[None]:
    from fpnas.spaces import OWN
    from fpnas.spaces.models import OWN_MODELS

    with patch.dict(OWN), patch.dict(OWN_MODELS):
        yield

"""Our side of `benchmarks/peers.py`, and its table. The peers need an environment of their own, and aren't run here."""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch

from fpnas.data import ImageData

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def _benchmarks_on_the_path() -> Any:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def data() -> ImageData:
    from sides import ours

    pixels = torch.randint(0, 256, (24, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return ours.data_of({"images": pixels, "labels": torch.arange(24) % 10})


def test_our_space_is_the_peers_space() -> None:
    from sides import layers, ours

    supernet = ours.shared_space()
    assert supernet.space.size == (len(layers.KERNELS) * len(layers.EXPANSIONS)) ** 6 == 46656
    assert round(math.log(46656) / 4) == ours.SAMPLES["whole"], "K of lambda = 1/4"
    arch = {choice.name: max(choice.options) for choice in supernet.space.choices}
    network = supernet.extract(arch)
    blocks = [layers.MBConv(*row, kernel=5, expansion=6) for row in layers.ROWS]
    ends = 3 * 16 * 9 + 2 * 16 + 80 * 256 + 2 * 256 + 256 * 10 + 10
    of_blocks = sum(p.numel() for block in blocks for p in block.parameters())
    assert sum(p.numel() for p in network.parameters()) == of_blocks + ends
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(("strategy", "samples"), [("weights", 1), ("whole", 3)])
def test_our_side_steps(data: ImageData, strategy: str, samples: int) -> None:
    from sides import ours

    search = ours.search_of(data, strategy, batch_size=4)
    before = search.distribution.logits.detach().clone()
    weights = [p.detach().clone() for p in search.evaluator.supernet.parameters()]  # type: ignore[attr-defined]
    assert search.step().metrics["num_samples"] == samples
    moved = [not torch.equal(a, b) for a, b in zip(weights, search.evaluator.supernet.parameters(), strict=True)]  # type: ignore[attr-defined]
    assert any(moved)
    assert torch.equal(before, search.distribution.logits) == (strategy == "weights")


def test_the_table_sets_ratios_beside_what_they_may_be(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import peers
    import speed

    ours = {"weights": {"seconds": 1.0, "peak_mib": 10.0}, "whole": {"seconds": 3.0, "peak_mib": 20.0}}
    theirs = {
        (row.peer, last): {"seconds": 2.0 - last, "peak_mib": 30.0} for row in peers.ROWS for last in (False, True)
    }
    measured, wanted = peers.ratios(ours, theirs)
    assert measured["weights_vs_single_path"] == 0.5
    assert measured["step_vs_proxyless_channels_last"] == 3.0
    assert measured["mib_darts"] == 30.0
    assert len(wanted) == 10
    lines = speed.table(measured, wanted)
    assert lines[0] == "| what | measured | at most |"
    assert "| step_vs_darts | 1.5 | 0.2 |" in lines
    assert "| weights_vs_autonas_channels_last | 1.0 | 1.0 |" in lines
    assert "| mib_ours_step | 20.0 |  |" in lines
    speed.show("Title", {"fact": 1}, measured, Namespace(json=True, device="cpu", results=tmp_path / "made.md"), wanted)
    assert capsys.readouterr().out.count("\n") == 1
    assert "| step_vs_gumbel | 1.5 | 0.2 |" in (tmp_path / "made.md").read_text()


def test_of_several_rounds_the_least_counts() -> None:
    import peers

    first = {"seconds": 2.0, "seconds_mean": 2.5, "peak_mib": 10.0}
    assert peers.least(None, first) == first
    assert peers.least(first, {"seconds": 3.0, "peak_mib": 9.0}) == {"seconds": 2.0, "peak_mib": 9.0}

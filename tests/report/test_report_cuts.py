"""What the report says was cut, against a network whose figures are worked out here by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from run_folders import put, write_run
from test_report_page import outline
from torch import Tensor, nn

from fpnas import Supernet
from fpnas.cost import layers_file
from fpnas.elastic import make_elastic
from fpnas.report import write_report
from fpnas.report.cuts import Cuts, read_cuts


class Block(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.expand, self.norm = nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.project = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(self.depthwise(self.norm(self.expand(x)).relu()))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 16, 3, padding=1), nn.Sequential(Block(16, 32), Block(16, 48))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


SHAPE = (3, 4, 4)
FOUND = {
    "stem_width": 8,
    "blocks.0.runs": 1,
    "blocks.0.expand_width": 16,
    "blocks.0.depthwise_kernel": 5,
    "blocks.1.runs": 0,
    "blocks.1.expand_width": 48,
    "blocks.1.depthwise_kernel": 1,
}


@pytest.fixture(scope="module")
def supernet() -> Supernet:
    torch.manual_seed(0)
    return make_elastic(Net().eval(), kernels=(1, 5), skips=True, input_shape=SHAPE)


def document(supernet: Supernet, arch: Any) -> dict[str, Any]:
    """layers.json, as read from the file."""
    return json.loads(json.dumps(layers_file(supernet, arch, SHAPE)))


def found(supernet: Supernet, arch: Any) -> Cuts:
    cuts = read_cuts(document(supernet, arch), arch)
    assert cuts is not None
    return cuts


def block(channels: int, hidden: int, kernel: int) -> int:
    """Its multiply-adds at 4 x 4."""
    return 16 * hidden * (2 * channels + kernel * kernel)


def test_multiply_adds_of_each_block(supernet: Supernet) -> None:
    before = {"stem": 16 * 27 * 16, "blocks.0": block(16, 32, 3), "blocks.1": block(16, 48, 3), "head": 160}
    now = {"stem": 16 * 27 * 8, "blocks.0": block(8, 16, 5), "blocks.1": 0, "head": 80}
    cuts = found(supernet, FOUND)
    assert cuts.flops == (sum(before.values()), sum(now.values()))
    assert [cut.name for cut in cuts.blocks] == list(before)
    for cut in cuts.blocks:
        assert cut.kept == pytest.approx(100 * now[cut.name] / before[cut.name])
    assert cuts.blocks[0].whole == "6,912"


def test_widths_kernels_and_blocks(supernet: Supernet) -> None:
    """5x5 is more than there was; the second block is skipped, whatever its other options."""
    cuts = found(supernet, FOUND)
    told = {cut.name: (cut.kind, cut.whole, cut.found, cut.kept) for cut in cuts.choices}
    assert told == {
        "stem_width": ("channels", "16", "8", 50.0),
        "blocks.0.runs": ("block", "runs", "runs", 100.0),
        "blocks.0.expand_width": ("channels", "32", "16", 50.0),
        "blocks.0.depthwise_kernel": ("kernel", "3×3", "5×5", 100.0),
        "blocks.1.runs": ("block", "runs", "skipped", 0.0),
        "blocks.1.expand_width": ("channels", "48", "skipped", 0.0),
        "blocks.1.depthwise_kernel": ("kernel", "3×3", "skipped", 0.0),
    }
    assert list(told) == [choice.name for choice in supernet.space.choices]
    stem = cuts.choices[0]
    assert stem.made_by == ("stem", "blocks.0.project", "blocks.1.project")
    assert stem.read_by == ("blocks.0.expand", "blocks.1.expand", "head")
    assert cuts.told == "2 of 3 widths narrower; 0 of 2 kernels smaller; 1 of 2 blocks skipped"


def test_the_given_network_has_lost_nothing(supernet: Supernet) -> None:
    assert supernet.given is not None
    assert supernet.given["blocks.0.depthwise_kernel"] == 3, "its own, not the largest"
    cuts = found(supernet, supernet.given)
    assert {cut.kept for cut in (*cuts.blocks, *cuts.choices)} == {100.0}
    torch.manual_seed(0)
    module, x = Net().eval(), torch.rand(2, *SHAPE)
    torch.testing.assert_close(supernet.extract(supernet.given)(x), module(x), rtol=0, atol=1e-6)


def test_heads() -> None:
    whole = {"flops": 10, "choices": {"a_heads": 3}, "layers": []}
    reads = {"a_heads": [["qkv", "out_features"], ["attention", "num_heads"], ["proj", "in_features"]]}
    layers = [{"name": "proj", "flops": 5, "params": 1}]
    cuts = read_cuts({"flops": 5, "layers": layers, "whole": {**whole, "reads": reads}}, {"a_heads": 2})
    assert cuts is not None
    (cut,) = cuts.choices
    assert (cut.kind, cut.whole, cut.found, cut.made_by) == ("heads", "3", "2", ("qkv",))
    assert cuts.told == "1 of 1 attentions with fewer heads"


def test_the_page_has_them(supernet: Supernet, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    assert "What was cut" not in outline(write_report([run])).text
    put(run / "layers.json", document(supernet, FOUND))
    put(run / "arch.json", {"space": "net", "choices": FOUND})
    page = outline(write_report([run]))
    words = " ".join(page.text.split())
    flops = found(supernet, FOUND).flops
    assert f"multiply-adds are left, {100 * flops[1] / flops[0]:.1f} %: 2 of 3 widths narrower" in words
    assert "stem, blocks.0.project, blocks.1.project blocks.0.expand, blocks.1.expand, head" in words
    assert ("style", "width:50.0%") in page.attributes
    labels = [value for name, value in page.attributes if name == "aria-label"]
    assert sum("before and now" in label for label in labels) == 2


HOSTILE: dict[str, Any] = {
    "list": [1],
    "text": {"flops": "x", "choices": 3, "reads": []},
    "no places": {"flops": 10, "reads": {"a": 3, "b": [7, [], ["x"]]}},
    "no numbers": {"flops": 10, "choices": {"a": None}, "reads": {"a": [["<b>l</b>", "kernel_size"]]}},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_whatever_whole_is(name: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    layers = json.loads((run / "layers.json").read_text())
    put(run / "layers.json", {**layers, "whole": HOSTILE[name]})
    html = write_report([run]).read_text()
    assert "<b>l</b>" not in html
    assert ("What was cut" in html) == (name.startswith("no"))

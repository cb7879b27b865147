"""`--target-ram` and `--target-flash`: a search and `find` meet both and say so; a run of other targets is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from calling import SEARCH, call, document, refused, small_tiny

import fpnas
from fpnas.spaces import SPACES
from fpnas.text import short

FLOPS, RAM, FLASH = 40e3, 8 * 1024, 3 * 1024
TARGETS = ("--target-flops", "40k", "--target-ram", "8k", "--target-flash", "3k")


@pytest.fixture(autouse=True)
def small_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPACES, "tiny", small_tiny)


def test_a_search_meets_memory_and_flops(tmp_path: Path) -> None:
    run = tmp_path / "run"
    called = call(*SEARCH, *TARGETS, "--out", run)
    assert called.code == 0, called.err
    targets = f"{short(FLOPS)} FLOPs and {short(RAM)} bytes of RAM and {short(FLASH)} bytes of flash"
    assert f"(target {targets})" in called.out
    assert "as int8 it takes" in called.out
    result, arch = json.loads((run / "result.json").read_text()), json.loads((run / "arch.json").read_text())
    net = small_tiny(num_classes=10, in_channels=1)
    shape = (1, 16, 16)
    ram, flash = fpnas.Ram(net, shape).of(arch["choices"]), fpnas.Flash(net, shape).of(arch["choices"])
    assert (result["ram"], result["flash"], result["memory_precision"]) == (ram, flash, "int8")
    assert result["flops"] <= FLOPS
    assert ram <= RAM
    assert flash <= FLASH
    assert [part["target"] for part in result["budgets"]] == [FLOPS, RAM, FLASH]
    layers = document(call("cost", run, "--json"), "cost")
    assert layers["memory"]["int8"] == {"ram": ram, "flash": flash}
    assert call("report", run).code == 0
    page = (run / "report.html").read_text()
    assert f"target {short(RAM)}" in page
    assert "bytes of flash" in page
    # The same command goes on; one with another target doesn't.
    assert call(*SEARCH, *TARGETS, "--max-steps", "3", "--out", run).code == 0
    other = (*SEARCH, *TARGETS, "--target-ram", "9k", "--max-steps", "4", "--out", run)
    assert "9216 bytes of RAM" in refused(tmp_path, *other)
    floats = (*SEARCH, *TARGETS[:2], "--target-ram", "12k", "--target-flash", "8k", "--memory-precision", "float32")
    assert "bytes of RAM (float32)" in refused(tmp_path, *floats, "--out", run)


def test_what_a_dry_run_says_of_the_space(tmp_path: Path) -> None:
    called = call(*SEARCH, *TARGETS, "--dry-run", "--json", "--out", tmp_path / "run")
    found = document(called, "search")
    net = small_tiny(num_classes=10, in_channels=1)
    assert tuple(found["bounds"]["bytes of RAM"]) == fpnas.Ram(net, (1, 16, 16)).bounds()
    assert set(found["bounds"]) == {"FLOPs", "bytes of RAM", "bytes of flash"}

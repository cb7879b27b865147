"""The report's arithmetic against slow references: probabilities, fronts, thinned curves, what fewer samples saved."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import helpers_run as h
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from run_folders import CARDS, CHOICES, FOUND, LAYERS, epoch_line, put, write_run

from fpnas import ArchDistribution, Choice, SearchSpace, Supernet
from fpnas.cost import layer_table
from fpnas.elastic import Activation
from fpnas.report.choices import front, read_history, thin
from fpnas.report.curves import savings, thinned
from fpnas.report.network import read_blocks
from fpnas.report.reading import read_run

ACT = Choice("last.act", ("relu", "swish"))
SPACE = SearchSpace(Choice(name, tuple(options)) for name, options in CHOICES.items())


@pytest.mark.parametrize("joint", [False, True])
def test_probabilities_are_those_of_the_distribution(joint: bool, tmp_path: Path) -> None:
    line = epoch_line(2, 59, joint)
    h.write_lines(tmp_path / "distribution.jsonl", [line])
    history = read_history(tmp_path / "distribution.jsonl", [])
    distribution = ArchDistribution(SPACE, line["partition"])
    with torch.no_grad():
        for row, values in zip(distribution.logits, line["logits"], strict=True):
            row[: len(values)] = torch.tensor(values, dtype=torch.float64)
        codes = torch.tensor(list(itertools.product(*(range(card) for card in CARDS))))
        p = distribution.log_prob(codes).exp()
    for index, choice in enumerate(history.choices):
        expected = [float(p[codes[:, index] == option].sum()) for option in range(CARDS[index])]
        np.testing.assert_allclose(choice.probability, [expected], rtol=1e-12)
        assert list(choice.options) == [str(option) for option in CHOICES[choice.name]]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=40))
def test_front_holds_what_nothing_beats(points: list[tuple[int, int]]) -> None:
    cost, score = (np.array([point[axis] for point in points], dtype=float) for axis in (0, 1))
    found = [points[index] for index in front(cost, score)]
    beaten = [any(c <= a and s >= b and (c, s) != (a, b) for c, s in points) for a, b in points]
    expected = sorted({point for point, bad in zip(points, beaten, strict=True) if not bad})
    assert found == expected


@given(st.integers(1, 700), st.integers(1, 60))
def test_thinned_curves_keep_mean_and_range(count: int, points: int) -> None:
    y = np.sin(np.arange(count) * 1.7)
    curve = thinned(np.arange(count, dtype=float), y, points)
    assert len(curve["x"]) == min(count, points)
    assert min(curve["low"]) == pytest.approx(y.min(), abs=1e-4)
    assert max(curve["high"]) == pytest.approx(y.max(), abs=1e-4)
    parts = np.split(y, [math.ceil(count * k / points) if count > points else k for k in range(1, len(curve["x"]))])
    if count <= points or count % points == 0:
        np.testing.assert_allclose(curve["y"], [part.mean() for part in parts], atol=1e-4)


def test_savings_of_a_run_whose_times_are_known(tmp_path: Path) -> None:
    """0.5 s a step and 0.2 s a sample, 0.1 s a sample while alpha rests: fixed K = 10 takes exactly so much more."""
    lines = []
    for step in range(400):
        k, resting = max(2, 10 - step // 40), step < 100
        seconds = 0.5 + (0.1 if resting else 0.2) * k
        lines.append({"step": step, "num_samples": k, "val_loss": None if resting else 1.0, "seconds": seconds})
    h.write_lines(tmp_path / "metrics.jsonl", lines)
    saved = savings(read_run(tmp_path).steps)
    assert saved is not None
    assert saved.k0 == 10
    assert saved.samples == sum(line["num_samples"] for line in lines)
    assert saved.samples_fixed == 4000
    assert saved.seconds == pytest.approx(sum(line["seconds"] for line in lines))
    assert saved.seconds_fixed == pytest.approx(100 * 1.5 + 300 * 2.5)


def test_a_warm_up_on_fewer_does_not_pass_for_k0(tmp_path: Path) -> None:
    taken = [2, 2, 2, 10, 8, 6, 4, 2]
    lines = [{"step": step, "num_samples": k, "seconds": 0.1 * k} for step, k in enumerate(taken)]
    h.write_lines(tmp_path / "metrics.jsonl", lines)
    saved = savings(read_run(tmp_path).steps)
    assert saved is not None
    assert (saved.k0, saved.samples, saved.samples_fixed) == (10, 36, 80)


def test_networks_whose_look_takes_many_steps_count_once(tmp_path: Path) -> None:
    lines = [
        {"step": step, "num_samples": k, "drawn": 0, "seconds": 0.1 * k} for step, k in enumerate(4 * [5] + 4 * [3])
    ]
    for last in (3, 7):
        del lines[last]["drawn"]
    h.write_lines(tmp_path / "metrics.jsonl", lines)
    saved = savings(read_run(tmp_path).steps)
    assert saved is not None
    assert (saved.k0, saved.samples, saved.samples_fixed) == (5, 8, 10)
    h.write_lines(tmp_path / "metrics.jsonl", lines[:3])
    assert savings(read_run(tmp_path).steps) is None


def test_blocks_of_the_network() -> None:
    blocks = read_blocks({"layers": LAYERS}, FOUND)
    told = [(b.name, b.group, b.what, b.kernel, b.hidden, b.width, b.parallel, b.flops, b.params) for b in blocks]
    assert told == [
        ("stem", "", "Conv2d", 3, 8, 8, 1, 700, 70),
        ("blocks.0", "group1", "MBConv", 5, 24, 16, 2, 3200, 320),
        ("blocks.1", "group2", "1×1 instead", 1, 24, 24, 1, 300, 40),
        ("blocks.2", "group2", "skipped", 0, 24, 24, 1, 0, 0),
        ("classifier", "", "Linear", 0, 10, 10, 1, 240, 250),
    ]
    assert blocks[1].options == {"kernel": "5", "act": "swish"}
    inner = [{**layer, "name": f"backbone.{layer['name']}"} for layer in LAYERS]
    assert [block.name for block in read_blocks({"layers": inner}, FOUND)] == [block.name for block in blocks]


def test_torch_s_own_layers_without_weights_are_not_skipped_blocks() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.MaxPool2d(2), Activation(ACT))
    supernet = Supernet(torch.nn.Sequential(*net, torch.nn.Flatten(), torch.nn.Linear(72, 3)))
    for act in ACT.options:
        found = read_blocks(layer_table(supernet, {ACT.name: act}, (1, 8, 8)), {ACT.name: act})
        told = [(block.name, block.what, block.options) for block in found]
        assert told == [("0", "Conv2d", {}), ("3", "Activation", {"act": act}), ("5", "Linear", {})]


def test_thin_keeps_first_and_last_epoch(tmp_path: Path) -> None:
    history = read_run(write_run(tmp_path / "run", epochs=90, steps=2))
    epochs, picked = thin(read_history(history.path / "distribution.jsonl", []), 40)
    assert (epochs[0], epochs[-1], len(picked)) == (0, 89, 40)


def test_theta_is_where_joining_began(tmp_path: Path) -> None:
    assert read_run(write_run(tmp_path / "run", epochs=3, steps=20)).steps.joined_at == 30
    put(tmp_path / "run" / "metrics.jsonl", {"step": 0, "joined": True})
    assert read_run(tmp_path / "run").steps.joined_at is None

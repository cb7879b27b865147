"""The ranges of int8 files, the choice among them, and C source."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fpnas.errors import InputError
from fpnas.shipping import Shipped, to_c
from fpnas.shipping.calibration import METHODS, Seen, halves, nearest


def seen(*batches: np.ndarray) -> Seen:
    made = Seen()
    for batch in batches:
        made.add("x", batch.astype(np.float32))
    return made


def test_min_max_holds_every_value_of_every_batch_and_zero() -> None:
    assert seen(np.array([[1.0, 2.0]]), np.array([[7.0, 3.0]])).bounds("min-max") == {"x": (0.0, 7.0)}
    assert seen(np.array([[-1.0, 2.0]]), np.array([[-5.0, 0.5]])).bounds("min-max") == {"x": (-5.0, 2.0)}


@pytest.mark.parametrize("share", [99.99, 99.9])
def test_percentiles_cut_off_what_is_rare_at_both_ends(share: float) -> None:
    values = np.random.default_rng(0).normal(size=(200, 5000))
    low, high = seen(values).bounds(f"percentile {share}")["x"]
    wanted = np.percentile(values, [100 - share, share])
    np.testing.assert_allclose([low, high], wanted, rtol=0.05)


def test_least_squares_leaves_the_least_error_in_256_steps() -> None:
    """An outlier far away is clipped; evenly spread values are all kept. By trying ranges one by one."""
    draws = np.random.default_rng(0)
    even = draws.uniform(0, 1, size=(50, 1000))
    assert seen(even).bounds("least squares")["x"][1] == pytest.approx(even.max(), rel=1e-6)
    tail = draws.normal(size=(50, 1000)) ** 3
    low, high = seen(tail).bounds("least squares")["x"]

    def error(share: float) -> float:
        least, most = share * tail.min(), share * tail.max()
        step = (most - least) / 255
        return float(np.square(np.round((tail.clip(least, most) - least) / step) * step + least - tail).mean())

    assert high / tail.max() == pytest.approx(low / tail.min(), rel=1e-5)
    assert error(high / tail.max()) <= 1.1 * min(error(share) for share in np.linspace(0.3, 1, 15))
    assert error(high / tail.max()) < error(1.0)


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_that_is_always_zero_has_a_range(method: str) -> None:
    assert seen(np.zeros((2, 9))).bounds(method) == {"x": (0.0, 1.0)}


def test_one_half_calibrates_and_the_other_chooses() -> None:
    images = torch.arange(5.0).reshape(5, 1, 1, 1)
    first, second = halves(images)
    assert torch.equal(torch.cat([first, second]), images)
    assert (len(first), len(second)) == (3, 2)
    assert [len(part) for part in halves(images[:1])] == [1, 1]
    with pytest.raises(InputError, match="calibration images"):
        halves(images[:0])


def test_the_nearest_file_is_taken_and_the_first_where_they_are_equal() -> None:
    images = torch.randn(8, 1, 2, 2, generator=torch.Generator().manual_seed(0))

    def exact(x: Tensor) -> Tensor:
        return x.flatten(1)

    def make(way: str) -> Shipped:
        error = {"far": 1.0, "near": 0.01, "as near": 0.01}[way]
        wrong = error * torch.tensor([1.0, -1.0, 0.0, 0.0])
        return Shipped(way.encode(), lambda x: exact(x) + wrong, None)

    file, way, divergence = nearest(("far", "near", "as near"), make, exact, images)
    assert (file.content, way) == (b"near", "near")
    wanted, found = images.flatten(1).softmax(1), make("far").run(images).softmax(1)
    assert divergence["far"] == pytest.approx(float((wanted * (wanted / found).log()).sum(1).mean()), rel=1e-5)


def test_c_source_holds_the_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) + b"\x00\xff"
    source = to_c(content, "my net-2.int8", "a */ note\nof two lines \\")
    assert bytes(int(byte, 16) for byte in re.findall(r"0x(\w\w),", source)) == content
    assert "alignas(16) static const unsigned char my_net_2_int8[]" in source
    assert "my_net_2_int8_len = 258;" in source
    assert "unsigned char _2x[]" in to_c(b"a", "2x")
    compiler = shutil.which("cc")
    assert compiler, "a C compiler, as Debian's gcc"
    (tmp_path / "net.h").write_text(source)
    name = "my_net_2_int8"
    check = f"{name}[0] == 0 && {name}[255] == 255 && {name}_len == 258 && (unsigned long){name} % 16 == 0"
    (tmp_path / "main.c").write_text(
        f'#include "net.h"\n#include "net.h"\nint main(void) {{ return {check} ? 0 : 1; }}\n'
    )
    subprocess.run([compiler, "-Wall", "-Werror", "-o", "main", "main.c"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "main"], check=False).returncode == 0

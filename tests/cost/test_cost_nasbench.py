"""FLOPs and parameters of all 6,561 architectures of NAS-Bench-Macro equal the published ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fpnas import Flops, Params, spaces

TABLE = Path(__file__).parents[3] / "shared" / "data" / "nas-bench-macro_cifar10.npz"


@pytest.mark.skipif(not TABLE.exists(), reason=f"{TABLE} is not here")
def test_all_published_costs() -> None:
    archive = np.load(TABLE)
    codes = torch.from_numpy(archive["arch"].astype(np.int64))
    with torch.device("meta"):
        net = spaces.nasbench_macro()
    assert len(codes) == net.space.size == 6561
    assert np.array_equal(Flops(net, (3, 32, 32))(codes).numpy(), archive["flops"])
    assert np.array_equal(Params(net, (3, 32, 32))(codes).numpy(), archive["params"])

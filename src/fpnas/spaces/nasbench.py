"""`nasbench_macro`: the layer-wise space of NAS-Bench-Macro (Su et al., 2021); all its 6,561 networks are known."""

from __future__ import annotations

from torch import nn

from fpnas.elastic import Linear, MBConv, Supernet, Switch, conv_norm
from fpnas.space import Choice
from fpnas.spaces.macro import MacroNet, refuse_bad_data

OPTIONS = ("identity", "k3e3", "k5e6")
"""In the order of the table's digits: identity, MBConv kernel 3 expansion 3, MBConv kernel 5 expansion 6."""

_STAGES = (
    # channels, layers; the first layer of each has stride 2
    (64, 2),
    (128, 3),
    (256, 3),
)


def nasbench_macro(num_classes: int = 10, in_channels: int = 3, seed: int = 0) -> Supernet:
    """8 layers of three operations: 6,561 architectures, H0 = 8.79 nats; each layer is a group of its own.

    The operations of a layer share no weights. With stride 2 the identity is a 1x1 convolution with batch norm.
    """
    refuse_bad_data(num_classes, in_channels)
    choices: list[Choice] = []
    blocks: list[nn.Module] = []
    width = 32
    for channels, layers in _STAGES:
        for layer in range(layers):
            stride = 2 if layer == 0 else 1
            choices.append(Choice(f"layer{len(choices) + 1}.operation", OPTIONS))
            identity = conv_norm(width, channels, stride) if stride == 2 else nn.Identity()
            branches = {
                "identity": identity,
                "k3e3": MBConv(width, channels, 3, stride, 3, "relu"),
                "k5e6": MBConv(width, channels, 5, stride, 6, "relu"),
            }
            blocks.append(Switch(choices[-1], branches))
            width = channels
    net = MacroNet(
        stem=conv_norm(in_channels, 32, act="relu", kernel=3),
        blocks=blocks,
        head=conv_norm(width, 1280, act="relu"),
        classifier=Linear(1280, num_classes),
    )
    return Supernet(net, choices, seed=seed, name="nasbench-macro", image_sizes=(16, 128))

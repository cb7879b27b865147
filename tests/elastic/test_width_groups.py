"""Which layers of known networks share a width. What is expected here are Torch-Pruning's dependency groups, written
down once; benchmarks/pretrained/groups.py compares all widths of more models, where torch-pruning is installed."""

from __future__ import annotations

from typing import Any

import pytest
from helpers_benchmarks import benchmark

groups = benchmark("groups", "pretrained")
followed = benchmark("followed")

KNOWN = {
    "timm/mobilenetv2_050": [  # what a block is wide inside; a sum
        "blocks.1.1.conv_pw blocks.1.1.bn1 blocks.1.1.conv_dw blocks.1.1.bn2 >blocks.1.1.conv_pwl",
        "blocks.1.0.conv_pwl blocks.1.0.bn3 blocks.1.1.conv_pwl blocks.1.1.bn3 >blocks.1.1.conv_pw >blocks.2.0.conv_pw",
    ],
    "timm/efficientnet_b0": [  # squeeze-excite multiplies
        "blocks.1.0.conv_pw blocks.1.0.bn1 blocks.1.0.conv_dw blocks.1.0.bn2 >blocks.1.0.conv_pwl"
        " >blocks.1.0.se.conv_reduce blocks.1.0.se.conv_expand",
        "blocks.1.0.se.conv_reduce >blocks.1.0.se.conv_expand",
    ],
    "timm/resnet18": [  # both branches of a sum
        "layer2.0.conv2 layer2.0.bn2 layer2.0.downsample.0 layer2.0.downsample.1 layer2.1.conv2 layer2.1.bn2"
        " >layer2.1.conv1 >layer3.0.conv1 >layer3.0.downsample.0",
    ],
    "timm/convnext_atto": ["stages.1.blocks.0.mlp.fc1 >stages.1.blocks.0.mlp.fc2"],
    # Torch-Pruning has two groups for each of these, one on either side of the convolution in groups.
    "timm/regnety_002": [
        "s2.b1.conv1.conv s2.b1.conv1.bn >s2.b1.conv2.conv s2.b1.conv2.conv s2.b1.conv2.bn"
        " >s2.b1.se.fc1 s2.b1.se.fc2 >s2.b1.conv3.conv",
    ],
    "timm/resnext50_32x4d": [
        "layer1.0.conv1 layer1.0.bn1 >layer1.0.conv2 layer1.0.conv2 layer1.0.bn2 >layer1.0.conv3",
    ],
    "timm/ghostnet_100": [  # a concatenation of two equal parts, added to one
        "blocks.1.0.ghost2.primary_conv.0[0:12] blocks.1.0.ghost2.primary_conv.1[0:12]"
        " blocks.1.0.ghost2.cheap_operation.0[0:12] blocks.1.0.ghost2.cheap_operation.1[0:12]"
        " blocks.2.0.ghost2.primary_conv.0[0:12] blocks.2.0.ghost2.primary_conv.1[0:12]"
        " blocks.2.0.ghost2.cheap_operation.0[0:12] blocks.2.0.ghost2.cheap_operation.1[0:12]"
        " blocks.1.0.shortcut.2[0:24] blocks.1.0.shortcut.3[0:24] blocks.3.0.shortcut.0[0:24]"
        " blocks.3.0.shortcut.1[0:24] >blocks.2.0.ghost1.primary_conv.0[0:24] >blocks.3.0.ghost1.primary_conv.0[0:24]"
        " >blocks.3.0.shortcut.2[0:24]",
    ],
    "torchvision/densenet121": [  # concatenations of concatenations: where in them the channels lie
        "features.denseblock4.denselayer14.conv2[0:32] features.denseblock4.denselayer15.norm1[928:960]"
        " >features.denseblock4.denselayer15.conv1[928:960] features.denseblock4.denselayer16.norm1[928:960]"
        " >features.denseblock4.denselayer16.conv1[928:960] features.norm5[928:960] >classifier[928:960]",
    ],
    "torchvision/squeezenet1_1": ["features.3.expand3x3[0:64] >features.4.squeeze[64:128]"],
    "torchvision/vgg11_bn": [
        "features.25[0:512] features.26[0:512] >classifier.0[0:25088]"
    ],  # maps of 7 x 7, flattened
}


@pytest.mark.parametrize("name", KNOWN)
def test_layers_that_share_a_width(name: str) -> None:
    """`>` marks a layer's inputs; channels are written down where they tell something."""
    found = groups.ours(followed.model(name), (3, 96, 96)).groups
    for group in KNOWN[name]:
        assert set(group.split()) in [{_written(place, "[" in group) for place in places} for places in found]


def _written(place: Any, with_channels: bool) -> str:
    channels = "".join(f"[{start}:{stop}]" for start, stop in place.channels)
    return f"{'>' if place.side == 'ins' else ''}{place.layer}{channels if with_channels else ''}"


def test_a_difference_without_a_reason_is_said() -> None:
    """A batch norm that one side has and the other lacks is none of the known differences, whoever lacks it."""
    conv, norm = groups.Place("conv", "outs", ((0, 8),)), groups.Place("norm", "outs", ((0, 8),))
    larger, smaller = frozenset([conv, norm]), frozenset([conv])
    for mine, theirs in ((larger, smaller), (smaller, larger)):
        own = groups.Ours({mine: ""}, set())
        assert groups.reasons(own, groups.Theirs({theirs}, {"conv", "norm"})) == {groups.UNEXPLAINED: 1}
        assert groups.reasons(own, groups.Theirs({mine}, {"conv", "norm"})) == {}
    held = groups.Ours({smaller: "'mul' with a fixed width at File x"}, set())
    assert list(groups.reasons(held, groups.Theirs({larger}, {"conv", "norm"}))) == [
        "left whole here: 'mul' with a fixed width"
    ]

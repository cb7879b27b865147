"""`fbnetv2_f`: the macro-architecture FBNetV2-F (FP-NAS table 1) with the micro-architectures of FBNetV2 (table 2)."""

from __future__ import annotations

from fpnas.elastic import Supernet
from fpnas.spaces.macro import FBNETV2, Row, channels, macro_supernet, span

_E = span(0.75, 4.5, 0.75)

TABLE_1 = (
    # expansion   out channels            repeat  stride of the first
    Row((1,), channels(12, 16, 4), 1, 1),
    Row(_E, channels(16, 24, 4), 1, 2),
    Row(_E, channels(16, 24, 4), 2, 1),
    Row(_E, channels(16, 40, 8), 1, 2),
    Row(_E, channels(16, 40, 8), 2, 1),
    Row(_E, channels(48, 80, 8), 1, 2),
    Row(_E, channels(48, 80, 8), 2, 1),
    Row(_E, channels(72, 112, 8), 3, 1),
    Row(_E, channels(112, 184, 8), 1, 2),
    Row(_E, channels(112, 184, 8), 3, 1),
)
STEM, HEAD = 16, 1984
IMAGE_SIZES = (32, 512)


def fbnetv2_f(num_classes: int = 1000, in_channels: int = 3, seed: int = 0) -> Supernet:
    """FBNetV2-F: 10 groups of 17 blocks, the blocks of a group sharing one choice.

    2.6956e24 architectures, H0 = 56.25 nats, 3,624 joint logits, 177 factorised (group 1's only expansion has one).
    """
    return macro_supernet(
        "fbnetv2-f",
        TABLE_1,
        FBNETV2,
        stem=STEM,
        head=HEAD,
        image_sizes=IMAGE_SIZES,
        num_classes=num_classes,
        in_channels=in_channels,
        seed=seed,
    )

"""The spaces on the macro-architecture FBNetV2-F (FP-NAS table 1) with the micro-architectures of table 2."""

from __future__ import annotations

from functools import partial

from fpnas.elastic import Supernet
from fpnas.spaces.macro import FBNETV2, FP_NAS, Row, channels, macro_supernet, span

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

_on_table_1 = partial(macro_supernet, rows=TABLE_1, stem=16, head=1984, image_sizes=(32, 512))


def fbnetv2_f(num_classes: int = 1000, in_channels: int = 3, seed: int = 0) -> Supernet:
    """FBNetV2-F: 10 groups of 17 blocks, the blocks of a group sharing one choice.

    2.6956e24 architectures, H0 = 56.25 nats, 3,624 joint logits, 177 factorised (group 1's only expansion has one).
    The paper prints 6e25 architectures.
    """
    return _on_table_1("fbnetv2-f", micro=FBNETV2, num_classes=num_classes, in_channels=in_channels, seed=seed)


def fbnetv2_f_fine(num_classes: int = 1000, in_channels: int = 3, seed: int = 0) -> Supernet:
    """FBNetV2-F-Fine: as `fbnetv2_f`, each of the 17 blocks choosing for itself.

    5.84e42 architectures; the paper prints 1e45.
    """
    return _on_table_1(
        "fbnetv2-f-fine", micro=FBNETV2, num_classes=num_classes, in_channels=in_channels, seed=seed, fine=True
    )


def fbnetv2_fpp(num_classes: int = 1000, in_channels: int = 3, seed: int = 0) -> Supernet:
    """FBNetV2-F++: as `fbnetv2_f`, with split attention (0, 1, 2 or 4 splits) in place of squeeze-excite.

    2.76e27 architectures, 7,248 joint logits, 197 factorised (group 1's only expansion has
    one). The paper prints no size.
    """
    return _on_table_1("fbnetv2-fpp", micro=FP_NAS, num_classes=num_classes, in_channels=in_channels, seed=seed)

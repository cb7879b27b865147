"""The spaces on the macro-architecture FBNetV2-F (FP-NAS table 1) with the micro-architectures of table 2."""

from __future__ import annotations

from fpnas.elastic import Supernet
from fpnas.spaces.macro import EXPANSION, FBNETV2, FP_NAS, INT8, Row, channels, macro_supernet

TABLE_1 = (
    # expansion   out channels            repeat  stride of the first
    Row((1,), channels(12, 16, 4), 1, 1),
    Row(EXPANSION, channels(16, 24, 4), 1, 2),
    Row(EXPANSION, channels(16, 24, 4), 2, 1),
    Row(EXPANSION, channels(16, 40, 8), 1, 2),
    Row(EXPANSION, channels(16, 40, 8), 2, 1),
    Row(EXPANSION, channels(48, 80, 8), 1, 2),
    Row(EXPANSION, channels(48, 80, 8), 2, 1),
    Row(EXPANSION, channels(72, 112, 8), 3, 1),
    Row(EXPANSION, channels(112, 184, 8), 1, 2),
    Row(EXPANSION, channels(112, 184, 8), 3, 1),
)


def fbnetv2_f(num_classes: int = 1000, in_channels: int = 3, seed: int = 0) -> Supernet:
    """FBNetV2-F: 10 groups of 17 blocks, the blocks of a group sharing one choice.

    2.6956e24 architectures, H0 = 56.25 nats, 3,624 joint logits, 177 factorised (group 1's only expansion has one).
    The paper prints 6e25 architectures.
    """
    return macro_supernet("fbnetv2-f", TABLE_1, FBNETV2, num_classes, in_channels, seed)


def fbnetv2_f_fine(num_classes: int = 1000, in_channels: int = 3, seed: int = 0) -> Supernet:
    """FBNetV2-F-Fine: as `fbnetv2_f`, each of the 17 blocks choosing for itself.

    5.84e42 architectures; the paper prints 1e45.
    """
    return macro_supernet("fbnetv2-f-fine", TABLE_1, FBNETV2, num_classes, in_channels, seed, fine=True)


def fbnetv2_fpp(num_classes: int = 1000, in_channels: int = 3, seed: int = 0) -> Supernet:
    """FBNetV2-F++: as `fbnetv2_f`, with split attention (0, 1, 2 or 4 splits) in place of squeeze-excite.

    2.76e27 architectures, 7,248 joint logits, 197 factorised. The paper prints no size.
    """
    return macro_supernet("fbnetv2-fpp", TABLE_1, FP_NAS, num_classes, in_channels, seed)


def fbnetv2_f_int8(num_classes: int = 1000, in_channels: int = 3, seed: int = 0) -> Supernet:
    """As `fbnetv2_f`, with hardswish in place of swish and a hard gate in squeeze-excite; not in the paper."""
    return macro_supernet("fbnetv2-f-int8", TABLE_1, INT8, num_classes, in_channels, seed)

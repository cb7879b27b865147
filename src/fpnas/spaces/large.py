"""`fpnas_l0`, `_l1`, `_l2`: the FP-NAS spaces for large networks.

The paper says that they widen table 1 (more channel choices), deepen it (more repeats) and take larger inputs; it
prints their inputs, blocks, sizes and median FLOPs, not their rows. The rows are ours, chosen to meet these figures.
"""

from __future__ import annotations

from fpnas.elastic import Supernet
from fpnas.spaces.macro import EXPANSION, FP_NAS, Row, channels, macro_supernet

L0 = (
    # expansion   out channels            repeat  stride of the first
    Row((1,), channels(12, 24, 4), 1, 1),
    Row(EXPANSION, channels(20, 56, 4), 1, 2),
    Row(EXPANSION, channels(20, 56, 4), 3, 1),
    Row(EXPANSION, channels(32, 84, 4), 1, 2),
    Row(EXPANSION, channels(32, 84, 4), 4, 1),
    Row(EXPANSION, channels(72, 140, 4), 1, 2),
    Row(EXPANSION, channels(72, 140, 4), 4, 1),
    Row(EXPANSION, channels(112, 196, 4), 5, 1),
    Row(EXPANSION, channels(184, 284, 4), 1, 2),
    Row(EXPANSION, channels(184, 284, 4), 6, 1),
)

L1 = (
    Row((1,), channels(12, 40, 4), 1, 1),
    Row(EXPANSION, channels(16, 92, 4), 1, 2),
    Row(EXPANSION, channels(16, 92, 4), 4, 1),
    Row(EXPANSION, channels(24, 148, 4), 1, 2),
    Row(EXPANSION, channels(24, 148, 4), 5, 1),
    Row(EXPANSION, channels(48, 236, 4), 1, 2),
    Row(EXPANSION, channels(48, 236, 4), 5, 1),
    Row(EXPANSION, channels(80, 300, 4), 6, 1),
    Row(EXPANSION, channels(120, 404, 4), 1, 2),
    Row(EXPANSION, channels(120, 404, 4), 7, 1),
)

L2 = (
    Row((1,), channels(12, 40, 4), 1, 1),
    Row(EXPANSION, channels(20, 88, 4), 1, 2),
    Row(EXPANSION, channels(20, 88, 4), 4, 1),
    Row(EXPANSION, channels(32, 140, 4), 1, 2),
    Row(EXPANSION, channels(32, 140, 4), 5, 1),
    Row(EXPANSION, channels(64, 236, 4), 1, 2),
    Row(EXPANSION, channels(64, 236, 4), 5, 1),
    Row(EXPANSION, channels(96, 316, 4), 6, 1),
    Row(EXPANSION, channels(144, 428, 4), 1, 2),
    Row(EXPANSION, channels(144, 428, 4), 7, 1),
)


def fpnas_l0(num_classes: int = 1000, in_channels: int = 3, seed: int = 0) -> Supernet:
    """27 blocks, 2.4e32 architectures, median 0.38 GFLOPs at 224 px. The paper prints 27, 2e32 and 0.39."""
    return macro_supernet("fpnas-l0", L0, FP_NAS, num_classes, in_channels, seed)


def fpnas_l1(num_classes: int = 1000, in_channels: int = 3, seed: int = 0) -> Supernet:
    """32 blocks, 1.4e36 architectures, median 0.90 GFLOPs at 240 px. The paper prints 32, 1e36 and 0.9."""
    return macro_supernet("fpnas-l1", L1, FP_NAS, num_classes, in_channels, seed)


def fpnas_l2(num_classes: int = 1000, in_channels: int = 3, seed: int = 0) -> Supernet:
    """32 blocks, 7.3e35 architectures, median 1.07 GFLOPs at 256 px. The paper prints 32, 1e36 and 1.1."""
    return macro_supernet("fpnas-l2", L2, FP_NAS, num_classes, in_channels, seed)

"""`tiny`: a small space of our own for images of 28 to 64 pixels on a CPU; FP-NAS's five variables a group."""

from __future__ import annotations

from fpnas.elastic import Supernet
from fpnas.spaces.macro import FP_NAS, INT8, Row, channels, macro_supernet

ROWS = (
    # expansion   out channels            repeat  stride of the first
    Row((2, 3, 4), channels(16, 24, 4), 1, 1),
    Row((2, 3, 4), channels(24, 40, 8), 2, 2),
    Row((2, 3, 4), channels(40, 64, 12), 2, 1),
    Row((2, 3, 4), channels(64, 96, 16), 2, 2),
)


def tiny(num_classes: int = 10, in_channels: int = 3, seed: int = 0) -> Supernet:
    """4 groups of 7 blocks, 2.18e9 architectures, H0 = 21.5 nats. Its rows are ours."""
    return macro_supernet("tiny", ROWS, FP_NAS, num_classes, in_channels, seed, head=192, image_sizes=(16, 128))


def tiny_int8(num_classes: int = 10, in_channels: int = 3, seed: int = 0) -> Supernet:
    """The rows of `tiny` for int8 files: relu or hardswish, and squeeze-excite with a hard gate or none.

    1.36e8 architectures, H0 = 18.7 nats.
    """
    return macro_supernet("tiny-int8", ROWS, INT8, num_classes, in_channels, seed, head=192, image_sizes=(16, 128))

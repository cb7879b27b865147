"""What the papers print of their spaces, as data; our own figures are derived from the code and stand beside these.

Every figure here is *stated*: printed in the paper that `source` names. Where a paper prints nothing, the entry is
None. The sizes that FP-NAS prints are not those which its own tables 1 and 2 give, and it doesn't show how it counts.
"""

from __future__ import annotations

from dataclasses import dataclass

FP_NAS_PAPER = "Yan et al., FP-NAS, CVPR 2021"
NASBENCH_MACRO_PAPER = "Su et al., NAS-Bench-Macro, CVPR 2021"


@dataclass(frozen=True)
class Published:
    """Stated figures of one space.

    Args:
        source: the paper.
        size: number of architectures.
        image_size: input, px.
        blocks: number of searchable blocks.
        median_flops: multiply-adds, the median over random architectures at `image_size`.
        largest_flops: input size in px, and the multiply-adds of the space's largest network there.
    """

    source: str
    size: float | None = None
    image_size: int | None = None
    blocks: int | None = None
    median_flops: float | None = None
    largest_flops: tuple[int, float] | None = None


PUBLISHED: dict[str, Published] = {
    "fbnetv2-f": Published(FP_NAS_PAPER, size=6e25, image_size=224),
    "fbnetv2-f-fine": Published(FP_NAS_PAPER, size=1e45, image_size=224),
    "fbnetv2-fpp": Published(FP_NAS_PAPER, image_size=224, largest_flops=(128, 122e6)),
    "fpnas-l0": Published(FP_NAS_PAPER, size=2e32, image_size=224, blocks=27, median_flops=0.39e9),
    "fpnas-l1": Published(FP_NAS_PAPER, size=1e36, image_size=240, blocks=32, median_flops=0.9e9),
    "fpnas-l2": Published(FP_NAS_PAPER, size=1e36, image_size=256, blocks=32, median_flops=1.1e9),
    "nasbench-macro": Published(NASBENCH_MACRO_PAPER, size=6561, image_size=32, blocks=8),
}
"""By the name of the space; no paper knows `tiny` and the int8 spaces, which are ours."""

IMAGE_SIZES: dict[str, int] = {
    "tiny": 32,
    "tiny-int8": 32,
    "fbnetv2-f-int8": 224,
    **{name: figures.image_size for name, figures in PUBLISHED.items() if figures.image_size is not None},
}
"""The input in px that each space is made for: the printed one, and ours for our own. All take others as well."""

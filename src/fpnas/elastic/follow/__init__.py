"""Which layers of a network share a width: a walk along its `torch.fx` graph, by rules for what each call does.

`library` writes layers of timm and torchvision as torch's, `tracing` makes the graph, `widths` says what channels are
made of, `moves` and `walk` follow them, `importance` sorts them; `choices` and `counterparts` say what becomes elastic.
"""

from fpnas.elastic.follow.choices import Choices, in_block
from fpnas.elastic.follow.counterparts import counterpart, take_weights
from fpnas.elastic.follow.importance import Importance, sort_channels
from fpnas.elastic.follow.library import as_torch
from fpnas.elastic.follow.loss_changes import Batches
from fpnas.elastic.follow.tracing import Tracer
from fpnas.elastic.follow.walk import Followed, Network, Use, follow, is_depthwise
from fpnas.elastic.follow.widths import Layout, Segment, Width, resolved

__all__ = [
    "Batches",
    "Choices",
    "Followed",
    "Importance",
    "Layout",
    "Network",
    "Segment",
    "Tracer",
    "Use",
    "Width",
    "as_torch",
    "counterpart",
    "follow",
    "in_block",
    "is_depthwise",
    "resolved",
    "sort_channels",
    "take_weights",
]

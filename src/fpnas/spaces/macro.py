"""From a table of rows to a supernet: stem, searchable MBConv groups, head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from fpnas.elastic import Linear, Stage, Staged, Supernet, conv_norm, searchable_mbconv
from fpnas.elastic.dims import Dim
from fpnas.errors import InputError
from fpnas.space import Choice, Option


@dataclass(frozen=True)
class Row:
    """A block group: options of the expansion and of the output channels, repeat, stride of the first block."""

    expansion: tuple[float, ...]
    channels: tuple[int, ...]
    repeat: int
    stride: int


@dataclass(frozen=True)
class Micro:
    """What a block chooses beside its widths. Kernel 0 bypasses it; for splits and the hard gate see `MBConv`."""

    kernel: tuple[int, ...]
    act: tuple[str, ...]
    splits: tuple[int, ...]
    hard_gate: bool = False


FBNETV2 = Micro(kernel=(0, 3, 5), act=("relu", "swish"), splits=(0, 1))
FP_NAS = Micro(kernel=(0, 3, 5), act=("relu", "swish"), splits=(0, 1, 2, 4))
INT8 = Micro(kernel=(0, 3, 5), act=("relu", "hardswish"), splits=(0, 1), hard_gate=True)
"""Ours: no exponential functions, which 8-bit integers take from tables."""


EXPANSION = (0.75, 1.5, 2.25, 3.0, 3.75, 4.5)
"""The options of the expansion in all of the paper's tables."""


def channels(least: int, most: int, step: int) -> tuple[int, ...]:
    """The options that the paper writes as (min, max, step), both ends included."""
    return tuple(range(least, most + 1, step))


class MacroNet(Staged):
    """Stem, searchable blocks, 1x1 head convolution, average pool, classifier: (N, C, H, W) -> (N, classes)."""

    def __init__(self, stem: nn.Module, blocks: Sequence[nn.Module], head: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.Sequential(*blocks)
        self.head = head
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        return self._classify(self.blocks(self.stem(x)))

    def _classify(self, x: Tensor) -> Tensor:
        return self.classifier(self.head(x).mean((2, 3)))

    def stages(self) -> list[Stage]:
        """What `forward` is a chain of."""
        parts = [Stage(part, (part,)) for part in (self.stem, *self.blocks)]
        return [*parts, Stage(self._classify, (self.head, self.classifier))]


def macro_supernet(
    name: str,
    rows: Sequence[Row],
    micro: Micro,
    num_classes: int,
    in_channels: int,
    seed: int,
    *,
    stem: int = 16,
    head: int = 1984,
    image_sizes: tuple[int, int] = (32, 512),
    fine: bool = False,
) -> Supernet:
    """The supernet of a table of rows.

    Args:
        name: of the space.
        rows: the block groups, in order.
        micro: the options of every block beside its widths.
        num_classes: of the classifier.
        in_channels: of the images.
        seed: of the weights.
        stem: channels of the stem, a 3x3 convolution with stride 2, batch norm and ReLU.
        head: channels of the 1x1 head convolution, with batch norm and ReLU.
        image_sizes: least and largest input size.
        fine: each block chooses for itself; otherwise the blocks of a group share one choice.
    """
    refuse_bad_data(num_classes, in_channels)
    choices: list[Choice] = []
    blocks: list[nn.Module] = []
    width: Dim = stem
    kernel = act = splits = expansion = outs = Choice("unset", (0,))
    for number, row in enumerate(rows, start=1):
        for repeat in range(row.repeat):
            if fine or repeat == 0:
                owner = f"block{len(blocks) + 1}" if fine else f"group{number}"

                def choice(variable: str, options: tuple[Option, ...], owner: str = owner) -> Choice:
                    choices.append(Choice(f"{owner}.{variable}", options))
                    return choices[-1]

                kernel, act = choice("kernel", micro.kernel), choice("act", micro.act)
                splits, expansion = choice("splits", micro.splits), choice("expansion", row.expansion)
                outs = choice("channels", row.channels)
            stride = row.stride if repeat == 0 else 1
            made = searchable_mbconv(width, outs, kernel, stride, expansion, act, splits, micro.hard_gate)
            blocks.append(made)
            width = outs
    net = MacroNet(
        stem=conv_norm(in_channels, stem, stride=2, act="relu", kernel=3),
        blocks=blocks,
        head=conv_norm(width, head, act="relu"),
        classifier=Linear(head, num_classes),
    )
    return Supernet(net, choices, seed=seed, name=name, image_sizes=image_sizes)


def refuse_bad_data(num_classes: int, in_channels: int) -> None:
    """`InputError` where there is nothing to classify."""
    if num_classes < 2 or in_channels < 1:
        got = f"{num_classes} classes, {in_channels} channels"
        raise InputError("at least 2 classes and 1 input channel", got, "look at the data")

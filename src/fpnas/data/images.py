"""`ImageSet`, labelled images in memory, and `ImageData`, a training and a held-out set of them.

Images stay uint8 until a batch is normalized, so that 60,000 small images take tens of megabytes, not hundreds.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from torch import Tensor

from fpnas.data.labelled import Data, HeldoutFrom, LabelledSet, Normalization, check_groups, check_labels
from fpnas.errors import InputError, unknown_name

Fit = Literal["crop", "stretch"]
"""How an image that isn't square becomes so: its central square is cut out, or all of it is stretched."""

LARGEST_DEFAULT = 224
"""The most pixels a side that are taken unless more are asked for."""

MIN_STD = 1e-3
"""The least standard deviation to divide by: a channel that is constant has none."""

_COUNTED = 2**22
"""How many values are counted at once: torch makes eight bytes of each."""

_RESIZE_FLOATS = 4_000_000
"""How many output values are resized at once: 16 MB in float32."""


@dataclass(frozen=True, eq=False)
class ImageSet(LabelledSet):
    """Images and their labels; `inputs` is (N, C, H, W) uint8, `labels` (N,) int64, not negative.

    Raises:
        InputError: a wrong type or shape, no image, unequal counts, or a negative label.
    """

    def __post_init__(self) -> None:
        images = self.inputs
        if images.dtype != torch.uint8 or images.ndim != 4 or images.numel() == 0:
            got = f"{images.dtype} of shape {tuple(images.shape)}"
            raise InputError("images as uint8 of shape (N, C, H, W), none of them 0", got, "convert them first")
        check_labels(self.labels, len(images), "image")
        check_groups(self.groups, len(images))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of each image."""
        channels, height, width = self.inputs.shape[1:]
        return channels, height, width

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel, see `channel_statistics`."""
        return channel_statistics(self.inputs)

    def relabelled(self, labels: Tensor) -> ImageSet:
        """The same images with other labels."""
        return ImageSet(self.inputs, labels, self.groups)

    def resized(self, size: int, fit: Fit = "crop") -> ImageSet:
        """The images as `size` x `size` pixels, see `resize_images`; itself where they are so.

        Raises:
            InputError: the resized images don't fit into memory.
        """
        count, channels, height, width = self.inputs.shape
        if height == size and width == size:
            return self
        resized = room((count, channels, size, size), self.inputs.device)
        chunk = max(1, _RESIZE_FLOATS // (channels * max(size, height) * max(size, width)))
        for start in range(0, count, chunk):
            part = slice(start, start + chunk)
            resized[part] = resize_images(self.inputs[part], size, fit)
        return ImageSet(resized, self.labels, self.groups)


def resize_images(images: UInt8[Tensor, "n c h w"], size: int, fit: Fit) -> UInt8[Tensor, "n c s s"]:
    """`size` x `size` pixels (bilinear, antialiased where they shrink) of the central square, or of all of it."""
    height, width = images.shape[2:]
    if fit == "crop":
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        images = images[:, :, top : top + side, left : left + side]
    if images.shape[2:] == (size, size):
        return images
    # Through float32: torch's bilinear uint8 kernel is off by one in a fifth of the pixels.
    values = F.interpolate(images.float(), size=(size, size), mode="bilinear", align_corners=False, antialias=True)
    return values.round_().clamp_(0, 255).to(torch.uint8)


def known_fit(name: str) -> Fit:
    """The fit of that name, or `InputError`."""
    for fit in get_args(Fit):
        if fit == name:
            return fit
    raise unknown_name("fit", name, get_args(Fit))


def room(shape: tuple[int, ...], device: torch.device | None = None) -> UInt8[Tensor, "n c h w"]:
    """Memory for images, or `InputError` where there isn't so much."""
    try:
        return torch.empty(shape, dtype=torch.uint8, device=device)
    except RuntimeError as error:
        count, _, height, width = shape
        got = f"{count} images of {height} x {width} pixels ({math.prod(shape) / 2**30:.1f} GiB)"
        raise InputError("images that fit into memory", got, "choose a smaller image size") from error


@dataclass(frozen=True, eq=False)
class ImageData(Data):
    """A data set: the images to learn from and those that are held out; square, of one size. Made with `ImageData.of`.

    Attributes:
        mean: of the training images scaled to 0..1, a number a channel.
        std: likewise the standard deviation, at least `MIN_STD`.
        fit: how images that weren't square became so.
        class_subset: how the classes were chosen where they aren't all, such as "10 classes by seed 0".
        skipped: the unreadable images that were left out, by name; None where nothing had to be decoded.

    Raises:
        InputError: fewer than two classes, a label beyond them, or images of another shape than the rest.
    """

    train: ImageSet
    heldout: ImageSet
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: Fit = "crop"
    class_subset: str | None = None
    skipped: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        shape = self.train.shape
        if shape[1] != shape[2] or self.heldout.shape != shape:
            got = f"{shape} in training and {self.heldout.shape} held out"
            raise InputError("square images of one shape", got, "resize them to one size")
        if len(self.mean) != shape[0] or len(self.std) != shape[0]:
            got = f"{len(self.mean)} and {len(self.std)} numbers"
            raise InputError(f"a mean and a std for each of {shape[0]} channels", got, "use ImageData.of")
        self.check_classes("images")

    @classmethod
    def of(
        cls,
        name: str,
        train: ImageSet,
        heldout: ImageSet,
        *,
        classes: tuple[str, ...],
        heldout_from: HeldoutFrom,
        image_size: int | None = None,
        fit: Fit = "crop",
        class_subset: str | None = None,
        skipped: tuple[str, ...] | None = None,
    ) -> ImageData:
        """Brings both sets to `image_size`, by default the shorter side but at most `LARGEST_DEFAULT`, and measures."""
        size = image_size or min(*train.shape[1:], LARGEST_DEFAULT)
        train, heldout = train.resized(size, fit), heldout.resized(size, fit)
        mean, std = train.statistics()
        return cls(name, train, heldout, classes, heldout_from, mean, std, fit, class_subset, skipped)

    def settings(self) -> dict[str, Any]:
        return {
            "data": self.name,
            "data_digest": self.digest,
            "image_size": self.image_size,
            "fit": self.fit,
            "class_subset": self.class_subset,
            "data_classes": list(self.classes),
            "data_mean": list(self.mean),
            "data_std": list(self.std),
            "data_skipped": len(self.skipped or ()),
            **({} if self.train.groups is None else {"split_by": self._split_by(self.train.groups)}),
        }

    def _split_by(self, groups: Tensor) -> str:
        """How many groups there are, and a hash of who is in which."""
        held = () if self.heldout.groups is None else (self.heldout.groups,)
        numbers = torch.cat([groups, *held]).unique(return_inverse=True)[1]
        digest = hashlib.blake2b(numbers.numpy().tobytes(), digest_size=8).hexdigest()
        return f"{int(numbers.max()) + 1} groups, {digest}"

    @property
    def in_channels(self) -> int:
        """Channels of an image: 1 for grey, 3 for colour."""
        return self.train.shape[0]

    @property
    def image_size(self) -> int:
        """Pixels a side."""
        return self.train.shape[1]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        return self.in_channels, self.image_size, self.image_size

    @property
    def input_dtype(self) -> torch.dtype | None:
        return None

    def describe(self) -> dict[str, Any]:
        return {"image_size": self.image_size, "in_channels": self.in_channels}

    def resized(self, size: int) -> ImageData:
        """The images at another size, their mean and standard deviation measured anew; itself where they are of it."""
        if size == self.image_size:
            return self
        train, heldout = self.train.resized(size, self.fit), self.heldout.resized(size, self.fit)
        mean, std = train.statistics()
        return replace(self, train=train, heldout=heldout, mean=mean, std=std)

    def normalized_by(self, normalization: Normalization | None) -> ImageData:
        """The same images, brought to a network's own mean and standard deviation instead of those of the images."""
        if normalization is None:
            return self
        mean, std = normalization
        return replace(self, mean=tuple(mean), std=tuple(std))

    def normalize(self, inputs: UInt8[Tensor, "n c h w"]) -> Float32[Tensor, "n c h w"]:
        """(inputs / 255 - mean) / std, in channels-last memory, on the images' device."""
        return normalize(inputs, self.mean, self.std)


def normalize(
    images: UInt8[Tensor, "n c h w"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float32[Tensor, "n c h w"]:
    """(images / 255 - mean) / std, a number a channel, in channels-last memory, on the images' device."""
    assert images.shape[1] == len(mean), f"{images.shape[1]} channels, not {len(mean)}"
    scales = [1 / (255 * value) for value in std]
    shifts = [-middle / value for middle, value in zip(mean, std, strict=True)]
    # Not made on the device: that would wait for all that it has yet to do.
    scale, shift = (
        torch.tensor(values).view(1, -1, 1, 1).to(images.device, non_blocking=True) for values in (scales, shifts)
    )
    if len(mean) > 1 and images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous():
        # A row of pixels at a time, as streams decode them: a channel's scale by itself is too little for a loop.
        number, channels, height, width = images.shape
        rows = images.permute(0, 2, 3, 1).reshape(-1, width * channels).float()
        rows.mul_(scale.flatten().repeat(width)).add_(shift.flatten().repeat(width))
        return rows.view(number, height, width, channels).permute(0, 3, 1, 2)
    # In place, and in the order that batches come in: faster than torch.addcmul, or than reordering first.
    values = images.float().mul_(scale).add_(shift)
    # Not .contiguous(): with one channel it keeps strides that convolutions don't take for channels-last.
    return torch.empty_like(values, memory_format=torch.channels_last).copy_(values)


def channel_statistics(images: UInt8[Tensor, "n c h w"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, for values scaled to 0..1.

    They come from exact sums of integers, so they are the same whatever the order, the threads or the machine.
    """
    means, stds = list[float](), list[float]()
    values = torch.arange(256, device=images.device)
    # By parts: images may be more than memory holds, and a channel's values have to be copied together.
    parts = images.split(max(1, _COUNTED // images[0].numel()))
    for channel in range(images.shape[1]):
        counts = torch.stack([part[:, channel].flatten().bincount(minlength=256) for part in parts]).sum(0)
        count, total, squares = (int((counts * values**power).sum()) for power in range(3))
        means.append(total / count / 255)
        stds.append(max(MIN_STD, (count * squares - total * total) ** 0.5 / count / 255))
    return tuple(means), tuple(stds)

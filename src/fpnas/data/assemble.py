"""From what a reader found to an `ImageData`: labels are checked, classes chosen, a fifth is held out where nothing is,
encoded images are decoded, all are brought to one size. What only needs labels comes before anything is decoded.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from fpnas.data.decoding import SAMPLE, are_streamed, decode_all, measure
from fpnas.data.duplicates import nearly_equal
from fpnas.data.groups import groups_of
from fpnas.data.images import ImageData, ImageSet
from fpnas.data.request import Encoded, Parts, Request
from fpnas.data.splits import stratified_split
from fpnas.data.store import with_places
from fpnas.data.streamed import Stream, StreamedSet
from fpnas.errors import InputError
from fpnas.streams import generator

HELDOUT = 0.2
"""The fraction of each class that is held out where the data has no images of its own for that."""


def assemble(parts: Parts, request: Request) -> ImageData:
    """The data set, as it was asked for.

    Raises:
        InputError: labels that don't fit, too few classes or images, unreadable images, too little memory or disk.
    """
    _check(parts)
    groups, heldout_groups = groups_of(parts, request)
    request = replace(request, image_size=request.image_size or parts.image_size)
    train_labels = parts.train.labels
    names, subset = parts.classes, None
    new = torch.arange(len(names))
    if request.classes is not None:
        chosen = _choose_classes(train_labels, request.classes, request.classes_seed)
        names = tuple(names[label] for label in chosen.tolist())
        subset = f"{request.classes} classes by seed {request.classes_seed}"
        new = torch.full_like(new, -1).scatter(0, chosen, torch.arange(len(chosen)))
    of_train = (new[train_labels] >= 0).nonzero().flatten()
    if parts.heldout is None:
        own = None if groups is None else groups[of_train]
        kept, held = stratified_split(new[train_labels[of_train]], HELDOUT, request.seed, own)
        sources = [Source(parts.train, of_train[kept], groups), Source(parts.train, of_train[held], groups)]
    else:
        chosen = (new[parts.heldout.labels] >= 0).nonzero().flatten()
        sources = [Source(parts.train, of_train, groups), Source(parts.heldout, chosen, heldout_groups)]
        if len(chosen) == 0:
            raise InputError("held-out images of the chosen classes", "none", "choose more classes, or another seed")
    sets, skipped, size = _pixels(sources, request)
    train, heldout = (part.relabelled(new[part.labels]) for part in sets)
    _check_strangers(parts.name, names, train.labels, heldout.labels)
    return ImageData.of(
        parts.name,
        train,
        heldout,
        classes=names,
        heldout_from=parts.heldout_from,
        image_size=size,
        fit=request.fit,
        class_subset=subset,
        skipped=skipped,
    )


class Source(NamedTuple):
    """Images that a reader found, the indices of those that are wanted, and the groups of all of them."""

    images: ImageSet | Encoded
    indices: Tensor
    groups: Tensor | None


def _pixels(sources: list[Source], request: Request) -> tuple[list[ImageSet], tuple[str, ...] | None, int | None]:
    """Both parts as images with the labels they had, the names of what was skipped, and the size.

    Of images that were decoded it warns where the parts have some in common.
    """
    encoded = [(source.images, source.indices) for source in sources if isinstance(source.images, Encoded)]
    if not encoded:
        whole = [(source.images, source.indices) for source in sources if isinstance(source.images, ImageSet)]
        # All images in their order are not worth a copy.
        sets = [source if len(indices) == len(source) else source.subset(indices) for source, indices in whole]
        return sets, None, request.image_size
    assert len(encoded) == len(sources), "a reader gives pixels or encoded images, not both"
    if are_streamed(encoded, request):
        return _streams(sources, encoded, request)
    found = decode_all(encoded, request)
    places = [source.indices[part.kept] for part, source in zip(found, sources, strict=True)]
    sets = [
        ImageSet(part.images, source.labels[kept], None if groups is None else groups[kept])
        for part, (source, _, groups), kept in zip(found, sources, places, strict=True)
    ]
    of_train, of_heldout = nearly_equal(sets[0].inputs, sets[1].inputs)
    if len(of_train):
        pairs = [(places[0][of_train[:2]], encoded[0][0]), (places[1][of_heldout[:2]], encoded[1][0])]
        _warn_of_duplicates(len(of_heldout), len(sets[1]), pairs, request)
    return sets, tuple(name for part in found for name in part.skipped.values()), sets[0].inputs.shape[-1]


def _streams(
    sources: list[Source], encoded: list[tuple[Encoded, Tensor]], request: Request
) -> tuple[list[ImageSet], tuple[str, ...], int]:
    """The same, of images that stay encoded: they aren't compared, and none is known to be unreadable."""
    placed = [(with_places(images), indices) for images, indices in encoded]
    target = measure(placed[0], request, SAMPLE).target
    sets: list[ImageSet] = []
    for (images, indices), (_, _, groups) in zip(placed, sources, strict=True):
        assert images.places is not None
        stream = Stream(images.places, target, request.skip_corrupt, request.workers)
        sets.append(StreamedSet(stream, indices, images.labels[indices], None if groups is None else groups[indices]))
    return sets, (), target.size


def _warn_of_duplicates(count: int, of: int, examples: list[tuple[Tensor, Encoded]], request: Request) -> None:
    """`examples` are a few images of training and those of the held-out ones that they are equal to."""
    trained, held = ([next(source.items(index[None])).name for index in indices] for indices, source in examples)
    such = ", ".join(f"'{first}' to '{second}'" for first, second in zip(held, trained, strict=True))
    fix = "give --split-by FILE (split_by=) that puts such images into one group"
    if examples[0][1] is not examples[1][1]:
        fix = "remove them from one of the parts"
    elif request.split_by is not None:
        fix = "put such images into one group"
    warnings.warn(
        f"{count} of {of} held-out images are nearly equal to training images, so the accuracy on them is too high: "
        f"{such}; {fix}",
        stacklevel=5,
    )


def _choose_classes(labels: Int64[Tensor, " n"], count: int, seed: int) -> Int64[Tensor, " c"]:
    """`count` random labels of those that there are, sorted: a function of the seed alone, for one set of labels."""
    present = labels.unique()
    if not 2 <= count <= len(present):
        raise InputError(f"2 to {len(present)} classes, as there are", str(count), "choose a number in that range")
    return present[torch.randperm(len(present), generator=generator(seed, "data", "classes"))[:count]].sort().values


def _check(parts: Parts) -> None:
    count = len(parts.classes)
    for part, source in (("training", parts.train), ("held-out", parts.heldout)):
        if source is None:
            continue
        if len(source.labels) == 0:
            raise InputError(f"{part} images in '{parts.name}'", "none", "add some")
        low, high = int(source.labels.min()), int(source.labels.max())
        if low < 0 or high >= count:
            got = f"{low if low < 0 else high} among the {part} labels of '{parts.name}'"
            raise InputError(f"labels from 0 to {count - 1}, for {count} classes", got, "mend the labels")
    present = parts.train.labels.unique().tolist()
    if len(present) < 2:
        got = f"'{parts.classes[present[0]]}' alone in '{parts.name}'"
        raise InputError("training images of at least two classes", got, "give images of several classes")
    if parts.heldout is not None:
        _check_strangers(parts.name, parts.classes, parts.train.labels, parts.heldout.labels)


def _check_strangers(name: str, classes: tuple[str, ...], train: Tensor, heldout: Tensor) -> None:
    strangers = sorted(set(heldout.unique().tolist()) - set(train.unique().tolist()))
    if strangers:
        named = ", ".join(f"'{classes[label]}'" for label in strangers[:5]) + " ..." * (len(strangers) > 5)
        got = f"none of {named} in '{name}'"
        raise InputError("training images of every class that is held out", got, "add some, or remove the class")

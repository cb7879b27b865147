"""A network that exists, with its weights, as a space of its smaller kin: from timm, torchvision, or one's own file.

`named` gets the network by its name, `Model.supernet` exchanges its head for the data's classes and makes it elastic.
A run's arch.json has the name and what could be smaller, so the space can be built anew without any weights.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, cast

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn

from fpnas.data import Data, EpochOrder, Normalization, halves
from fpnas.elastic import Importance, Supernet, make_elastic
from fpnas.errors import InputError, reason
from fpnas.spaces.heads import with_channels, with_classes

LOOKED_AT = 32, 16
"""Batches to sort channels by "taylor", and images of each."""
LARGEST_KERNEL = 63
"""The most that a file of unknown origin may ask for."""


@dataclass(frozen=True)
class Smaller:
    """What of a network may be smaller; see `make_elastic`.

    Args:
        widths: fractions of each width; the whole is always an option.
        kernels: odd sizes of depthwise convolutions, beside their own.
        skips: whether residual blocks may be left out.
    """

    widths: Annotated[tuple[float, ...], Field(max_length=64)] = (0.25, 0.5, 0.75, 1.0)
    kernels: Annotated[tuple[Annotated[int, Field(le=LARGEST_KERNEL)], ...], Field(max_length=64)] = ()
    skips: bool = False


@dataclass(frozen=True)
class Model:
    """A plain network, and what it expects of its images.

    Args:
        name: how files call its space: `timm/NAME`, `torchvision/NAME`, or one of your own.
        module: the network.
        image_size: pixels a side that it was trained at; None where that isn't known.
        normalization: mean and standard deviation of each channel of its images; None for those of the data.
        pretrained: whether its weights are worth keeping.
    """

    name: str
    module: nn.Module
    image_size: int | None = None
    normalization: Normalization | None = None
    pretrained: bool = False

    def supernet(
        self,
        num_classes: int,
        in_channels: int = 3,
        image_size: int | None = None,
        smaller: Smaller | None = None,
        seed: int = 0,
        sort: Importance | None = None,
        data: Data | None = None,
    ) -> Supernet:
        """The space of the networks inside this one, which is the architecture `Supernet.given`.

        Channels of pretrained weights are sorted, so that narrower networks keep those that matter most.
        The head is exchanged where the number of classes is another, with weights drawn anew. With another number of
        channels than the network's, the first convolution gets the mean of its channels for each.

        Args:
            num_classes: of the data.
            in_channels: of the data.
            image_size: of the data, px; by default the network's own, or 224.
            smaller: what may be smaller.
            seed: of the new head, and of the images that "taylor" looks at.
            sort: "l1", "l2" or "taylor", see `make_elastic`; by default of pretrained weights "taylor", or "l2" without
                data, and no order of others.
            data: for "taylor": it looks at some images of the half on which a search trains weights.

        Raises:
            InputError: the network doesn't take such images, has no head that can be exchanged, or data are missing.
            SupernetError: nothing of the network can be made smaller.
        """
        smaller = smaller or Smaller()
        shape = (in_channels, *(image_size or self.image_size or 224,) * 2)
        module = with_classes(with_channels(self.module, in_channels), num_classes, shape, seed, self.name)
        options = asdict(smaller)
        normalization = self.normalization and of_channels(self.normalization, in_channels)
        usual: Importance | None = "l2" if self.pretrained else None
        sort = sort or ("taylor" if self.pretrained and data is not None else usual)
        batches = None
        if sort == "taylor":
            if data is None or data.num_classes != num_classes:
                got = "none" if data is None else f"those of {data.num_classes}"
                raise InputError(f"data of {num_classes} classes to sort by", got, "give them as data=")
            batches = _some(data.normalized_by(normalization), seed)
        supernet = make_elastic(module, **options, name=self.name, input_shape=shape, sort=sort, batches=batches)
        supernet.facts = {"smaller": options, "pretrained": self.pretrained}
        supernet.facts |= {"sort": sort} if sort != usual else {}
        supernet.facts |= {"weights": weights_digest(self.module)} if self.pretrained else {}
        supernet.normalization = normalization
        supernet.pretrained = self.pretrained
        return supernet


def _some(data: Data, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """A few batches of the half on which a search trains weights."""
    half, _ = halves(data.train, seed)
    order = EpochOrder(len(half), LOOKED_AT[1], seed, "sort")
    for step in range(min(LOOKED_AT[0], order.steps_per_epoch)):
        batch = data.train.subset(half[order.batch(step)])
        yield data.normalize(batch.inputs), batch.labels


def weights_digest(module: nn.Module) -> str:
    """What tells weights from others."""
    found = hashlib.blake2b(digest_size=16)
    for name, tensor in module.state_dict().items():
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def named(source: str, weights: str | Path | None = None) -> Model:
    """`spaces.model` of a network that a library has or that was registered; runs no file."""
    library, _, name = source.partition("/")
    file = None if weights in (None, "none") else Path(cast(str, weights))
    if source in OWN_MODELS:
        found = _as_it_says(source, OWN_MODELS[source](), weights != "none")
    elif library in LIBRARIES and re.fullmatch(r"[A-Za-z0-9_.]+", name):
        found = LIBRARIES[library](name, weights is None)
    else:
        known = ", ".join([f"{library}/NAME" for library in LIBRARIES] + ["FILE.py:FUNCTION", *OWN_MODELS])
        raise InputError(f"a network: {known}", repr(source)[:200], "correct the name")
    if file is not None:
        load_weights(found.module, file)
        found = Model(found.name, found.module, found.image_size, found.normalization, pretrained=True)
    found.module.eval()
    return found


def load_weights(module: nn.Module, file: Path) -> None:
    """Gives a network the weights of a file; nothing but tensors is read from it.

    Raises:
        InputError: it can't be read, or holds the weights of another network.
    """
    fix = "give the weights of this network, or --weights none"
    try:
        read: Any = load_file(file) if file.suffix == ".safetensors" else torch.load(file, "cpu", weights_only=True)
    except Exception as error:  # of either library, whatever the file holds
        raise InputError(
            "weights as .safetensors, or as .pth with tensors alone", f"{file} ({reason(error)})", fix
        ) from error
    for key in ("state_dict", "model"):  # as training scripts save them
        if isinstance(read, Mapping) and isinstance(read.get(key), Mapping):
            read = read[key]
    try:
        module.load_state_dict({name.removeprefix("module."): tensor for name, tensor in read.items()})
    except (AttributeError, RuntimeError, TypeError) as error:
        got = f"{file} ({str(error).splitlines()[-1].strip():.200})"
        raise InputError("weights of this network", got, fix) from None


@contextmanager
def on_cpu(seed: int) -> Generator[None]:
    """Within it, modules are made on the CPU, whatever the default: on meta, values that one works out for itself, as
    positions, would be lost. What torch's own layers draw is decided by the seed."""
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # noqa: TID251 - torch's layers draw from nothing else
        yield


def register_model(name: str, make: Callable[[], nn.Module]) -> None:
    """Makes the network of a function of one's own known under `name`."""
    OWN_MODELS[name] = make


def _timm(name: str, pretrained: bool) -> Model:
    try:
        import timm
    except (ImportError, RuntimeError) as error:  # it imports torchvision
        raise _missing("timm", error) from error
    if not timm.is_model(name):
        raise InputError("a network that timm has", repr(name), f"see timm.list_models('*{name[:6]}*')")
    module = _with_weights(f"timm/{name}", lambda: timm.create_model(name, pretrained=pretrained))
    return _as_it_says(f"timm/{name}", module, pretrained)


def _torchvision(name: str, pretrained: bool) -> Model:
    try:
        from torchvision import models
    except (ImportError, RuntimeError) as error:  # one beside another build of torch fails in its own way
        raise _missing("torchvision", error) from error
    if name not in models.list_models(module=models):
        raise InputError("a network that torchvision has", repr(name), "see torchvision.models.list_models()")
    weights = "DEFAULT" if pretrained else None
    module: Any = _with_weights(f"torchvision/{name}", lambda: models.get_model(name, weights=weights))
    if getattr(module, "aux_logits", False):  # heads that only its own training script uses
        module.aux_logits = False
        for aux in [child for child, _ in module.named_children() if "aux" in child.lower()]:
            setattr(module, aux, None)
    every: Any = models.get_model_weights(name)
    says = every.DEFAULT.transforms()
    return Model(f"torchvision/{name}", module, says.crop_size[-1], (tuple(says.mean), tuple(says.std)), pretrained)


LIBRARIES: dict[str, Callable[[str, bool], Model]] = {"timm": _timm, "torchvision": _torchvision}
OWN_MODELS: dict[str, Callable[[], nn.Module]] = {}
"""What was registered."""


def _with_weights(name: str, make: Callable[[], nn.Module]) -> nn.Module:
    """With fresh weights by seed 0 where it has no others."""
    with on_cpu(seed=0):
        try:
            return make()
        except Exception as error:  # of the download, or of the library
            fix = "give --weights FILE, or --weights none"
            raise InputError(f"the weights of {name}", f"none ({reason(error)})", fix) from error


def _as_it_says(name: str, module: nn.Module, pretrained: bool) -> Model:
    """With the size and the normalization of images that timm's networks keep in `pretrained_cfg`."""
    says: Mapping[str, Any] = getattr(module, "pretrained_cfg", {})
    normalization = (tuple(says["mean"]), tuple(says["std"])) if {"mean", "std"} <= set(says) else None
    return Model(name, module, says.get("input_size", (None,))[-1], normalization, pretrained)


def _missing(library: str, error: Exception) -> InputError:
    if isinstance(error, ModuleNotFoundError):
        return InputError(f"an installed {library}", reason(error), f"pip install {library}")
    fix = f"install the builds of it and of torchvision that fit torch {torch.__version__}"
    return InputError(f"a {library} that can be imported", reason(error), fix)


def of_channels(normalization: Normalization, channels: int) -> Normalization:
    """The same, or their mean for each of another number of channels."""
    mean, std = normalization
    if len(mean) == channels:
        return normalization
    return (sum(mean) / len(mean),) * channels, (sum(std) / len(std),) * channels

"""Reading back what runs leave: arch.json and weights, of a run folder or one's own file; none of it is trusted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from fpnas.cost import layer_costs
from fpnas.data import ImageData, ImageSpec
from fpnas.elastic import Supernet
from fpnas.errors import InputError, RunFolderError, reason
from fpnas.runner.checkpoint import load_checkpoint
from fpnas.runner.folder import read_json
from fpnas.space import Arch
from fpnas.spaces import SPACES, Smaller, by_name, is_model

CHANGED = "import the code that it was searched with, or search again"
"""What to do where the code of one's own space has changed."""


class _ArchFile(BaseModel):
    """arch.json as it may come: "space" and "choices" are enough."""

    model_config = ConfigDict(extra="ignore")

    space: StrictStr
    choices: dict[str, StrictInt | StrictFloat | StrictStr]
    image_size: StrictInt | None = Field(default=None, ge=1, le=4096)
    in_channels: StrictInt = Field(default=3, ge=1, le=1024)
    num_classes: StrictInt | None = Field(default=None, ge=2, le=1_000_000)
    smaller: Smaller | None = None
    pretrained: StrictBool = False


@dataclass(frozen=True)
class ArchRecord:
    """A found architecture and what its network takes; `images` only after a training.

    Of a space that was made of a network, `smaller` says of what, and `pretrained` whether the search's weights came
    of that network's.
    """

    space: str
    arch: Arch
    image_size: int | None
    in_channels: int
    num_classes: int | None
    images: ImageSpec | None = None
    smaller: Smaller | None = None
    pretrained: bool = False

    def supernet(
        self,
        num_classes: int | None = None,
        in_channels: int | None = None,
        image_size: int | None = None,
        device: str = "meta",
    ) -> Supernet:
        """Its space's supernet, to count, or to extract a network that gets its weights.

        On the meta device by default, but that a space of one's own is on the CPU. Classes, channels and size are the
        record's where none are given.
        """
        classes, size = num_classes or self.num_classes, image_size or self.image_size
        smaller = self.smaller if is_model(self.space) else None
        options: dict[str, Any] = {"num_classes": classes, "image_size": size, "smaller": smaller}
        options = {name: value for name, value in options.items() if value is not None}
        with torch.device(device):
            return by_name(self.space)(in_channels=in_channels or self.in_channels, **options)

    @cached_property
    def as_recorded(self) -> Supernet:
        """`supernet()`, made once: for those who count or extract, and change none of its weights."""
        return self.supernet()


def read_arch(path: str | Path) -> ArchRecord:
    """The architecture of a run folder or of an arch.json.

    Raises:
        RunFolderError: there is none, or it is none of a known space.
    """
    place = Path(path)
    file = place / "arch.json" if place.is_dir() else place
    if place.is_dir() and not file.exists():
        got = f"{place}, which has none"
        raise RunFolderError("a run with an arch.json", got, "let its search end, or name an arch.json")
    content = read_json(file)
    try:
        record = _ArchFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunFolderError(
            "an arch.json with a space and its choices", f"{file}: {where}: {first['msg']}", "mend it"
        ) from None
    try:
        images = ImageSpec.from_json(content)
    except InputError as error:
        raise RunFolderError("an arch.json that says what its images are", f"{file} ({error})", "mend it") from None
    if images is not None and record.num_classes not in (None, images.num_classes):
        got = f"{images.num_classes} names of {record.num_classes} classes in {file}"
        raise RunFolderError("a name for each class", got, "mend it")
    arch = Arch(record.choices)
    takes = record.image_size, record.in_channels, record.num_classes
    found = ArchRecord(record.space, arch, *takes, images, record.smaller, record.pretrained)
    if found.space in SPACES:
        found.as_recorded.space.encode(arch)
    else:
        _check_code(found, content, file)
    return found


def _check_code(record: ArchRecord, content: dict[str, Any], file: Path) -> None:
    """Is the code of one's own space still that of the run, as far as choices and costs tell?"""
    supernet = record.as_recorded
    expected = f"the space {record.space!r} as it was in this run"
    try:
        supernet.space.encode(record.arch)
    except InputError as error:
        raise RunFolderError(expected, f"{file}, which doesn't fit its code ({error})", CHANGED) from None
    then = content.get("flops"), content.get("params")
    if record.image_size is None or record.num_classes is None or None in then:
        return
    layers = layer_costs(supernet, record.arch, (record.in_channels, record.image_size, record.image_size))
    now = sum(layer.flops for layer in layers), sum(layer.params for layer in layers)
    if now != then:
        got = "{:,} FLOPs and {:,} parameters by its code".format(*now)
        raise RunFolderError(f"{expected}, {then[0]!s:.30} FLOPs and {then[1]!s:.30} parameters", got, CHANGED)


RUNS = {
    ".onnx": "onnxruntime, or fpnas predict,",
    ".tflite": "ai-edge-litert, or fpnas predict,",
    ".pt2": "torch.export.load",
}
"""What runs an exported file that isn't a torch module."""


def trained_folder(path: str | Path) -> Path:
    """The folder of a training: `path` itself, the train/ within a search's, or where an exported .safetensors lies.

    Raises:
        RunFolderError: there is no trained network.
    """
    place = Path(path)
    if place.suffix == ".safetensors" and place.is_file():
        if not (place.parent / "arch.json").exists():
            raise RunFolderError("an arch.json beside the weights", f"{place} alone", "put it there")
        return place.parent
    if place.suffix in RUNS and not place.is_dir():
        runs = RUNS[place.suffix]
        got = f"{place}, an exported {place.suffix} file"
        fix = f"{runs} runs it, as its model card says"
        raise RunFolderError("the folder of a training, or an exported .safetensors", got, fix)
    for folder in (place, place / "train"):
        if (folder / "model.safetensors").exists() and (folder / "arch.json").exists():
            return folder
    if not place.exists():
        raise RunFolderError(
            "the folder of a training, or of a search with train/ in it", f"{place}: no such folder", "check the path"
        )
    got = f"{place}, which has no model.safetensors"
    raise RunFolderError("the folder of a training, or of a search with train/ in it", got, "run fpnas train first")


def run_settings(path: str | Path) -> dict[str, Any]:
    """The settings in a folder's run.json; {} where there is none."""
    file = Path(path) / "run.json"
    settings = read_json(file).get("settings") if file.exists() else None
    return cast("dict[str, Any]", settings) if isinstance(settings, dict) else {}


def home_of(arch: Path) -> Path:
    """The folder of an arch.json, or the folder itself."""
    return arch if arch.is_dir() else arch.parent


def refuse_other_images(images: ImageData, record: ArchRecord, run: Path) -> None:
    """`InputError` where trained or inherited weights, of the folder `run`, would meet other classes or channels."""
    if (images.num_classes, images.in_channels) != (record.num_classes, record.in_channels):
        expected = f"images of {record.num_classes} classes and {record.in_channels} channels, as the weights know"
        got = f"{images.num_classes} classes and {images.in_channels} channels"
        raise InputError(expected, got, "use the data that they were trained on")
    known = run_settings(run).get("data_classes", list(images.classes))
    if known != list(images.classes):
        expected, got = f"the classes that the weights know ({known!s:.100})", f"{list(images.classes)!s:.100}"
        raise InputError(expected, got, "use the data, --classes and --classes-seed that they were trained with")


def load(path: str | Path) -> nn.Module:
    """The trained network of a run, a plain torch module in eval mode.

    Args:
        path: the `--out` of a training, a search's folder with train/ in it, or an exported .safetensors with its
            arch.json beside it.

    Raises:
        RunFolderError: there is no trained network, or its files don't fit each other.
    """
    return network_of_record(read_arch(trained_folder(path)), path)


def network_of_record(record: ArchRecord, path: str | Path) -> nn.Module:
    """`load(path)`, whose arch.json has been read."""
    folder = trained_folder(path)
    network = record.as_recorded.extract(record.arch)
    weights = Path(path) if Path(path).is_file() else folder / "model.safetensors"
    try:
        network.load_state_dict(read_weights(weights), assign=True)
    except RuntimeError as error:
        got = str(error).splitlines()[-1].strip()
        raise RunFolderError("weights of the network in arch.json", f"{folder} ({got})", "train it anew") from None
    return network.eval()


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunFolderError("a readable .safetensors file", f"{path} ({error})", "train the network anew") from None


def inherit_weights(supernet: Supernet, folder: str | Path) -> None:
    """Gives a supernet the weights from the checkpoint in a search's folder.

    Raises:
        RunFolderError: the folder holds no search with a checkpoint, or one of other code.
    """
    state = load_checkpoint(Path(folder))
    weights = None if state is None else state.get("job", {}).get("evaluator", {}).get("supernet")
    if weights is None:
        raise RunFolderError(
            "the folder of a search on shared weights, with its checkpoint, to inherit from",
            str(folder),
            "train from scratch",
        )
    try:
        supernet.load_state_dict(weights)
    except RuntimeError as error:
        got = f"{folder} ({reason(error)})"
        raise RunFolderError(f"weights of the space {supernet.name!r} as it is", got, CHANGED) from None

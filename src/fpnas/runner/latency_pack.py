"""A folder of ONNX files to be timed on another device, and the latency table that comes of it.

Each operation is a file, as are some whole networks, to which the table is fitted, and one that does nothing.
`measure.py` in the folder times them and writes times.json. What comes back from elsewhere is checked.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, StrictInt, StrictStr, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from fpnas.cost.latency import Latency, LatencyTable, distinct_operations, fitted, operation_sites
from fpnas.cost.latency.standalone import CALL
from fpnas.elastic import Supernet
from fpnas.errors import InputError, reason
from fpnas.files import write_whole
from fpnas.runner import pack_measure
from fpnas.runner.folder import read_json
from fpnas.runner.latency_cache import NETWORKS, spread
from fpnas.runner.latency_runtimes import Runtime
from fpnas.space import Arch, Option
from fpnas.spaces import by_name
from fpnas.train import from_scratch

PACK, TIMES, IDLE = "pack.json", "times.json", "idle.onnx"
Name = Annotated[StrictStr, Field(max_length=200)]
Channels = Annotated[StrictInt, Field(ge=1, le=1024)]
Pixels = Annotated[StrictInt, Field(ge=1, le=4096)]
Ms = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class Pack:
    """What is in a pack.

    Args:
        space: its name.
        num_classes: that its networks tell apart.
        shape: of one example, (C, H, W).
        runtime: one of those for ONNX files.
        operations: name -> file, or None where nothing is run.
        networks: file -> the option of each choice.
    """

    space: Name
    num_classes: Annotated[StrictInt, Field(ge=1, le=100_000)]
    shape: tuple[Channels, Pixels, Pixels]
    runtime: Name
    operations: Mapping[StrictStr, Name | None]
    networks: Mapping[Name, Mapping[Name, Option]]

    @property
    def digest(self) -> str:
        """Of all that."""
        return hashlib.blake2b(json.dumps(self.to_json(), sort_keys=True).encode(), digest_size=8).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Its plain form."""
        return TypeAdapter(Pack).dump_python(self, mode="json")

    def supernet(self) -> Supernet:
        """The space."""
        with torch.device("meta"):
            return by_name(self.space)(
                num_classes=self.num_classes, in_channels=self.shape[0], image_size=self.shape[1]
            )


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class _Times:
    pack: Name
    device: Name
    threads: Annotated[StrictInt, Field(ge=1, le=10_000)]
    version: Annotated[StrictStr, Field(max_length=100)]
    ms: Mapping[Name, Ms]


def write_pack(
    out: Path, space: str, num_classes: int, shape: tuple[int, int, int], runtime: str = "onnxruntime"
) -> Pack:
    """Writes the folder.

    Args:
        out: the folder, which must not exist yet.
        space: its name.
        num_classes: of the network's last layer.
        shape: of one example, (C, H, W).
        runtime: "onnxruntime" or "onnxruntime-int8".

    Raises:
        InputError: the folder exists, the space can't take the shape, or the runtime isn't one for ONNX files.
    """
    from fpnas.shipping.onnx_pieces import Pieces

    if Runtime(runtime).name == "torch":
        raise InputError("a runtime of ONNX files, for a pack", runtime, "take onnxruntime or onnxruntime-int8")
    if out.exists():
        raise InputError("a new folder, for a pack", str(out), "name another, or remove it")
    pack = Pack(space, num_classes, shape, runtime, {}, {})
    supernet = pack.supernet()
    operations = distinct_operations(supernet, operation_sites(supernet, shape))
    pieces = Pieces(1, runtime.endswith("int8"))
    out.mkdir(parents=True)
    (out / IDLE).write_bytes(pieces.idle_file())
    files: dict[str, str | None] = {}
    for number, (name, operation) in enumerate(operations.items()):
        content = pieces.alone(operation.build(1, torch.device("cpu")))
        files[name] = None if content is None else f"operation{number:05}.onnx"
        if content is not None:
            (out / f"operation{number:05}.onnx").write_bytes(content)
    archs, _ = spread(Latency(supernet, shape, LatencyTable(dict.fromkeys(operations, 1.0))), NETWORKS)
    networks: dict[str, dict[str, Option]] = {}
    for number, arch in enumerate(archs):
        networks[f"network{number}.onnx"] = dict(arch)
        content = pieces.file(from_scratch(supernet, arch).eval(), (1, *shape))
        (out / f"network{number}.onnx").write_bytes(content)
    pack = Pack(space, num_classes, shape, runtime, files, networks)
    shutil.copy(pack_measure.__file__, out / "measure.py")
    write_whole(out / PACK, json.dumps({**pack.to_json(), "digest": pack.digest}, indent=1).encode())
    return pack


def read_pack(folder: Path) -> LatencyTable:
    """The latency table of a folder in which `measure.py` was run.

    Raises:
        InputError: files are missing, or aren't what `write_pack` and `measure.py` write of this space.
    """
    pack = _read(Pack, folder / PACK)
    if not (folder / TIMES).exists():
        raise InputError(f"{TIMES} in a pack", f"none in {folder}", "run its measure.py on the device, then copy it")
    times = _read(_Times, folder / TIMES)
    if times.pack != pack.digest:
        raise InputError(f"times of this pack ({pack.digest})", f"of another ({times.pack})", "run its measure.py")
    wanted = {IDLE, *(file for file in pack.operations.values() if file), *pack.networks}
    if missing := sorted(wanted - set(times.ms)):
        got = f"none of {len(missing):,}, such as {missing[0]}"
        raise InputError(f"times of the pack's {len(wanted):,} files", got, "run its measure.py again")
    idle = times.ms[IDLE]
    found = {name: max(0.0, times.ms[file] - idle) if file else 0.0 for name, file in pack.operations.items()}
    found |= {CALL: idle} if CALL in found else {}
    dtype = "int8" if pack.runtime.endswith("int8") else "float32"
    table = LatencyTable(found, 1, times.device, times.threads, dtype, runtime=pack.runtime, version=times.version)
    supernet = pack.supernet()
    latency = Latency(supernet, pack.shape, table)  # says which operations are missing
    try:
        sums = [latency.of(Arch(choices)) for choices in pack.networks.values()]
    except (KeyError, ValueError) as error:
        fix = "write the pack anew"
        raise InputError(f"networks of {pack.space} in {folder / PACK}", reason(error), fix) from error
    fit = fitted(sums, [times.ms[file] for file in pack.networks])
    return LatencyTable.from_json(
        {**table.to_json(), "fits": {LatencyTable.key(latency.used.operations): vars(fit)}}, str(folder)
    )


def _read(kind: type[Any], file: Path) -> Any:
    try:
        return TypeAdapter(kind).validate_python(read_json(file))
    except ValidationError as error:
        flaw = error.errors()[0]
        got = f"{file}: {'.'.join(map(str, flaw['loc']))}: {flaw['msg']}"
        raise InputError("a pack of fpnas and its times", got, "write the pack anew, and run its measure.py") from None

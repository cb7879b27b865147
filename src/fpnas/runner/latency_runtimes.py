"""Where operations are timed: in torch, or in the runtime that runs the exported file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch

from fpnas.cost.latency import Operation, Prepare, Prepared
from fpnas.cost.latency.standalone import CALL
from fpnas.elastic import Supernet
from fpnas.errors import InputError, missing_extra, unknown_name
from fpnas.shipping import onnx
from fpnas.space import Option
from fpnas.streams import generator
from fpnas.train import from_scratch

if TYPE_CHECKING:
    from fpnas.cost.latency.standalone import Runnable
    from fpnas.shipping.onnx_pieces import Pieces

RUNTIMES = ("torch", "onnxruntime", "onnxruntime-int8")


def default_runtime(device: str) -> str:
    """onnxruntime on the CPU where the extra `onnx` is installed, else torch."""
    return "onnxruntime" if device == "cpu" and onnx.installed() else "torch"


@dataclass(frozen=True)
class Runtime:
    """A runtime on a device of this machine.

    Args:
        name: one of `RUNTIMES`.
        device: "cpu" or "cuda".

    Raises:
        InputError: no such runtime, its packages are missing, or it isn't for this device.
    """

    name: str
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.name not in RUNTIMES:
            raise unknown_name("runtime", self.name, RUNTIMES)
        if self.name == "torch":
            return
        if self.device != "cpu":
            raise InputError("the CPU, for milliseconds in onnxruntime", self.device, "add --runtime torch")
        if not onnx.installed():
            raise missing_extra("the packages that ONNX files need", "onnx", otherwise=", or take --runtime torch")

    def conditions(self) -> dict[str, Any]:
        """What a table says of it."""
        if self.name == "torch":
            return {"torch": torch.__version__.partition("+")[0]}
        dtype = "int8" if self._int8 else "float32"
        return {"runtime": self.name, "version": version("onnxruntime"), "dtype": dtype}

    def prepare(self, batch_size: int, threads: int) -> Prepare | None:
        """Makes operations ready to be timed; None for torch, where they are built ready."""
        if self.name == "torch":
            return None
        pieces = self._pieces(threads)
        idle = pieces.idle()

        def prepare(operations: Sequence[Operation]) -> Prepared:
            runnables = [operation.build(batch_size, torch.device("cpu")) for operation in operations]
            timed = [
                idle if operation.name == CALL else runnable
                for operation, runnable in zip(operations, pieces.parts(runnables), strict=True)
            ]
            return Prepared(timed, idle, pieces.copies)

        return prepare

    def network(self, supernet: Supernet, arch: Mapping[str, Option], shape: Sequence[int], threads: int) -> Runnable:
        """A whole network with random weights, ready to be timed on images of a shape N x C x H x W."""
        network = from_scratch(supernet, arch).eval()
        if self.name == "torch":
            kept: Any = {"device": self.device, "memory_format": torch.channels_last}
            return network.to(**kept), (torch.randn(tuple(shape), generator=generator(0, "latency")).to(**kept),)
        return self._pieces(threads).network(network, shape)

    @property
    def _int8(self) -> bool:
        return self.name.endswith("int8")

    def _pieces(self, threads: int) -> Pieces:
        from fpnas.shipping.onnx_pieces import Pieces

        return Pieces(threads, self._int8)

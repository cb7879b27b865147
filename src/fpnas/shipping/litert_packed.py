"""A LiteRT file that suits microcontrollers: weights where they are read, and a place for each activation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fpnas.shipping.arena import ALIGNMENT, Step, planned
from fpnas.shipping.litert_file import needed

PLAN = b"OfflineMemoryAllocation"
"""The metadata in which TensorFlow Lite Micro looks for places of activations."""

_WIDTHS = {0: 4, 1: 2, 2: 4, 4: 8, 6: 1, 7: 2, 9: 1}
"""Bytes of a number, by the schema's number of its type."""

_NUMBER_BY_NUMBER = frozenset(
    {
        *("ADD", "SUB", "MUL", "LOGISTIC", "HARD_SWISH", "TANH", "RELU", "RELU6", "RELU_N1_TO_1", "LEAKY_RELU", "ELU"),
        *("RESHAPE", "SQUEEZE", "EXPAND_DIMS"),
    }
)
"""Operators that read a number of an input no later than they write the number in its place."""


def repacked(content: bytes) -> bytes:
    """The same network with short names, its weights within the structure, aligned, where any reader finds them, and
    the place of each activation in TensorFlow Lite Micro's arena."""
    utilities = needed("ai_edge_litert.tools.flatbuffer_utils")
    model = utilities.read_model_from_bytearray(content)
    (graph,) = model.subgraphs
    graph.name, model.description = None, None
    for signature in model.signatureDefs:
        signature.inputs[0].name, signature.outputs[0].name = "images", "logits"
    for number, tensor in enumerate(graph.tensors):
        tensor.name = str(number)
        if tensor.quantization is not None and tensor.quantization.zeroPoint is not None:
            tensor.quantization.zeroPoint = np.array(tensor.quantization.zeroPoint, dtype=np.int64)
    _write_plan(model)
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.frombuffer(bytes(buffer.data), dtype=np.uint8)
    return _packed(model)


def arena_of(content: bytes) -> int:
    """The bytes of activations that the plan in a file takes, as `repacked` made it."""
    model = needed("ai_edge_litert.tools.flatbuffer_utils").read_model_from_bytearray(content)
    (graph,) = model.subgraphs
    steps, sizes = _steps(model)
    return planned(steps, sizes, [*graph.inputs], [*graph.outputs]).size


def _write_plan(model: Any) -> None:
    """Into the metadata: version 1, of graph 0, so many tensors, the place of each; -1 for weights."""
    schema = needed("ai_edge_litert.schema_py_generated")
    (graph,) = model.subgraphs
    steps, sizes = _steps(model)
    offsets = planned(steps, sizes, [*graph.inputs], [*graph.outputs]).offsets
    places = [1, 0, len(graph.tensors), *(offsets.get(number, -1) for number in range(len(graph.tensors)))]
    metadata = next((each for each in model.metadata or [] if each.name == PLAN), None)
    if metadata is None:
        metadata = schema.MetadataT()
        metadata.name, metadata.buffer = PLAN, len(model.buffers)
        model.buffers.append(schema.BufferT())
    model.buffers[metadata.buffer].data = np.array(places, dtype="<i4").tobytes()
    model.metadata = [metadata]


def _steps(model: Any) -> tuple[list[Step], dict[int, int]]:
    """The operators of a file's network, and the bytes of its activations."""
    utilities = needed("ai_edge_litert.tools.flatbuffer_utils")
    (graph,) = model.subgraphs
    tensors = graph.tensors
    made = {int(number) for number in (*graph.inputs, *(t for each in graph.operators for t in each.outputs))}
    sizes = {number: _bytes(tensors[number]) for number in made}
    steps: list[Step] = []
    for operator in graph.operators:
        name = utilities.opcode_to_name(model, operator.opcodeIndex)
        reads, writes = [int(t) for t in operator.inputs if t in made], [int(t) for t in operator.outputs]
        over: list[tuple[int, int, int]] = []
        if name in _NUMBER_BY_NUMBER:
            over = [(read, writes[0], 0) for read in reads if sizes[read] == sizes[writes[0]]]
        elif name == "PAD":
            content = bytes(model.buffers[tensors[operator.inputs[1]].buffer].data)
            behind = np.frombuffer(content, dtype="<i4").reshape(-1, 2)[:, 1]
            over = _over_padded(reads[0], writes[0], sizes, behind, tensors[writes[0]])
        steps.append(Step(reads, writes, over))
    return steps, sizes


def _over_padded(
    read: int, written: int, sizes: dict[int, int], behind: Any, padded: Any
) -> list[tuple[int, int, int]]:
    """A pad writes its output from the start to the end, and reads on as it gets to its input's numbers. At the end of
    the output's memory, an input is read before it is written over."""
    strides = np.cumprod([1, *padded.shape[:0:-1]])[::-1]
    slack = int((behind * strides).sum()) * _WIDTHS[padded.type]
    delta = (sizes[written] - sizes[read]) // ALIGNMENT * ALIGNMENT
    return [(read, written, delta)] if slack >= ALIGNMENT - 1 else []


def _bytes(tensor: Any) -> int:
    shape = tensor.shape if tensor.shape is not None else []
    return math.prod(int(length) for length in shape) * _WIDTHS[tensor.type]


def _packed(model: Any) -> bytes:
    """A flatbuffer that holds equal arrays once (each channel has a zero point, all of which are 0), bytes aligned."""
    flatbuffers = needed("flatbuffers")
    written: dict[tuple[str, bytes], int] = {}

    class Builder(flatbuffers.Builder):
        def CreateNumpyVector(self, x: np.ndarray[Any, Any]) -> int:
            key = x.dtype.str, x.tobytes()
            if key not in written:
                size = x.dtype.itemsize
                self.StartVector(size, len(x), ALIGNMENT if size == 1 else size)
                self.head -= x.nbytes
                self.Bytes[self.head : self.head + x.nbytes] = key[1]
                written[key] = self.EndVector()
            return written[key]

    builder = Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())

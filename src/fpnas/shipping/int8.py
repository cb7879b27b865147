"""Post-training quantisation of an ONNX file to int8 by onnxruntime's quantiser (QDQ nodes).

Weights have a scale for each output channel, activations one for each tensor, from the ranges that `calibration` finds.
Weights use 7 or all 8 bits, whichever is nearer to float as run here: CPUs without VNNI instructions add products of 8
bits in 16, which overflows, and the accuracy falls. The runner measures what int8 costs and gains.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from jaxtyping import Float32
from torch import Tensor

from fpnas.data import ImageSpec
from fpnas.shipping.calibration import METHODS, Bounds, Quantised, Seen, check_int8, halves, nearest
from fpnas.shipping.check import Shipped
from fpnas.shipping.onnx import INPUT, needed, onnx_run, with_metadata

_BATCH = 8
SEVEN, EIGHT = "7-bit weights", "8-bit weights"


def to_int8(
    content: bytes, spec: ImageSpec, calibration: Float32[Tensor, "n c h w"], facts: Mapping[str, Any] | None = None
) -> Quantised:
    """An int8 ONNX file of a float one.

    Args:
        content: as `to_onnx` made it.
        spec: what it takes.
        calibration: normalized training images; some hundreds will do. One half gives the ranges, the other chooses
            among the methods. Held-out images must not be among them.
        facts: metadata, plain JSON.

    Raises:
        InputError: no calibration images, the result can't be run, or a package of the extra `onnx` is missing.
    """
    needed("onnx", "onnxruntime")
    images, others = halves(calibration)
    model = prepared(content)
    seen = _seen(model, images)
    told = {**(facts or {}), **spec.to_json()}

    def made(method: str, bits: str) -> Shipped:
        file = with_metadata(quantised(model, seen.bounds(method), bits), told)
        run = onnx_run(file, spec)
        check_int8(run, spec)
        return Shipped(file, run, None)

    exact = onnx_run(content, spec)
    _, method, divergence = nearest(METHODS, lambda method: made(method, SEVEN), exact, others)
    file, bits, by_bits = nearest((SEVEN, EIGHT), lambda bits: made(method, bits), exact, others)
    divergence |= {f"{method}, {EIGHT}": by_bits[EIGHT]}
    found = {"calibration": method, "weights": bits, "calibration_images": len(images), "divergence": divergence}
    return Quantised(file, found)


def prepared(content: bytes) -> Any:
    """The onnx.ModelProto of a float ONNX file, simplified and with all shapes, as `quantised` wants it."""
    utilities = needed("onnxruntime.quantization.quant_utils")
    shapes = needed("onnxruntime.quantization.shape_inference")
    with TemporaryDirectory(prefix="fpnas-int8-") as folder:
        source, simple = (Path(folder) / name for name in ("float.onnx", "prepared.onnx"))
        source.write_bytes(content)
        shapes.quant_pre_process(source, simple)
        return utilities.load_model_with_shape_infer(simple)


def _seen(model: Any, images: Tensor) -> Seen:
    """What the images show of each float tensor that a node of the graph reads or makes."""
    onnx, runtime = needed("onnx"), needed("onnxruntime")
    whole = copy.deepcopy(model)
    known = {value.name: value for value in (*whole.graph.value_info, *whole.graph.output)}
    outputs = [
        known[name]
        for node in whole.graph.node
        for name in node.output
        if name in known and known[name].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    ]
    del whole.graph.output[:]
    whole.graph.output.extend(outputs)
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = runtime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in outputs]
    seen = Seen()
    for batch in images.contiguous().split(_BATCH):
        seen.add(INPUT, batch.numpy())
        for name, values in zip(names, session.run(names, {INPUT: batch.numpy()}), strict=True):
            if values.ndim:
                seen.add(name, values)
    return seen


def quantised(model: Any, bounds: Bounds, bits: str) -> Any:
    """The model with QDQ nodes, as `quantize_static` would make it of these ranges."""
    quantization = needed("onnxruntime.quantization")
    calibrate, registry = needed("onnxruntime.quantization.calibrate"), needed("onnxruntime.quantization.registry")
    quantiser = needed("onnxruntime.quantization.qdq_quantizer")
    ranges = {name: tuple(np.array(bound, dtype=np.float32) for bound in pair) for name, pair in bounds.items()}
    with _vectors_unmentioned():
        made = quantiser.QDQQuantizer(
            copy.deepcopy(model),
            True,  # a scale for each channel
            bits == SEVEN,
            quantization.QuantType.QInt8,
            quantization.QuantType.QUInt8,
            calibrate.TensorsData(quantization.CalibrationMethod.MinMax, ranges),
            [],
            [],
            list({*registry.QLinearOpsRegistry, *registry.QDQRegistry}),
            {},
        )
        made.quantize_model()
        made.model.topological_sort()
    return made.model.model


@contextmanager
def _vectors_unmentioned() -> Generator[None]:
    """The quantiser warns of each norm's weights, as of any vector, that they get one scale: they should."""

    def matters(record: logging.LogRecord) -> bool:
        return "out-of-range for weight" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(matters)
    try:
        yield
    finally:
        root.removeFilter(matters)

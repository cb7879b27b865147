"""Post-training quantisation of an ONNX file to int8 by onnxruntime's static quantiser (QDQ nodes).

Weights have a scale for each output channel, activations one for each tensor, from the range that calibration images
give. Weights use 7 of the 8 bits: CPUs without VNNI instructions add products of 8 bits in 16, which overflows, and the
accuracy falls. The runner measures what it costs and gains.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from fpnas.data import ImageSpec
from fpnas.errors import InputError
from fpnas.shipping.check import BATCH_SIZES, Shipped, example
from fpnas.shipping.onnx import INPUT, needed, onnx_run, with_metadata

_BATCH = 32


def to_int8(
    content: bytes, spec: ImageSpec, calibration: Float32[Tensor, "n c h w"], facts: Mapping[str, Any] | None = None
) -> Shipped:
    """An int8 ONNX file of a float one.

    Args:
        content: as `to_onnx` made it.
        spec: what it takes.
        calibration: normalized training images; some hundreds will do. Held-out images must not be among them.
        facts: metadata, plain JSON.

    Raises:
        InputError: no calibration images, the result can't be run, or a package of the extra `onnx` is missing.
    """
    onnx = needed("onnx", "onnxruntime")
    quantization, shapes = needed("onnxruntime.quantization"), needed("onnxruntime.quantization.shape_inference")
    if len(calibration) == 0:
        raise InputError("calibration images", "none", "give some training images")
    with TemporaryDirectory(prefix="fpnas-int8-") as folder:
        source, prepared, result = (Path(folder) / name for name in ("float.onnx", "prepared.onnx", "int8.onnx"))
        source.write_bytes(content)
        shapes.quant_pre_process(source, prepared)
        with _vectors_unmentioned():
            quantization.quantize_static(
                prepared,
                result,
                _Batches(calibration),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
                calibrate_method=quantization.CalibrationMethod.MinMax,
            )
        quantised = with_metadata(onnx.load(result), {**(facts or {}), **spec.to_json()})
    run = onnx_run(quantised, spec)
    for count in BATCH_SIZES:
        logits = run(example(spec, count))
        if logits.shape != (count, spec.num_classes) or not bool(torch.isfinite(logits).all()):
            got = f"shape {tuple(logits.shape)}, or values that aren't"
            raise InputError(f"finite int8 logits of shape ({count}, {spec.num_classes})", got, "export without int8")
    return Shipped(quantised, run, None)


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


class _Batches:
    """What the quantiser calls a CalibrationDataReader; it takes any object with these methods."""

    def __init__(self, images: Tensor) -> None:
        self._batches = iter(images.contiguous().split(_BATCH))

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch.numpy()}

    def set_range(self, start_index: int, end_index: int) -> None:
        raise NotImplementedError  # only asked for when calibrating in strides

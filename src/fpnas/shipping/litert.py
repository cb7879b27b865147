"""LiteRT files (.tflite), and running them: one normalized float32 image 1 x H x W x C in, logits out.

litert-torch converts. What a microcontroller can't use is taken out: long names, and weights that lie behind the file's
structure. `to_litert_int8` makes all numbers of a file 8-bit integers, input and output too. The packages are an extra,
imported where they are used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from fpnas.data import ImageSpec
from fpnas.errors import InputError, reason
from fpnas.shipping.calibration import METHODS, Quantised, Seen, check_int8, halves, nearest
from fpnas.shipping.check import Run, Shipped, check, example, plain_copy
from fpnas.shipping.formats import quiet
from fpnas.shipping.litert_file import channels_last_kept, mute, needed, suited
from fpnas.shipping.litert_packed import repacked


def to_litert(network: nn.Module, spec: ImageSpec) -> Shipped:
    """A float32 LiteRT file for one image, height x width x channels, checked with LiteRT's interpreter.

    Args:
        network: a plain module, images to logits.
        spec: what it takes.

    Raises:
        InputError: LiteRT's logits differ from torch's by more than 1e-4, the network can't be converted, or the
            packages of the extra `litert` are missing.
    """
    litert_torch = needed("litert_torch", "ai_edge_litert.interpreter", otherwise=", or export --to onnx")
    plain = plain_copy(network)
    image = example(spec, 1)
    try:
        with quiet(), mute():
            graph = suited(torch.export.export(plain, (image,)).module())
            wrapped = litert_torch.to_channel_last_io(graph, args=[0])
            with channels_last_kept(litert_torch.config):
                converted = litert_torch.convert(wrapped, (_channels_last(image),)).model_content()
    except Exception as error:  # the converter's own kinds share no base class
        got = f"one that litert-torch refuses ({reason(error)})"
        raise InputError("a network that LiteRT knows all operations of", got, "export --to onnx") from error
    content = repacked(converted)
    run = litert_run(content, spec)
    return Shipped(content, run, check(plain, run, spec, "a LiteRT file"))


def to_litert_int8(content: bytes, spec: ImageSpec, calibration: Float32[Tensor, "n c h w"]) -> Quantised:
    """A LiteRT file of 8-bit integers alone, with a scale for each channel of the weights.

    Args:
        content: as `to_litert` made it.
        spec: what it takes.
        calibration: normalized training images, as for `to_int8`.

    Raises:
        InputError: no calibration images, the result can't be run, or a package of the extra `litert` is missing.
    """
    quantizer, recipes = needed("ai_edge_quantizer.quantizer"), needed("ai_edge_quantizer.recipe")
    images, others = halves(calibration)
    seen = _seen(content, images)

    def made(method: str) -> Shipped:
        bounds = {
            name: {"min": np.float32(low).reshape(1), "max": np.float32(high).reshape(1)}
            for name, (low, high) in seen.bounds(method).items()
        }
        with mute():
            found = quantizer.Quantizer(content, recipes.static_wi8_ai8()).quantize(
                bounds, enable_progress_report=False
            )
        file = repacked(found.quantized_model)
        run = litert_run(file, spec)
        check_int8(run, spec)
        return Shipped(file, run, None)

    file, method, divergence = nearest(METHODS, made, litert_run(content, spec), others)
    return Quantised(file, {"calibration": method, "calibration_images": len(images), "divergence": divergence})


def litert_run(content: bytes, spec: ImageSpec, threads: int = 1) -> Run:
    """The network in a LiteRT file as a function, run by LiteRT's interpreter on the CPU, image by image.

    Raises:
        InputError: it is no LiteRT file, or its input or output is another than the spec's.
    """
    network = _interpreter(content, threads)
    (taken, *more), (given, *_) = network.get_input_details(), network.get_output_details()
    shape = [1, spec.image_size, spec.image_size, spec.in_channels]
    if more or list(taken["shape"]) != shape or list(given["shape"]) != [1, spec.num_classes]:
        expected = f"a network from one {' x '.join(map(str, shape[1:]))} image to {spec.num_classes} logits"
        raise InputError(expected, f"{list(taken['shape'])} to {list(given['shape'])}", "export it anew")

    def one(image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        network.set_tensor(taken["index"], _stored(image, taken))
        network.invoke()
        return _read(network.get_tensor(given["index"]), given)

    def run(images: Float32[Tensor, "n c h w"]) -> Float32[Tensor, "n classes"]:
        return torch.from_numpy(np.concatenate([one(image[None]) for image in _channels_last(images).numpy()]))

    return run


def operators(content: bytes) -> list[str]:
    """The names of the operators in a LiteRT file, as a microcontroller's resolver lists them, each once."""
    utilities = needed("ai_edge_litert.tools.flatbuffer_utils")
    model = utilities.read_model_from_bytearray(content)
    return sorted({utilities.opcode_to_name(model, number) for number in range(len(model.operatorCodes))})


# ------------------------------------------------------------------------------------------------------- how it is run


def _channels_last(images: Tensor) -> Tensor:
    return images.permute(0, 2, 3, 1).contiguous()


def _seen(content: bytes, images: Tensor) -> Seen:
    """What the images show of each float tensor that isn't a weight."""
    network = _interpreter(content, 1, all_tensors=True)
    details = {each["index"]: each for each in network.get_tensor_details()}
    (taken,) = network.get_input_details()
    seen, made = Seen(), [taken["index"]]
    model = needed("ai_edge_litert.tools.flatbuffer_utils").read_model_from_bytearray(content)
    made += [number for operator in model.subgraphs[0].operators for number in operator.outputs]
    for image in _channels_last(images).numpy():
        network.set_tensor(taken["index"], image[None])
        network.invoke()
        for number in made:
            if details[number]["dtype"] is np.float32:
                seen.add(details[number]["name"], network.get_tensor(number))
    return seen


def _interpreter(content: bytes, threads: int, all_tensors: bool = False) -> Any:
    runtime = needed("ai_edge_litert.interpreter")
    more: dict[str, Any] = {}
    if all_tensors:  # no delegate: it would fuse some of them away
        more["experimental_op_resolver_type"] = runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        more["experimental_preserve_all_tensors"] = True
    try:
        with mute():
            network = runtime.Interpreter(model_content=content, num_threads=threads, **more)
            network.allocate_tensors()
    except Exception as error:  # ValueError, RuntimeError
        raise InputError("a LiteRT file that its interpreter can run", reason(error), "export it anew") from error
    return network


def _stored(values: np.ndarray[Any, Any], detail: Any) -> np.ndarray[Any, Any]:
    """Numbers as a file's input takes them."""
    if detail["dtype"] is np.float32:
        return values
    scale, zero = detail["quantization"]
    limits = np.iinfo(detail["dtype"])
    return np.round(values / scale + zero).clip(limits.min, limits.max).astype(detail["dtype"])


def _read(values: np.ndarray[Any, Any], detail: Any) -> np.ndarray[Any, Any]:
    """Numbers of a file's output as float32."""
    if detail["dtype"] is np.float32:
        return values
    scale, zero = detail["quantization"]
    return ((values.astype(np.float32) - zero) * np.float32(scale)).astype(np.float32)

"""ONNX files, and running them with onnxruntime: normalized float32 images N x C x H x W in, logits the first output.

torch's exporter writes the graph; what it leaves in it about the machine it ran on is taken out, and what a user needs
(normalization, names of classes, size) is put in, as metadata. The packages are an extra, imported where they are used.
"""

from __future__ import annotations

import importlib
import json
import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from fpnas.data import ImageSpec
from fpnas.errors import InputError, missing_extra, reason
from fpnas.files import parsed
from fpnas.shipping.check import Run, Shipped, check, plain_copy
from fpnas.shipping.formats import BATCH, exported_program, quiet

OPSET = 18
"""torch's exporter writes it without a conversion, and runtimes since 2023 read it."""

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""Of the extra `onnx`."""

INPUT, OUTPUT = "images", "logits"
LARGEST_FILE = 2**31 - 1
"""Bytes; protobuf's own limit."""


def installed() -> bool:
    """Whether all packages that ONNX files need are there."""
    return all(find_spec(name) is not None for name in PACKAGES)


def to_onnx(network: nn.Module, spec: ImageSpec, facts: Mapping[str, Any] | None = None) -> Shipped:
    """An ONNX file with a dynamic batch, checked with onnxruntime.

    Args:
        network: a plain module, images to logits.
        spec: what it takes; goes into the metadata.
        facts: further metadata, plain JSON.

    Raises:
        InputError: onnxruntime's logits differ from torch's by more than 1e-4, the file would exceed 2 GB, the
            packages of the extra `onnx` are missing, or torch's exporter fails (that of torch 2.6 always does).
    """
    needed(*PACKAGES, otherwise=", or export --to safetensors or pt2")
    plain = plain_copy(network)
    size = sum(tensor.numel() * tensor.element_size() for tensor in plain.state_dict().values())
    if size > 0.9 * LARGEST_FILE:
        raise InputError("weights of less than 2 GB, for one ONNX file", f"{size / 1e9:.1f} GB", "use another format")
    with quiet(), quiet_logs():
        exported = exported_program(plain, spec)
        try:
            program = torch.onnx.export(
                exported,
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: BATCH},),
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            got = f"from torch {torch.__version__}: {reason(error.__cause__ or error)}"
            fix = "install a newer torch, or take --to safetensors or pt2"
            raise InputError("a network that torch's exporter writes as ONNX", got, fix) from error
    assert program is not None
    content = with_metadata(program.model_proto, {**(facts or {}), **spec.to_json()})
    run = onnx_run(content, spec)
    return Shipped(content, run, check(plain, run, spec, "an ONNX file"))


def with_metadata(model: Any, facts: Mapping[str, Any]) -> bytes:
    """The file of an onnx.ModelProto with `facts` as metadata and without traces of the exporting machine.

    Each fact is an entry of its own: text as it is, everything else as JSON.

    Raises:
        InputError: onnx finds fault with the model.
    """
    onnx = needed("onnx")
    # The exporter notes for each node the lines of source that made it, paths and all: half of a small file.
    model.doc_string = ""
    model.graph.doc_string = ""
    for part in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output):
        part.doc_string = ""
        del part.metadata_props[:]
    del model.graph.metadata_props[:]
    # Optimizers list every domain they know.
    used = {node.domain for node in model.graph.node} | {""}
    opsets = [(entry.domain, entry.version) for entry in model.opset_import if entry.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in opsets)
    onnx.helper.set_model_props(
        model, {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    )
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise InputError("a valid ONNX model", str(error), "report it") from error
    return model.SerializeToString()


def read_onnx_spec(content: bytes) -> ImageSpec:
    """What the network in an ONNX file takes, from the file's metadata; the file isn't trusted.

    Raises:
        InputError: it is no ONNX file, or not one that `to_onnx` wrote.
    """
    values: dict[str, Any] = {}
    for key, text in _session(content).get_modelmeta().custom_metadata_map.items():
        values[key] = parsed(text, text)
    spec = ImageSpec.from_json(values)
    if spec is None:
        raise InputError("an ONNX file of fpnas, which names its classes", "one without", "export it anew")
    return spec


def onnx_run(content: bytes, spec: ImageSpec, threads: int = 1) -> Run:
    """The network in an ONNX file as a function, run by onnxruntime on the CPU.

    Raises:
        InputError: it is no ONNX file, or its input or output is another than the spec's.
    """
    session = _session(content, threads)
    inputs, outputs = session.get_inputs(), session.get_outputs()
    given = [(list(value.shape[1:]), value.type) for value in inputs], [list(value.shape[1:]) for value in outputs[:1]]
    if given != ([(list(spec.shape), "tensor(float)")], [[spec.num_classes]]):
        expected = f"a network from float32 images N x {' x '.join(map(str, spec.shape))} to {spec.num_classes} logits"
        raise InputError(expected, f"inputs {given[0]} and output {given[1]}", "export it anew")
    name, first = inputs[0].name, outputs[0].name

    def run(images: Float32[Tensor, "n c h w"]) -> Float32[Tensor, "n classes"]:
        return torch.from_numpy(session.run([first], {name: images.contiguous().numpy()})[0])

    return run


def needed(*packages: str, otherwise: str = "") -> Any:
    """Imports packages of the extra `onnx`; gives the first of them. `otherwise`: what else may be done.

    Raises:
        InputError: one is missing.
    """
    try:
        modules = [importlib.import_module(package) for package in packages]
    except ImportError as error:
        raise missing_extra("the packages that ONNX files need", "onnx", error, otherwise) from error
    return modules[0]


def _session(content: bytes, threads: int = 1) -> Any:
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors, which are raised as well
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds share no base class
        raise InputError("an ONNX file that onnxruntime can run", reason(error), "export it anew") from error


@contextmanager
def quiet_logs() -> Generator[None]:
    """Within it, torch's exporter doesn't list the packages that it could also have served."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)

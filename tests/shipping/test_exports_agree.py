"""An exported file computes what torch computes: a sample of the spaces, 100 networks of each of them as a soak.

The spaces are the eight built-in ones and those of examples/ that take images. One alone: `pytest -m soak -k
"hundred_networks and vit"`; `benchmarks/soak_proofs.py --proofs exports` runs all and writes the figures down.

The files are read back here by onnxruntime and torch themselves, not by the code under test; batches of sizes that the
export's own check doesn't use. Among the networks: all blocks skipped, all options the last ones (the largest).
"""

from __future__ import annotations

import copy
import io
import json
import logging
import random
import runpy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import fpnas
from fpnas import Arch, InputError, Supernet, shipping
from fpnas.data import ImageSpec
from fpnas.elastic import make_elastic
from fpnas.shipping.check import check
from fpnas.spaces import SPACES

CLASSES = 7
BATCHES = (1, 3, 8)
SPEC = ImageSpec(32, 3, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25), tuple("abcdefg"))


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[2] / "examples" / f"{name}.py"))


def resnet() -> Supernet:
    module = example("resnet")["ResNet"](SPEC.in_channels, CLASSES)
    return make_elastic(module, widths=(0.25, 0.5, 0.75, 1.0), skips=True, name="resnet", input_shape=SPEC.shape)


def vit() -> Supernet:
    module = example("vit")["ViT"](SPEC.in_channels, SPEC.image_size, CLASSES)
    return Supernet(module, name="vit", input_shape=SPEC.shape)


EXAMPLES: dict[str, Callable[[], Supernet]] = {"resnet": resnet, "vit": vit}
NAMES = [*SPACES, *EXAMPLES]


def supernet(name: str) -> Supernet:
    if name in EXAMPLES:
        return EXAMPLES[name]()
    with torch.device("meta"):
        return SPACES[name](num_classes=CLASSES)


def architectures(net: Supernet, count: int, seed: int = 0) -> Iterator[Arch]:
    """All blocks skipped where a space can, else the first options; the last options; then random ones."""
    last = net.space.decode([n - 1 for n in net.space.cardinalities])
    skipped = {name: 0 if name.endswith(".kernel") else option for name, option in last.items()}
    yield Arch(skipped) if skipped != dict(last) else net.space.decode([0] * len(net.space))
    yield last
    rng = random.Random(seed)
    for _ in range(count - 2):
        yield net.space.decode([rng.randrange(n) for n in net.space.cardinalities])


def network(net: Supernet, arch: Arch, seed: int = 0) -> nn.Module:
    """With norms, biases and gates random: fresh ones would hide differences. Activations of an ordinary size.

    That is done by the norms' weights: without, networks of 32 blocks amplify rounding until torch's own float32 is a
    percent off its float64, and no file could agree with it to 1e-4.
    """
    plain = fpnas.from_scratch(net, arch, seed).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, tensor in plain.state_dict().items():
            if tensor.dim() == 1 and tensor.is_floating_point():
                low = 0.5 if key.endswith(("weight", "running_var")) else -0.5
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
            elif tensor.dim() == 2:
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / tensor.shape[1] ** 0.5)
        hooks = [m.register_forward_hook(tame) for m in plain.modules() if isinstance(m, nn.BatchNorm2d)]
        plain(batch(4))
        for hook in hooks:
            hook.remove()
    return plain


def tame(norm: nn.Module, _: Any, output: torch.Tensor) -> torch.Tensor:
    """A forward hook: the norm's output gets a root mean square of 1."""
    assert isinstance(norm, nn.BatchNorm2d)
    scale = output.square().mean().sqrt()
    norm.weight.div_(scale)
    norm.bias.div_(scale)
    return output / scale


def batch(count: int, spec: ImageSpec = SPEC) -> torch.Tensor:
    return torch.randn(count, *spec.shape, generator=torch.Generator().manual_seed(100 + count))


def assert_close(got: np.ndarray, expected: torch.Tensor) -> None:
    """To 1e-4 of the greatest logit."""
    assert got.shape == tuple(expected.shape)
    scale = max(1.0, float(expected.abs().max()))
    np.testing.assert_allclose(got, expected.numpy(), rtol=0, atol=1e-4 * scale)


@torch.no_grad()
def assert_onnx_agrees(plain: nn.Module, content: bytes) -> None:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for count in BATCHES:
        images = batch(count)
        logits, *_ = session.run(None, {"images": images.numpy()})
        assert_close(logits, plain(images))


@torch.no_grad()
def assert_int8_follows(plain: nn.Module, content: bytes) -> None:
    """An int8 file, calibrated on random images, on others: within a tenth of the spread of torch's logits."""
    images = torch.randn(16, *SPEC.shape, generator=torch.Generator().manual_seed(7))
    session = onnxruntime.InferenceSession(
        shipping.to_int8(content, SPEC, images).shipped.content, providers=["CPUExecutionProvider"]
    )
    expected = plain(batch(8)).numpy()
    logits, *_ = session.run(None, {"images": batch(8).numpy()})
    assert logits.shape == expected.shape
    assert float(np.abs(logits - expected).mean()) < 0.1 * float(expected.std())


@torch.no_grad()
def assert_pt2_agrees(plain: nn.Module, content: bytes) -> None:
    again = torch.export.load(io.BytesIO(content)).module()
    for count in BATCHES:
        assert_close(again(batch(count)).numpy(), plain(batch(count)))


def thin(net: Supernet, seed: int) -> Arch:
    """A random architecture in which all groups but one are skipped: small, so that exporting it is quick."""
    rng = random.Random(seed)
    arch = dict(net.space.decode([rng.randrange(n) for n in net.space.cardinalities]))
    kept = rng.choice(sorted({name.rpartition(".")[0] for name in arch}))
    for choice in net.space.choices:
        if choice.name.rpartition(".")[0] != kept and choice.options[0] in (0, "identity"):
            arch[choice.name] = choice.options[0]
    return Arch(arch)


SAMPLED = ("tiny", "fbnetv2-f", "nasbench-macro", "vit")
QUICK = [name if name in SAMPLED else pytest.param(name, marks=pytest.mark.soak) for name in NAMES]
"""Exporting a large network takes some 20 s; the other spaces are made of the same blocks and are for `make soak`."""


@pytest.mark.parametrize("name", QUICK)
def test_a_sample_of_each_space(name: str) -> None:
    net = supernet(name)
    plain = network(net, thin(net, seed=1))
    assert_onnx_agrees(plain, shipping.to_onnx(plain, SPEC).content)
    assert_pt2_agrees(plain, shipping.to_pt2(plain, SPEC).content)
    assert shipping.to_safetensors(plain, SPEC).difference == 0


def test_a_network_without_any_block() -> None:
    net = supernet("tiny")
    plain = network(net, next(architectures(net, 2)))
    assert_onnx_agrees(plain, shipping.to_onnx(plain, SPEC).content)


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_networks_of_each_space(name: str) -> None:
    net = supernet(name)
    for number, arch in enumerate(architectures(net, 100)):
        plain = network(net, arch, number)
        assert_onnx_agrees(plain, shipping.to_onnx(plain, SPEC).content)
        assert_pt2_agrees(plain, shipping.to_pt2(plain, SPEC).content)
        assert shipping.to_safetensors(plain, SPEC).difference == 0


INT8 = ("tiny", "tiny-int8", "fbnetv2-f-int8")


@pytest.mark.parametrize("name", ["tiny", "tiny-int8"])
def test_int8_files_of_a_sample(name: str) -> None:
    net = supernet(name)
    plain = network(net, thin(net, seed=1))
    assert_int8_follows(plain, shipping.to_onnx(plain, SPEC).content)


@pytest.mark.soak
@pytest.mark.parametrize("name", INT8)
def test_int8_files_of_a_hundred_networks(name: str) -> None:
    net = supernet(name)
    for number, arch in enumerate(architectures(net, 100)):
        plain = network(net, arch, number)
        assert_int8_follows(plain, shipping.to_onnx(plain, SPEC).content)


# ------------------------------------------------------------------------------------------------- what is in the file


def split_attention() -> nn.Module:
    """A network of `tiny` with split attention over 4 and 2 branches, squeeze-excite and a bypass with stride 2."""
    net = supernet("tiny")
    arch = dict(net.space.decode([0] * len(net.space)))
    for group, kernel, splits in ((1, 3, 4), (2, 0, 0), (3, 5, 2), (4, 3, 1)):
        arch |= {f"group{group}.kernel": kernel, f"group{group}.splits": splits, f"group{group}.act": "swish"}
    return network(net, Arch(arch))


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    return split_attention()


@pytest.fixture(scope="module")
def exported(plain: nn.Module) -> onnx.ModelProto:
    return onnx.load_from_string(shipping.to_onnx(plain, SPEC, {"space": "tiny", "note": [1, 2]}).content)


def test_the_input_is_any_number_of_images_and_logits_come_first(exported: onnx.ModelProto) -> None:
    (images,), logits = exported.graph.input, exported.graph.output[0]
    shape = [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim]
    assert (images.name, images.type.tensor_type.elem_type) == ("images", onnx.TensorProto.FLOAT)
    assert isinstance(shape[0], str)
    assert shape[1:] == [3, 32, 32]
    assert logits.name == "logits"
    assert {opset.domain: opset.version for opset in exported.opset_import} == {"": shipping.OPSET}


def test_metadata_says_how_to_use_it(exported: onnx.ModelProto) -> None:
    entries = {entry.key: entry.value for entry in exported.metadata_props}
    assert entries["space"] == "tiny"
    assert json.loads(entries["note"]) == [1, 2]
    assert json.loads(entries["mean"]) == [0.4, 0.5, 0.6]
    assert json.loads(entries["std"]) == [0.2, 0.3, 0.25]
    assert json.loads(entries["classes"]) == list("abcdefg")
    assert (entries["image_size"], entries["in_channels"]) == ("32", "3")
    assert shipping.read_onnx_spec(exported.SerializeToString()) == SPEC


def test_no_trace_of_the_exporting_machine_is_left(exported: onnx.ModelProto) -> None:
    content = exported.SerializeToString()
    for word in (b"site-packages", b"/home/", b"/tmp/", b"torch/nn", b".py"):
        assert word not in content


def test_exporting_says_nothing_and_changes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Of a network that is still in train mode, in float64 and in channels-last memory, as a training may leave it."""
    net = supernet("tiny")
    plain = network(net, thin(net, seed=2)).to(torch.float64, memory_format=torch.channels_last).train()
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    level = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        contents = [export(plain, SPEC).content for export in (shipping.to_onnx, shipping.to_pt2)]
    assert capfd.readouterr() == ("", "")
    assert caught == []
    assert logging.getLogger("torch.onnx").level == level
    assert plain.training
    after = plain.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    float32 = copy.deepcopy(plain).float().eval()
    assert_onnx_agrees(float32, contents[0])
    assert_pt2_agrees(float32, contents[1])


def test_pt2_carries_facts(plain: nn.Module) -> None:
    files = {"fpnas.json": ""}
    torch.export.load(io.BytesIO(shipping.to_pt2(plain, SPEC, {"space": "tiny"}).content), extra_files=files)
    assert json.loads(files["fpnas.json"]) == {"space": "tiny", **SPEC.to_json()}


# ------------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("wrong", [1e-3, float("nan")])
def test_a_file_that_differs_is_refused(wrong: float) -> None:
    same = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, CLASSES))
    assert check(same, same, SPEC, "a file") == 0
    with pytest.raises(InputError, match=r"a file that differs from torch by at most 0\.0001"):
        check(same, lambda images: same(images) + wrong, SPEC, "a file")
    with pytest.raises(InputError, match=r"logits of shape \(1, 7\)"):
        check(same, lambda images: same(images)[:, 1:], SPEC, "a file")


@pytest.mark.parametrize("export", [shipping.to_onnx, shipping.to_pt2, shipping.to_safetensors])
def test_every_format_is_checked(export: Any, plain: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is exact enough for a tolerance below 0."""
    monkeypatch.setattr("fpnas.shipping.check.TOLERANCE", -1.0)
    net = supernet("tiny")
    with pytest.raises(InputError, match="differs from torch"):
        export(network(net, next(architectures(net, 2))), SPEC)


def test_another_number_of_classes_is_refused(plain: nn.Module) -> None:
    six = ImageSpec(32, 3, SPEC.mean, SPEC.std, tuple("abcdef"))
    with pytest.raises(InputError, match=r"\(1, 6\)"):
        shipping.to_pt2(plain, six)


def test_a_network_without_weights_is_refused() -> None:
    net = supernet("tiny")
    with pytest.raises(InputError, match="meta device"):
        shipping.to_pt2(net.extract(next(architectures(net, 2))), SPEC)


@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"\x08\x08" + b"\xff" * 40])
def test_what_is_no_onnx_file_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="onnxruntime can run"):
        shipping.read_onnx_spec(content)


def test_what_the_exporter_cannot_write_is_refused_in_one_line() -> None:
    class Bessel(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j1(x.mean((1, 2, 3)))[:, None].expand(-1, CLASSES)

    with pytest.raises(
        InputError, match=r"torch's exporter writes as ONNX, got from torch .*bessel.*safetensors or pt2"
    ):
        shipping.to_onnx(Bessel(), SPEC)

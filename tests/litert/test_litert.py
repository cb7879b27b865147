"""LiteRT files by their own packages, which want an environment of their own: `make litert` runs these.

They carry a marker, so that `make test` leaves them out by name and none is skipped for want of a package.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fpnas
from fpnas import shipping
from fpnas.data import ImageSpec
from fpnas.shipping.litert import litert_run, operators
from fpnas.shipping.litert_packed import PLAN, arena_of

pytestmark = [pytest.mark.litert, pytest.mark.timeout(900)]

SPEC = ImageSpec(32, 3, (0.5,) * 3, (0.25,) * 3, tuple("abcdef"))
SPLITS = (0, 1, 2, 4)


def architecture(space: str, splits: tuple[int, ...], act: str) -> tuple[fpnas.Supernet, fpnas.Arch]:
    """The smallest of a space but for these splits, a group each, and this activation."""
    net = fpnas.spaces.by_name(space)(num_classes=6)
    arch = {choice.name: choice.options[0] for choice in net.space.choices}
    for number, split in enumerate(splits, start=1):
        arch |= {f"group{number}.kernel": 3, f"group{number}.splits": split, f"group{number}.act": act}
    return net, fpnas.Arch(arch)


def network(space: str, splits: tuple[int, ...], act: str, seed: int = 0) -> torch.nn.Module:
    net, arch = architecture(space, splits, act)
    return fpnas.from_scratch(net, arch, seed).eval()


@pytest.fixture(scope="module")
def plain() -> torch.nn.Module:
    """Every kind of attention."""
    return network("tiny", SPLITS, "swish")


@pytest.fixture(scope="module")
def exact(plain: torch.nn.Module) -> shipping.Shipped:
    return shipping.to_litert(plain, SPEC)


@pytest.fixture(scope="module")
def small(exact: shipping.Shipped) -> shipping.Quantised:
    images = torch.randn(32, *SPEC.shape, generator=torch.Generator().manual_seed(0))
    return shipping.to_litert_int8(exact.content, SPEC, images)


def interpreter(content: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    made = Interpreter(model_content=content)
    made.allocate_tensors()
    return made


def test_the_float_file_computes_what_torch_does(plain: torch.nn.Module, exact: shipping.Shipped) -> None:
    assert exact.difference is not None
    assert exact.difference < 1e-5
    image = torch.randn(1, *SPEC.shape, generator=torch.Generator().manual_seed(1))
    own = interpreter(exact.content)
    own.set_tensor(own.get_input_details()[0]["index"], image.permute(0, 2, 3, 1).numpy())
    own.invoke()
    found = own.get_tensor(own.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, plain(image).detach().numpy(), atol=1e-5)


def test_no_map_is_transposed(exact: shipping.Shipped) -> None:
    """Transposes cost a microcontroller a second copy of a map; those of split attention's gates are vectors."""
    own = interpreter(exact.content)
    sizes = {each["index"]: int(np.prod(each["shape"])) for each in own.get_tensor_details()}
    turned = [each for each in own._get_ops_details() if each["op_name"] == "TRANSPOSE"]
    assert max((sizes[index] for each in turned for index in each["outputs"]), default=0) < 1000


def test_int8_files_are_integers_through_and_through(exact: shipping.Shipped, small: shipping.Quantised) -> None:
    content = small.shipped.content
    own = interpreter(content)
    used = {index for each in own._get_ops_details() for index in (*each["inputs"], *each["outputs"]) if index >= 0}
    kinds = {each["dtype"] for each in own.get_tensor_details() if each["index"] in used}
    assert kinds <= {np.int8, np.int32}
    assert len(content) < len(exact.content) / 2
    for convolution in (each for each in own._get_ops_details() if each["op_name"] == "CONV_2D"):
        weight = next(each for each in own.get_tensor_details() if each["index"] == convolution["inputs"][1])
        assert len(weight["quantization_parameters"]["scales"]) == weight["shape"][0]
    assert small.facts["calibration"] in small.facts["divergence"]
    assert set(operators(content)) >= {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "SOFTMAX"}


def test_int8_follows_float(exact: shipping.Shipped, small: shipping.Quantised) -> None:
    images = torch.randn(64, *SPEC.shape, generator=torch.Generator().manual_seed(2))
    wanted, found = exact.run(images), small.shipped.run(images)
    assert float((found - wanted).abs().mean()) < 0.1 * float(wanted.std())


def test_weights_lie_aligned_within_the_structure(small: shipping.Quantised) -> None:
    from ai_edge_litert import schema_py_generated as schema

    content = small.shipped.content
    model = schema.Model.GetRootAs(content, 0)
    start = np.frombuffer(content, dtype=np.uint8).__array_interface__["data"][0]
    for number in range(model.BuffersLength()):
        buffer = model.Buffers(number)
        assert buffer.Offset() <= 1
        if buffer.DataLength():
            assert (buffer.DataAsNumpy().__array_interface__["data"][0] - start) % 16 == 0


def test_dead_channels_are_no_trouble() -> None:
    """Where all images leave a tensor at 0 its range would be empty, and the interpreter would refuse the file."""
    plain = network("tiny", (1,), "relu")
    for name, parameter in plain.named_parameters():
        if "attention.reduce" in name:
            parameter.data.fill_(-1.0 if name.endswith("bias") else 0.0)
    exact = shipping.to_litert(plain, SPEC)
    images = torch.randn(8, *SPEC.shape, generator=torch.Generator().manual_seed(0))
    assert shipping.to_litert_int8(exact.content, SPEC, images).shipped.run(images).isfinite().all()


def test_hard_activations_are_operators_of_their_own() -> None:
    exact = shipping.to_litert(network("tiny-int8", (0, 1), "hardswish"), SPEC)
    assert "HARD_SWISH" in operators(exact.content)
    assert "LOGISTIC" not in operators(exact.content)


def test_what_is_no_litert_file_is_refused(exact: shipping.Shipped) -> None:
    other = ImageSpec(16, 3, (0.5,) * 3, (0.25,) * 3, tuple("abcdef"))
    for content, spec in ((b"no network at all", SPEC), (exact.content[:999], SPEC), (exact.content, other)):
        with pytest.raises(fpnas.InputError, match="export it anew"):
            litert_run(content, spec)


COUNT = """
import sys
from tflite_micro.python.tflite_micro import runtime
recording = runtime.InterpreterConfig.kAllocationRecording
content = open(sys.argv[1], "rb").read()
runtime.Interpreter.from_bytes(content, arena_size=4_000_000, intrepreter_config=recording).print_allocations()
"""


@pytest.mark.parametrize("space", ["tiny", "tiny-int8"])
def test_ram_is_what_tensorflow_lite_micro_takes(space: str, tmp_path: Path) -> None:
    """Activations to the byte, as the file's plan has them; with the runtime's records within 2 %."""
    act = "swish" if space == "tiny" else "hardswish"
    splits = SPLITS if space == "tiny" else (0, 1, 1, 0)
    net, arch = architecture(space, splits, act)
    images = torch.randn(2, *SPEC.shape, generator=torch.Generator().manual_seed(0))
    exact = shipping.to_litert(fpnas.from_scratch(net, arch, 0).eval(), SPEC)
    path = tmp_path / "net.tflite"
    path.write_bytes(shipping.to_litert_int8(exact.content, SPEC, images).shipped.content)
    done = subprocess.run([sys.executable, "-c", COUNT, str(path)], capture_output=True, text=True, check=True)
    found = {k: int(v) for k, v in re.findall(r"Arena allocation (\w+) (\d+) bytes", done.stdout + done.stderr)}
    assert found["head"] == arena_of(path.read_bytes())
    predicted = fpnas.Ram(net, SPEC.shape).of(arch)
    assert predicted == pytest.approx(found["head"] + found["tail"], rel=0.02)


def test_the_plan_changes_no_answer(small: shipping.Quantised) -> None:
    """The same file without its plan, where each operator has an output of its own."""
    from ai_edge_litert.tools import flatbuffer_utils
    from tflite_micro.python.tflite_micro import runtime

    model = flatbuffer_utils.read_model_from_bytearray(small.shipped.content)
    assert [each.name for each in model.metadata] == [PLAN]
    model.metadata = []
    bare = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    both = [runtime.Interpreter.from_bytes(each, arena_size=4_000_000) for each in (small.shipped.content, bare)]
    for image in np.random.default_rng(0).integers(-128, 128, (4, 1, 32, 32, 3)).astype(np.int8):
        for micro in both:
            micro.set_input(image, 0)
            micro.invoke()
        np.testing.assert_array_equal(both[0].get_output(0), both[1].get_output(0))


def test_tensorflow_lite_micro_runs_it(small: shipping.Quantised) -> None:
    from tflite_micro.python.tflite_micro import runtime

    micro = runtime.Interpreter.from_bytes(small.shipped.content, arena_size=4_000_000)
    own = interpreter(small.shipped.content)
    apart: list[int] = []
    for image in np.random.default_rng(0).integers(-128, 128, (8, 1, 32, 32, 3)).astype(np.int8):
        own.set_tensor(own.get_input_details()[0]["index"], image)
        own.invoke()
        micro.set_input(image, 0)
        micro.invoke()
        wanted = own.get_tensor(own.get_output_details()[0]["index"]).astype(int)
        apart += abs(micro.get_output(0).astype(int) - wanted).reshape(-1).tolist()
    assert np.mean(apart) < 3, "of 256 steps; the two round in different places"


def test_from_a_run_to_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Export, card, predict and C, of a digits network."""
    data = fpnas.data.load("digits", image_size=16)
    supernet = fpnas.spaces.tiny_int8(num_classes=10, in_channels=1)
    arch = supernet.space.decode([1, 1, 1, 0, 0] * 4)
    job = fpnas.Training(fpnas.from_scratch(supernet, arch), data, epochs=6, batch_size=64)
    fpnas.run(job, tmp_path / "run")
    done = fpnas.export(tmp_path / "run", "litert", tmp_path / "net.tflite", data=data, int8=True)
    rows = done.facts["measured"]["files"]
    assert rows["float"]["accuracy"] > 60
    assert abs(rows["int8"]["accuracy"] - rows["float"]["accuracy"]) < 5
    assert rows["int8"]["bytes"] == done.facts["bytes"] < rows["float"]["bytes"]
    assert (done.facts["precision"], done.facts["runtime"]) == ("int8", "ai-edge-litert")

    from PIL import Image

    Image.fromarray(data.heldout.inputs[0, 0].numpy()).save(tmp_path / "image.png")
    (found,) = fpnas.predict(tmp_path / "net.tflite", [tmp_path / "image.png"], top=1)
    (block,) = re.findall(r"```python\n(.*?)```", done.card.read_text(), flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, np.ndarray] = {}
    exec(compile(block, "card", "exec"), names)
    assert int(names["logits"].argmax()) == found.classes[0].label
    with pytest.raises(fpnas.FpnasError, match="ai-edge-litert, or fpnas"):
        fpnas.load(tmp_path / "net.tflite")

    source = fpnas.export(tmp_path / "run", "c", tmp_path / "net.h", data=data)
    array = bytes(int(byte, 16) for byte in re.findall(r"0x(\w\w),", source.file.read_text()))
    assert array == (tmp_path / "net.tflite").read_bytes()
    assert "HARD_SWISH" in source.facts["operators"]
    assert r"HARD\_SWISH" in source.card.read_text()
    compiler = shutil.which("cc")
    if compiler:
        main = "#include \"net.h\"\nint main(void) { return net[4] == 'T' && net_len > 100 ? 0 : 1; }\n"
        (tmp_path / "main.c").write_text(main)
        subprocess.run([compiler, "-Wall", "-Werror", "-o", "main", "main.c"], cwd=tmp_path, check=True)
        assert subprocess.run([tmp_path / "main"], check=False).returncode == 0

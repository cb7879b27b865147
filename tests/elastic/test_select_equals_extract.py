"""A selected architecture of a space and its extracted network are one function, and the latter needs no fpnas.

Logits to 1e-5 of the largest in float32 and to 1e-10 in float64, in train and in eval mode, and batch norm's running
statistics after a step; on a sample of each space, and as a soak on 200 networks of each: float32 at the space's own
input size, float64 at an odd one (one space alone: `pytest -m soak -k "200_networks and fpnas-l0"`). Saved whole, or as
.pt2, the network gives the same outputs in a process in which fpnas can't be imported.
"""

from __future__ import annotations

import copy
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fpnas import Arch, Supernet
from fpnas.elastic import BatchNorm2d, batch_statistics
from fpnas.elastic.init import initialise
from fpnas.spaces import SPACES
from fpnas.spaces.published import IMAGE_SIZES

SIZE, BATCH, CLASSES = 32, 8, 10
QUICK = ("tiny", "fbnetv2-f")
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


def supernet(name: str) -> Supernet:
    """A space with every parameter and statistic made random: fresh gates, and branches that begin alike, would hide
    differences. A momentum of 0.9, so that eval mode after one pass in train mode has statistics which fit the
    architecture."""
    net = SPACES[name](num_classes=CLASSES)
    for module in net.modules():
        if isinstance(module, BatchNorm2d):
            module.momentum = 0.9
    generator = torch.Generator().manual_seed(0)
    initialise(net.module, generator, elastic_only=True)
    with torch.no_grad():
        for key, tensor in net.state_dict().items():
            if tensor.dim() == 1:
                low = 0.5 if key.endswith(("weight", "running_var")) else -0.5
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + low)
            elif tensor.dim() == 2:
                tensor.copy_(torch.randn(tensor.shape, generator=generator) / tensor.shape[1] ** 0.5)
    return net


def architectures(net: Supernet, count: int) -> Iterator[Arch]:
    """All blocks skipped, all options the last (the largest), and random ones."""
    last = net.space.decode([n - 1 for n in net.space.cardinalities])
    skips = {"kernel": 0, "operation": "identity"}
    yield Arch({name: skips.get(name.rpartition(".")[2], option) for name, option in last.items()})
    yield last
    rng = random.Random(0)
    for _ in range(count - 2):
        yield net.space.decode([rng.randrange(n) for n in net.space.cardinalities])


def images(size: int, seed: int = 1, batch: int = BATCH) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


def assert_one_function(net: Supernet, arch: Arch, x: Tensor) -> None:
    """In train mode, then (with the running statistics that this made) in eval mode."""
    plain = net.train().extract(arch)
    net.select(arch)
    for training in (True, False):
        with torch.inference_mode():
            expected, output = net.train(training)(x), plain.train(training)(x)
        assert output.shape == (len(x), CLASSES)
        difference = (output - expected).abs().max() / expected.abs().max()
        assert difference <= TOLERANCE[x.dtype], (arch, training, difference)
        assert output.std(dim=0).mean() > 1e-4 * output.abs().max(), "logits that heed no image prove nothing"
    norms = {name: module for name, module in plain.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert norms
    for name, norm in norms.items():
        mine = net.module.get_submodule(name)
        assert isinstance(mine, BatchNorm2d)
        for buffer in ("running_mean", "running_var"):
            value, wanted = norm.get_buffer(buffer), mine.get_buffer(buffer)[: norm.num_features]
            torch.testing.assert_close(value, wanted, rtol=TOLERANCE[x.dtype], atol=TOLERANCE[x.dtype])
        assert norm.num_batches_tracked == mine.num_batches_tracked


spaces = pytest.mark.parametrize("name", QUICK)
every_space = pytest.mark.parametrize("name", SPACES)


@spaces
def test_select_equals_extract(name: str) -> None:
    net, x = supernet(name), images(SIZE)
    for dtype in TOLERANCE:
        for arch in architectures(net, 6):
            assert_one_function(net.to(dtype), arch, x.to(dtype))


def odd_size(name: str) -> int:
    """2^n + 1 px: odd before every stride of 2 on the way through."""
    return 17 if IMAGE_SIZES[name] <= 32 else 65


@every_space
def test_select_equals_extract_in_every_space(name: str) -> None:
    """All skipped and the largest at an odd image size, a random one at the space's own."""
    net = supernet(name)
    *extremes, sampled = architectures(net, 3)
    for arch in extremes:
        assert_one_function(net, arch, images(odd_size(name), batch=2))
    assert_one_function(net, sampled, images(IMAGE_SIZES[name], batch=2))


@pytest.mark.soak
@pytest.mark.timeout(7200)
@every_space
@pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "float64"])
def test_select_equals_extract_on_200_networks(name: str, dtype: torch.dtype) -> None:
    """All skipped, the largest and 198 random ones: float32 at the space's own image size, float64 at an odd one."""
    net = supernet(name).to(dtype)
    x = images(IMAGE_SIZES[name] if dtype == torch.float32 else odd_size(name), batch=2).to(dtype)
    for arch in architectures(net, 200):
        assert_one_function(net, arch, x)


@spaces
def test_one_step_of_training_changes_both_alike(name: str) -> None:
    """Gradients of the extracted network are those of the supernet's slices: one function still after a step of SGD."""
    net = supernet(name).double().train()
    for arch in [*architectures(net, 3)][::2]:
        plain, ours = net.extract(arch), copy.deepcopy(net).select(arch)
        x, labels = images(SIZE).double(), torch.arange(BATCH) % CLASSES
        for network in (plain, ours):
            optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
            nn.functional.cross_entropy(network(x), labels).backward()
            optimizer.step()
        after = images(SIZE, seed=2).double()
        expected = ours(after)
        assert not torch.allclose(expected, net.select(arch)(after), rtol=1e-3), "the step must have done something"
        torch.testing.assert_close(plain(after), expected, rtol=0, atol=1e-10 * expected.abs().max().item())


@spaces
def test_batch_statistics_are_train_mode_without_a_trace(name: str) -> None:
    net = supernet(name).train()
    arch = list(architectures(net, 3))[2]
    state = copy.deepcopy(net.state_dict())
    with batch_statistics(net):
        mine = net.select(arch)(images(SIZE))
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert torch.equal(mine, net.extract(arch)(images(SIZE)))


WITHOUT_FPNAS = """
import sys
import torch

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "fpnas":
            raise ModuleNotFoundError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocked())
try:
    import fpnas
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("fpnas could be imported: this proves nothing")
torch.set_num_threads(1)
for case in torch.load("cases.pt", weights_only=True):
    x, expected = case["x"], case["expected"]
    if case["file"].endswith(".pt2"):
        network = torch.export.load(case["file"]).module()
    else:
        network = torch.load(case["file"], weights_only=False).train(case["training"])
    difference = ((network(x) - expected).abs().max() / expected.abs().max()).item()
    assert difference <= 1e-5, (case["file"], difference)
    print(case["file"], difference)
assert not any(name.partition(".")[0] == "fpnas" for name in sys.modules)
"""


def test_the_extracted_network_needs_nothing_of_fpnas(tmp_path: Path) -> None:
    """Two networks of each space saved whole, to run in either mode, and one of them as .pt2."""
    cases, x = [], images(SIZE)
    for name in QUICK:
        net = supernet(name)
        with torch.no_grad():
            for number, arch in enumerate([*architectures(net, 3)][1:]):
                net.train().select(arch)(x)  # for statistics that fit
                plain = net.eval().extract(arch)
                file = f"{name}-{number}.pt"
                torch.save(plain, tmp_path / file)
                for training in (False, True):
                    expected = net.train(training).select(arch)(x)
                    cases.append({"file": file, "x": x, "expected": expected, "training": training})
        file = f"{name}.pt2"
        torch.export.save(torch.export.export(plain, (x,)), tmp_path / file)
        cases.append({"file": file, "x": x, "expected": plain(x).detach()})
    torch.save(cases, tmp_path / "cases.pt")
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_FPNAS], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(cases) == 5 * len(QUICK)


def test_the_extracted_network_is_named_and_made_of_torchs_own_classes() -> None:
    net = supernet("tiny")
    plain = net.extract()
    assert type(plain).__name__ == "Network"
    assert isinstance(plain, torch.fx.GraphModule)
    assert all(type(module).__module__.startswith("torch.") for module in list(plain.modules())[1:])
    assert "fpnas" not in plain.code

"""Which models of timm and torchvision `make_elastic` follows as they are, and whether it keeps what they compute.

    python benchmarks/followed.py [--only NAME ...] [--archs 4] [--results FILE]

Each model has random weights and random batch norm statistics. A row says how many choices it has, what stays whole,
the largest difference of the logits at full width (relative to the largest logit), and of random architectures the
largest difference between selected and extracted, and whether counted FLOPs are those of the extracted network.
"""

from __future__ import annotations

import argparse
import random
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from results_file import head, table, write
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fpnas import FpnasError, Supernet
from fpnas.cost import Flops
from fpnas.elastic import make_elastic

TIMM = """
    mobilenetv2_050 mobilenetv3_small_075 mobilenetv3_large_100 mobilenetv4_conv_small efficientnet_b0
    efficientnet_lite0 efficientnet_lite1 tf_mobilenetv3_small_minimal_100 lcnet_050 regnety_002 fbnetc_100
    mnasnet_small mnasnet_100 tinynet_e resnet18 resnet26 resnet50 resnext50_32x4d densenet121 convnext_atto
    convnext_femto convnextv2_atto vit_tiny_patch16_224 deit_tiny_patch16_224 repvgg_a0 mobileone_s0 ghostnet_100
    hardcorenas_a spnasnet_100 mixnet_s
"""
TORCHVISION = """
    alexnet vgg11_bn resnet18 resnext50_32x4d wide_resnet50_2 squeezenet1_1 densenet121 googlenet mobilenet_v2
    mobilenet_v3_small shufflenet_v2_x1_0 efficientnet_b0
"""
ALL = [
    f"{library}/{name}" for library, names in (("timm", TIMM), ("torchvision", TORCHVISION)) for name in names.split()
]
FLOORS = {"timm": 28, "torchvision": 11}
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Row:
    """What came of a model.

    Args:
        model: library and name.
        choices: how many.
        whole: layers whose output's width has no choice, the head left out, and how many layers there are.
        difference: at full width.
        extracted: the largest difference of random architectures.
        costs: whether their FLOPs are those counted.
        apart: how far the logits of two images are apart: equal ones would hide differences.
        why: the error, where it wasn't followed.
    """

    model: str
    choices: int = 0
    whole: str = ""
    difference: float = float("inf")
    extracted: float = float("inf")
    costs: bool = False
    apart: float = 0.0
    why: str = ""

    @property
    def good(self) -> bool:
        """Whether it counts as followed."""
        return (
            self.choices > 0
            and max(self.difference, self.extracted) < TOLERANCE
            and self.costs
            and self.apart > 10 * TOLERANCE
        )


def model(name: str, **options: Any) -> nn.Module:
    """`timm/NAME` or `torchvision/NAME` without pretrained weights, in eval mode, its batch norms made random.

    `options` go to the library.
    """
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("empty"))  # its wheel knows CUDA alone
    library, _, short = name.partition("/")
    torch.manual_seed(0)
    if library == "timm":
        import timm

        made: nn.Module = timm.create_model(short, **options)
    else:
        import torchvision

        given = {"init_weights": True, **options} if short == "googlenet" else options
        made = torchvision.models.get_model(short, weights=None, **given)
    return randomised(made).eval()


@torch.no_grad()
def randomised(module: nn.Module) -> nn.Module:
    """Scales and biases drawn anew, and batch norm statistics near those of random images, so that logits differ from
    image to image: fresh ones would hide differences."""
    draws = torch.Generator().manual_seed(1)
    for name, tensor in module.named_parameters():
        if tensor.dim() == 1:
            noise = torch.rand(tensor.shape, generator=draws)
            tensor.copy_((noise - 0.5) / 5 if name.endswith("bias") else noise + 0.5)
    norms = [member for member in module.modules() if isinstance(member, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    module.train()(torch.randn(4, *shape_of(module, 64), generator=draws))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_var.mul_(torch.rand(norm.num_features, generator=draws) + 0.5)
        noise = torch.rand(norm.num_features, generator=draws) - 0.5
        norm.running_mean.add_(noise * norm.running_var.sqrt() / 5)
    return module


def shape_of(module: nn.Module, size: int) -> tuple[int, int, int]:
    """Of an image: the model's own where it takes no other."""
    config = getattr(module, "pretrained_cfg", {})
    return config["input_size"] if config.get("fixed_input_size") else (3, size, size)


def relative(found: Tensor, wanted: Tensor) -> float:
    """The largest difference, relative to the largest logit."""
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


@torch.no_grad()
def followed(name: str, module: nn.Module, shape: tuple[int, ...], archs: int) -> Row:
    """Follows a model, and compares."""
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(2))
    wanted = module(x)
    try:
        net = make_elastic(module, input_shape=shape)
    except FpnasError as error:
        return Row(name, why=str(error))
    difference = relative(net(x), wanted)
    flops, rng = Flops(net, shape), random.Random(0)
    worst, costs = 0.0, True
    for number in range(archs):
        sizes = net.space.cardinalities
        arch = net.space.decode([0 if number == 0 else rng.randrange(n) for n in sizes])
        plain = net.extract(arch)
        worst = max(worst, relative(plain(x), net.select(arch)(x)))
        costs = costs and flops.of(arch) == counted(plain, shape)
    return Row(name, len(net.space), whole(net), difference, worst, costs, relative(wanted[:1], wanted[1:]))


def whole(net: Supernet) -> str:
    """How many layers have no choice of their output's width, and the reasons, the usual ones left out."""
    reasons = dict.fromkeys(why.partition(" at File")[0] for why in net.kept.values() if why != "it is the output's")
    return f"{len(net.kept)}: {'; '.join(reasons)}" if reasons else f"{len(net.kept)}"


def counted(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Multiply-adds by torch's own counter, which counts two for each, and sees nothing in fused attention."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *shape))
    return counter.get_total_flops() // 2


def rows(names: list[str], archs: int, size: int, of: Callable[[str], nn.Module] = model) -> Iterator[Row]:
    """One model after another."""
    for name in names:
        made = of(name)
        yield followed(name, made, shape_of(made, size), archs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=ALL, metavar="NAME", help="such as timm/resnet18")
    parser.add_argument("--archs", type=int, default=4, help="architectures of each, the smallest first")
    parser.add_argument("--size", type=int, default=128, help="of the images, unless a model takes one alone")
    parser.add_argument("--results", type=Path)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found: list[Row] = []
    for row in rows(arguments.only, arguments.archs, arguments.size):
        found.append(row)
        print(row, flush=True)
    lines = report(found, arguments.archs, arguments.size)
    print("\n".join(lines))
    write(arguments.results, lines)
    return 0 if arguments.only is not ALL or all(enough(found, library) for library in FLOORS) else 1


def enough(found: list[Row], library: str) -> bool:
    """Whether as many models of a library are followed as have to be."""
    return sum(row.good for row in found if row.model.startswith(f"{library}/")) >= FLOORS[library]


def report(found: list[Row], archs: int, size: int) -> list[str]:
    """The results file."""
    counts = [
        f"{library}: {sum(row.good for row in own)} of {len(own)} followed, at least {FLOORS[library]} wanted"
        for library in FLOORS
        if (own := [row for row in found if row.model.startswith(f"{library}/")])
    ]
    columns = [
        "model",
        "choices",
        "layers whose width stays, and why",
        "difference",
        "extracted",
        "FLOPs",
        "images",
        "followed",
    ]
    lines = [
        [
            row.model,
            row.choices,
            row.whole or row.why,
            f"{row.difference:.1e}",
            f"{row.extracted:.1e}",
            "equal" if row.costs else "differ",
            f"{row.apart:.1e}",
            "yes" if row.good else "no",
        ]
        for row in found
    ]
    facts = [
        f"images of {size} x {size} (224 x 224 for vision transformers), random weights and batch norm statistics,"
        f" eval mode, float32; {archs} architectures of each, the smallest and random ones",
        f"difference: of the logits at full width, over the largest logit; below {TOLERANCE:g} counts",
        "extracted: the same between selected and extracted architectures; images: between two images",
    ]
    return [*head("What make_elastic follows", *facts, *counts), *table(columns, lines)]


if __name__ == "__main__":
    sys.exit(main())

"""Why has FP-NAS-L2 about twice the parameters of EfficientNet-B2 at equal FLOPs?

The paper prints 1,045 M multiply-adds and 20.7 M parameters for L2 (256 px); EfficientNet-B2 has 1,050 M and 9.2 M
(260 px). This takes random networks of our `fpnas_l2` whose FLOPs lie within 3 % of 1,045 M, with the split count held
at 0, 1, 2 or 4 in all blocks or free, and sums their parameters by kind of layer.

    python benchmarks/where_parameters_sit.py [--networks 8]
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter

import torch

import fpnas
from fpnas.streams import generator

FLOPS, WITHIN, SIZE = 1045e6, 0.03, 256
KINDS = ("1x1 in blocks", "depthwise", "attention", "head", "classifier", "norms")


def kind_of(name: str, kind: str) -> str:
    """Where a layer belongs in the table."""
    if ".attention." in name:
        return "attention"
    if name.startswith("classifier"):
        return "classifier"
    if name.startswith("head."):
        return "head"
    return {"DepthwiseConv2d": "depthwise", "BatchNorm2d": "norms"}.get(kind, "1x1 in blocks")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=8)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with torch.device("meta"):
        supernet = fpnas.spaces.fpnas_l2(num_classes=1000)
    shape = (3, SIZE, SIZE)
    flops = fpnas.Flops(supernet, shape)
    where = [index for index, choice in enumerate(supernet.space.choices) if choice.name.endswith(".splits")]
    options = supernet.space.choices[where[0]].options
    print("| splits | MFLOPs | M parameters | " + " | ".join(f"{kind}, M (% of FLOPs)" for kind in KINDS) + " |")
    print("|" + " --- |" * (len(KINDS) + 3))
    for splits in (*options, "free"):
        codes = fpnas.ArchDistribution(supernet.space).sample(20_000, generator(0, "where", splits))
        if splits != "free":
            codes[:, where] = options.index(splits)
        near = codes[(flops(codes) / FLOPS - 1).abs() < WITHIN][: arguments.networks]
        params, multiply_adds = Counter[str](), Counter[str]()
        for row in near.tolist():
            for layer in fpnas.layer_costs(supernet, supernet.space.decode(row), shape):
                params[kind_of(layer.name, layer.kind)] += layer.params
                multiply_adds[kind_of(layer.name, layer.kind)] += layer.flops
        total, all_flops = sum(params.values()), sum(multiply_adds.values())
        cells = [f"{params[k] / len(near) / 1e6:.2f} ({100 * multiply_adds[k] / all_flops:.1f})" for k in KINDS]
        figures = f"{all_flops / len(near) / 1e6:.0f} | {total / len(near) / 1e6:.2f}"
        print(f"| {splits} | {figures} | " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

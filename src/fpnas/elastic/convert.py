"""`make_elastic`: a plain convolutional network, such as a MobileNet or a ResNet, as a supernet of its smaller kin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fpnas.elastic.base import ElasticLayer
from fpnas.elastic.conv import Conv2d, DepthwiseConv2d, Linear
from fpnas.elastic.dims import Dim
from fpnas.elastic.follow import Followed, Width, follow, is_depthwise, why_not_elastic
from fpnas.elastic.norm import BatchNorm, BatchNorm1d, BatchNorm2d
from fpnas.elastic.supernet import Supernet
from fpnas.elastic.switch import Switch
from fpnas.errors import InputError, SupernetError
from fpnas.space import Choice


def make_elastic(
    module: nn.Module,
    *,
    widths: Sequence[float] = (0.5, 0.75, 1.0),
    kernels: Sequence[int] = (),
    skips: bool = False,
    divisor: int = 8,
    name: str = "custom",
    input_shape: tuple[int, ...] | None = None,
) -> Supernet:
    """A supernet whose architecture at first, the last option of each choice, computes what `module` does.

    Each width becomes a choice, `<layer>_width`, of the first layer that makes it: widths that a sum or a product ties
    are one. Those of the input, of the output and of concatenations, and those next to convolutions with groups, stay.
    The choices of a block, which is what lies below the first number in a layer's name, are a group.

    Args:
        module: convolutions, linear layers, batch norms, pooling and activations, in a forward that `torch.fx` can
            trace; it is copied, with its weights.
        widths: fractions of each width, above 0 and at most 1, rounded to `divisor`; the whole is always an option.
        kernels: odd sizes of depthwise convolutions, `<layer>_kernel`, beside their own. A smaller kernel starts as the
            middle of the given one, a larger one as the given one with zeros around it.
        skips: whether residual blocks, modules that return their input plus something, may be left out: `<block>.runs`.
        divisor: widths are multiples of it, where they aren't whole.
        name: of the space.
        input_shape: of one example; given, a few architectures are run at once, as `Supernet` says.

    Raises:
        InputError: fractions or sizes out of range.
        SupernetError: the module's widths can't be followed; says at which layer and line.
    """
    if not widths or not all(0 < width <= 1 for width in widths) or divisor < 1:
        raise InputError("widths above 0 and at most 1", f"{tuple(widths)}, divisor {divisor}", "use (0.5, 0.75, 1)")
    if not all(kernel > 0 and kernel % 2 for kernel in kernels):
        raise InputError("odd kernel sizes", str(tuple(kernels)), "use (3, 5)")
    layers = follow(module)
    dims = _dims(layers, widths, divisor)
    elastic: dict[int, ElasticLayer] = {}
    for followed in layers:
        made = _elastic(followed, dims, kernels)
        if made is not None:
            example = next(followed.layer.parameters())
            elastic[id(followed.layer)] = made.to(example.device, example.dtype).train(followed.layer.training)
    copy = _replaced(module, elastic, _residual_blocks(module) if skips else [])
    supernet = Supernet(copy, name=name)
    with torch.no_grad():  # only now: a supernet draws the weights of its layers
        for followed in layers:
            if id(followed.layer) in elastic:
                _take_weights(elastic[id(followed.layer)], followed.layer)
    supernet.train(module.training)
    for member in copy.modules():
        if isinstance(member, Switch):
            member.train(member.branches["1"].training)
    if input_shape is not None:
        supernet.check(input_shape)
    return supernet


def _dims(layers: list[Followed], widths: Sequence[float], divisor: int) -> dict[int, Dim]:
    """Each width, by the id of its root, as a choice or as it is."""
    dims: dict[int, Dim] = {}
    for followed in layers:
        for width in (followed.ins.root(), followed.outs.root()):
            if id(width) not in dims:  # one that isn't held is first seen at the layer that makes it
                options = () if width.held else _options(width, widths, divisor)
                dims[id(width)] = Choice(f"{_in_block(followed.name)}_width", options) if options else width.size
    return dims


def _options(width: Width, widths: Sequence[float], divisor: int) -> tuple[int, ...]:
    rounded = {max(divisor, int(width.size * part + divisor / 2) // divisor * divisor) for part in widths if part < 1}
    smaller = sorted(option for option in rounded if option < width.size)
    return (*smaller, width.size) if smaller else ()


def _in_block(name: str) -> str:
    """A layer's name with a dot after its block alone, so that the choices of a block are a group."""
    parts = name.split(".")
    end = next((number + 1 for number, part in enumerate(parts) if part.isdigit()), 0)
    block, rest = ".".join(parts[:end]), "_".join(parts[end:])
    return f"{block}.{rest}" if block and rest else f"{block}.layer" if block else rest


def _elastic(followed: Followed, dims: Mapping[int, Dim], kernels: Sequence[int]) -> ElasticLayer | None:
    """The elastic counterpart of a layer; None where none of its arguments is a choice."""
    layer = followed.layer
    ins, outs = dims[id(followed.ins.root())], dims[id(followed.outs.root())]
    if isinstance(layer, nn.Conv2d) and not why_not_elastic(layer):
        size, stride, padding = layer.kernel_size[0], layer.stride[0], cast(tuple[int, int], layer.padding)[0]
        kernel: Dim = size
        keep = None if padding == size // 2 else padding
        if is_depthwise(layer) and keep is None and size % 2 and set(kernels) - {size}:
            kernel = Choice(f"{_in_block(followed.name)}_kernel", tuple(sorted({size, *kernels})))
        if not any(isinstance(dim, Choice) for dim in (ins, outs, kernel)):
            return None
        if is_depthwise(layer):
            return DepthwiseConv2d(outs, kernel, stride, keep, layer.bias is not None)
        return Conv2d(ins, outs, kernel, stride, keep, layer.bias is not None)
    if not isinstance(ins, Choice) and not isinstance(outs, Choice):
        return None
    if isinstance(layer, nn.Linear):
        # The flattened maps of a held width: more features than channels.
        takes = ins if isinstance(ins, Choice) else layer.in_features
        return Linear(takes, outs, "bias" in dict(layer.named_parameters()))
    assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d), "a layer of another kind holds its widths"
    assert layer.momentum is not None
    kind = BatchNorm1d if isinstance(layer, nn.BatchNorm1d) else BatchNorm2d
    return kind(outs, layer.eps, layer.momentum)


def _replaced(module: nn.Module, elastic: Mapping[int, ElasticLayer], blocks: Sequence[str]) -> nn.Module:
    """A copy of the module with elastic layers, under all their names, and residual blocks that can be left out."""
    names = [(path, elastic[id(m)]) for path, m in module.named_modules(remove_duplicate=False) if id(m) in elastic]
    copy = deepcopy(module)
    if names and not names[0][0]:
        raise SupernetError("a network of several layers", type(module).__name__, "use an elastic layer itself")
    for path, layer in names:
        copy.set_submodule(path, layer)
    for path in sorted(blocks, key=len, reverse=True):  # the inner ones first
        runs = Choice(f"{_in_block(path).removesuffix('.layer')}.runs", (0, 1))
        copy.set_submodule(path, Switch(runs, {"0": nn.Identity(), "1": copy.get_submodule(path)}))
    return copy


def _residual_blocks(module: nn.Module) -> list[str]:
    """Modules, each with one name, that return their input plus something, or the ReLU of that."""
    found: list[str] = []
    for path, member in module.named_modules():
        if not path or type(member).__module__.startswith("torch.nn"):
            continue
        try:
            graph = fx.Tracer().trace(member)
        except Exception:  # the whole module could be traced, so this one isn't called by itself
            continue
        inputs = [node for node in graph.nodes if node.op == "placeholder"]
        (result,) = (node.args[0] for node in graph.nodes if node.op == "output")
        while isinstance(result, fx.Node) and _is_relu(member, result):
            result = result.args[0]
        if not isinstance(result, fx.Node) or len(inputs) != 1:
            continue
        adds = getattr(result.target, "__name__", result.target) in ("add", "iadd", "add_")
        if adds and inputs[0] in result.args[:2]:
            found.append(path)
    return found


def _is_relu(member: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(member.get_submodule(str(node.target)), nn.ReLU | nn.Identity)
    return getattr(node.target, "__name__", node.target) in ("relu", "relu_")


def _take_weights(elastic: ElasticLayer, plain: nn.Module) -> None:
    """Copies the weights of the plain layer, whose sizes are the elastic one's largest."""
    given = {**dict(plain.named_parameters()), **dict(plain.named_buffers())}
    if isinstance(elastic, Conv2d | DepthwiseConv2d):
        weight = given["weight"]
        for key, parameter in elastic.weights.items():
            _tensor(parameter).copy_(_resized(weight, int(key)))
        if elastic.bias is not None:
            elastic.bias.copy_(given["bias"])
    else:
        assert isinstance(elastic, Linear | BatchNorm)
        elastic.load_state_dict(given)


def _tensor(parameter: object) -> Tensor:
    assert isinstance(parameter, Tensor)
    return parameter


def _resized(weight: Tensor, size: int) -> Tensor:
    """The middle of a kernel, or the kernel with zeros around it."""
    margin = (size - weight.shape[-1]) // 2
    return F.pad(weight, [margin] * 4)  # a negative margin cuts

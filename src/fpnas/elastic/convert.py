"""`make_elastic`: a plain network, such as a MobileNet, a ResNet or a vision transformer, as a supernet of its smaller
kin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from torch import fx, nn

from fpnas.elastic.base import ElasticModule
from fpnas.elastic.follow import (
    Batches,
    Choices,
    Importance,
    Network,
    Tracer,
    as_torch,
    counterpart,
    follow,
    in_block,
    sort_channels,
    take_weights,
)
from fpnas.elastic.supernet import Supernet
from fpnas.elastic.switch import Switch
from fpnas.elastic.whole import Whole
from fpnas.errors import InputError, SupernetError
from fpnas.space import Arch, Choice, Option


def make_elastic(
    module: nn.Module,
    *,
    widths: Sequence[float] = (0.5, 0.75, 1.0),
    kernels: Sequence[int] = (),
    skips: bool = False,
    divisor: int = 8,
    name: str = "custom",
    input_shape: tuple[int, ...] | None = None,
    sort: Importance | None = None,
    batches: Batches | None = None,
) -> Supernet:
    """A supernet whose architecture at first, the last option of each choice, computes what `module` does.

    Each width becomes a choice, `<layer>_width`, of the first layer that makes it: widths that a sum or a product ties
    are one. Convolutions with groups vary by whole groups, attention by whole heads: `<layer>_heads`. What can't be
    followed stays as it is, and so do the widths that it reads: `Supernet.kept` lists them, with the reasons. The
    choices of a block, which is what lies below the first number in a layer's name, are a group.

    Args:
        module: of torch's layers, or of those of timm and torchvision that are torch's under other names, in a
            `forward` that `torch.fx` can trace; it is copied, with its weights.
        widths: fractions of each width, above 0 and at most 1, rounded to `divisor`; the whole is always an option. Of
            heads the same fractions.
        kernels: odd sizes of depthwise convolutions, `<layer>_kernel`, beside their own. A smaller kernel starts as the
            middle of the given one, a larger one as the given one with zeros around it.
        skips: whether residual blocks, modules that return their input plus something, may be left out: `<block>.runs`.
        divisor: widths are multiples of it, where they aren't whole.
        name: of the space.
        input_shape: of one example; given, a few architectures are run at once, as `Supernet` says. Without it the
            module is followed at a usual size at which it runs, and convolutions whose padding depends on the size stay
            whole.
        sort: channels are reordered, the most important first, which changes nothing of what the whole network
            computes; for networks that were trained. "l1" and "l2": those whose weights have the largest norms.
            "taylor": those without which the cross-entropy of `batches` would change most.
        batches: for "taylor": a few of inputs, as the module takes them, and labels (N,).

    Raises:
        InputError: fractions or sizes out of range, or the module runs at no usual size.
        SupernetError: the module's own forward can't be traced, or no choice is found; says why.

    Example:
        `make_elastic(timm.create_model("efficientnet_lite0"), input_shape=(3, 224, 224))`.
    """
    if not widths or not all(0 < width <= 1 for width in widths) or divisor < 1:
        raise InputError("widths above 0 and at most 1", f"{tuple(widths)}, divisor {divisor}", "use (0.5, 0.75, 1)")
    if not all(kernel > 0 and kernel % 2 for kernel in kernels):
        raise InputError("odd kernel sizes", str(tuple(kernels)), "use (3, 5)")
    if (sort == "taylor") != (batches is not None):
        got = f"{'none' if batches is None else 'some'} beside sort={sort!r}"
        raise InputError("batches for sort='taylor', and for no other", got, "give both, or neither")
    copy = as_torch(module, input_shape)
    network = follow(copy, input_shape)
    choices = Choices(network, widths, divisor)
    if sort is not None:
        sort_channels(copy, network, sort, batches)
    elastic: dict[int, ElasticModule] = {}
    own: dict[str, Option] = {}  # kernels, of which larger ones may be options
    for followed in network.layers:
        made = counterpart(followed, choices, kernels)
        if made is not None:
            like = next(followed.layer.parameters(), torch.empty(0))
            elastic[id(followed.layer)] = made.to(like.device, like.dtype).train(followed.layer.training)
            kernel = made.dims.get("kernel_size")
            if isinstance(kernel, Choice) and isinstance(followed.layer, nn.Conv2d):
                own[kernel.name] = followed.layer.kernel_size[0]
    blocks = _residual_blocks(copy, network) if skips else []
    if not elastic and not blocks:
        raise _nothing_to_choose(choices.kept)
    for path in network.whole:  # as given: what was written as torch's own in it stays in the library's form
        part = copy.get_submodule(path)
        elastic[id(part)] = Whole(deepcopy(module.get_submodule(path))).train(part.training)
    _replace(copy, elastic, blocks)
    supernet = Supernet(copy, name=name)
    supernet.kept = choices.kept
    supernet.given = Arch({**supernet.arch, **own})
    with torch.no_grad():  # only now: a supernet draws the weights of its layers
        for followed in network.layers:
            if id(followed.layer) in elastic:
                take_weights(elastic[id(followed.layer)], followed.layer)
    supernet.train(module.training)
    for member in copy.modules():
        if isinstance(member, Switch):
            member.train(member.branches["1"].training)
    if input_shape is not None:
        supernet.check(input_shape)
    return supernet


def _nothing_to_choose(kept: Mapping[str, str]) -> SupernetError:
    reasons = dict.fromkeys(why for why in kept.values() if why not in ("it is the output's", "what it reads is fixed"))
    got = f"none: {'; '.join([*reasons][:3])}" if reasons else "none"
    return SupernetError("at least one choice", got, "put elastic layers there by hand; docs/own-space.md shows how")


def _replace(copy: nn.Module, elastic: Mapping[int, ElasticModule], blocks: Sequence[str]) -> None:
    """Puts in elastic layers, under all their names, and residual blocks that can be left out."""
    names = [(path, elastic[id(m)]) for path, m in copy.named_modules(remove_duplicate=False) if id(m) in elastic]
    if names and not names[0][0]:
        raise SupernetError("a network of several layers", type(copy).__name__, "use an elastic layer itself")
    for path, layer in names:
        copy.set_submodule(path, layer)
    for path in sorted(blocks, key=len, reverse=True):  # the inner ones first
        runs = Choice(f"{in_block(path).removesuffix('.layer')}.runs", (0, 1))
        copy.set_submodule(path, Switch(runs, {"0": nn.Identity(), "1": copy.get_submodule(path)}))


def _residual_blocks(module: nn.Module, network: Network) -> list[str]:
    """Modules, each with one name, that return their input plus something, or the ReLU of that."""
    found: list[str] = []
    whole = frozenset(id(module.get_submodule(path)) for path in network.whole)
    for path, member in module.named_modules():
        if not path or type(member).__module__.startswith("torch.nn") or id(member) in whole:
            continue
        try:
            graph = Tracer(whole).trace(member)
        except Exception:  # the whole module could be traced, so this one isn't called by itself
            continue
        inputs = [node for node in graph.nodes if node.op == "placeholder"]
        (result,) = (node.args[0] for node in graph.nodes if node.op == "output")
        while isinstance(result, fx.Node) and _is_relu(member, result):
            result = result.args[0]
        if not isinstance(result, fx.Node) or len(inputs) != 1:
            continue
        adds = getattr(result.target, "__name__", result.target) in ("add", "iadd", "add_")
        if adds and any(_comes_from(member, inputs[0], side) for side in result.args[:2]):
            found.append(path)
    return found


def _comes_from(member: nn.Module, given: fx.Node, found: object) -> bool:
    """Whether `found` is what was given, perhaps handed on by an `nn.Identity`."""
    while isinstance(found, fx.Node) and found.op == "call_module":
        if not isinstance(member.get_submodule(str(found.target)), nn.Identity):
            return False
        found = found.args[0]
    return found is given


def _is_relu(member: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(member.get_submodule(str(node.target)), nn.ReLU | nn.Identity)
    return getattr(node.target, "__name__", node.target) in ("relu", "relu_")

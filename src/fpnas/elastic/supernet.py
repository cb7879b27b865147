"""`Supernet`: any module with elastic layers inside, its search space, and the plain network of any architecture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from typing import Any, cast

from torch import Tensor, fx, nn

from fpnas.elastic.base import ElasticLayer, ElasticModule, Pick
from fpnas.elastic.dims import choices_in
from fpnas.elastic.init import initialise
from fpnas.elastic.soft import Mixture
from fpnas.errors import InputError, SupernetError
from fpnas.space import Arch, Choice, Option, SearchSpace
from fpnas.streams import generator


class Supernet(nn.Module):
    """All candidate architectures of a module with shared weights; runs one at a time.

    Args:
        module: holds elastic layers, whose arguments may be `Choice`s. Under a fixed architecture its `forward` must be
            one that `torch.fx` can trace.
        choices: the order of the search space; by default that of first appearance.
        seed: of the elastic layers' fresh weights.
        name: how files call the space.
        image_sizes: the least and the largest input size it takes, where that is limited.

    Raises:
        SupernetError: no choice is read, two choices share a name and differ, or a listed choice is read by no layer.
    """

    def __init__(
        self,
        module: nn.Module,
        choices: Iterable[Choice] | None = None,
        seed: int = 0,
        name: str = "custom",
        image_sizes: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        # A root that is a layer would be traced into; as a child it is a leaf.
        self.module = nn.Sequential(module) if isinstance(module, ElasticLayer) else module
        self.name = name
        self.image_sizes = image_sizes
        elastic = [m for m in module.modules() if isinstance(m, ElasticModule)]
        read = _choices_read(elastic)
        self.space = SearchSpace(read.values() if choices is None else choices)
        for choice in self.space.choices:
            if read.get(choice.name) != choice:
                raise SupernetError("layers that read every choice", f"{choice!r}, which none reads", "remove it")
        if len(self.space) < len(read):
            missing = sorted(set(read) - {choice.name for choice in self.space.choices})
            raise SupernetError("all choices that layers read", f"a list without {missing}", "add them")
        self._pick = Pick()
        for member in elastic:
            member.pick = self._pick
        self.select(self.space.decode([n - 1 for n in self.space.cardinalities]))
        initialise(module, generator(seed, "weights"), elastic_only=True)

    @property
    def arch(self) -> Arch:
        """The architecture in force."""
        return cast(Arch, self._pick.arch)

    def select(self, arch: Mapping[str, Option]) -> Supernet:
        """Makes `arch` the architecture in force and returns the supernet, so that `select(arch)(x)` reads well.

        Raises:
            InputError: `arch` is not of this space.
        """
        self._pick.arch, self._pick.mixture = self.space.decode(self.space.encode(arch)), None
        return self

    def mix(self, weights: Mapping[str, Tensor]) -> Supernet:
        """Makes a mixture of all architectures the one in force, until the next `select`: DARTS's and FBNetV2's pick.

        Args:
            weights: choice -> weights of its options, summing to 1; the output is differentiable in them.

        Raises:
            InputError: not one weight for each option of each choice.
        """
        wanted = {choice.name: len(choice.options) for choice in self.space.choices}
        given = {name: tuple(weight.shape) for name, weight in weights.items()}
        if given != {name: (count,) for name, count in wanted.items()}:
            raise InputError("a weight for each option of each choice", f"shapes {given}", f"give {wanted}")
        self._pick.mixture = Mixture(weights)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """The architecture in force on a batch."""
        return self.module(x)

    def extract(self, arch: Mapping[str, Option] | None = None) -> fx.GraphModule:
        """The plain module of `arch` (of the one in force by default), with copies of its slices of the weights.

        It needs nothing of this library: it holds torch's own layers under a `torch.fx` graph, and can be saved whole.

        Raises:
            InputError: `arch` is not of this space.
            SupernetError: `torch.fx` can't follow the module's `forward`.
        """
        before = self.arch
        try:
            return _plain(self.module, self.select(before if arch is None else arch).training)
        finally:
            self.select(before)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, ElasticLayer) or super().is_leaf_module(m, module_qualified_name)


def _plain(module: nn.Module, training: bool) -> fx.GraphModule:
    attributes = set(vars(module))
    try:
        traced = _Tracer().trace(module)
    except Exception as error:  # whatever a user's forward raises under a symbolic trace
        fix = "keep control flow on tensor values out of forward"
        raise SupernetError("a forward that torch.fx can trace", f"{type(error).__name__}: {error}", fix) from error
    # Copied into a graph that doesn't remember our tracer, which a saved file would then need.
    graph = fx.Graph()
    result = graph.graph_copy(traced, {})
    graph.output(result)
    members: dict[str, Any] = {}
    training_of: dict[str, bool] = {}
    for node in graph.nodes:
        node.type = None  # an annotation that is text, as in this module, can't be saved
        if node.op == "call_module":
            member = module.get_submodule(node.target)
            training_of[node.target] = member.training
            members[node.target] = member.extract() if isinstance(member, ElasticLayer) else deepcopy(member)
        elif node.op == "get_attr":
            owner, _, attribute = node.target.rpartition(".")
            members[node.target] = deepcopy(getattr(module.get_submodule(owner), attribute))
    for name in set(vars(module)) - attributes:  # constants that the tracer left on the module
        delattr(module, name)
    network = fx.GraphModule(members, graph, class_name="Network").train(training)
    for target, mode in training_of.items():
        network.get_submodule(target).train(mode)
    return network


def _choices_read(elastic: Iterable[ElasticModule]) -> dict[str, Choice]:
    read: dict[str, Choice] = {}
    for member in elastic:
        for dim in member.dims.values():
            for choice in choices_in(dim):
                if read.setdefault(choice.name, choice) != choice:
                    raise SupernetError("one meaning of a choice's name", f"two of {choice.name!r}", "rename one")
    return read

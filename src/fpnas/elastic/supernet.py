"""`Supernet`: any module with elastic layers inside, its search space, and the plain network of any architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from fpnas.elastic import checks
from fpnas.elastic.align import align
from fpnas.elastic.base import ElasticLayer, ElasticModule, Pick
from fpnas.elastic.gathered import Gathered
from fpnas.elastic.init import initialise
from fpnas.elastic.soft import Mixture
from fpnas.errors import InputError, SupernetError
from fpnas.space import Arch, Choice, Option, SearchSpace
from fpnas.streams import generator


@dataclass(frozen=True)
class Stage:
    """A part of a chain: what runs, tensor to tensor, and the modules that it calls."""

    run: Callable[[Tensor], Tensor]
    modules: tuple[nn.Module, ...]


class Staged(nn.Module, ABC):
    """A module that says what its `forward` is a chain of, so that networks which begin alike can share it."""

    @abstractmethod
    def stages(self) -> Sequence[Stage]:
        """Run one after another, they are `forward`."""


class Supernet(nn.Module):
    """All candidate architectures of a module with shared weights; runs one at a time.

    `torch.fx` follows the module's forward when a supernet is made, and again in `extract`: meanwhile no other thread
    of the process may run a module.

    Args:
        module: holds elastic layers, whose arguments may be `Choice`s. Under a fixed architecture its `forward` must be
            one that `torch.fx` can trace.
        choices: the order of the search space; by default that of first appearance.
        seed: of the elastic layers' fresh weights.
        name: how files call the space.
        image_sizes: the least and the largest input size it takes, where that is limited.
        input_shape: of one example, such as (3, 32, 32): runs a few architectures at once, which take each option and
            set each two choices apart, so that widths that can't match are found here.
        input_dtype: of such an example; by default that of the parameters. Tokens are torch.int64.
        aligned: whether branches and kernels that a choice exchanges begin with the same weights (ours, see `align`).

    Attributes:
        facts: what arch.json says of the space beside its name, plain JSON: enough to build it anew.
        normalization: mean and standard deviation of each channel that its images should be brought to; None for those
            of the data.
        pretrained: whether its weights are worth keeping, as those of a network that was trained elsewhere.
        kept: of one that `make_elastic` made, layer -> why the width that it makes has no choice; also the modules that
            no trace could follow, which stay whole.
        given: of such a one, the architecture that is the network which it was made of; None for others.

    Raises:
        SupernetError: no choice is read, two choices share a name and differ, a listed choice is read by no layer, two
            layers share a parameter, `torch.fx` can't follow `forward`, or an architecture doesn't run.
    """

    def __init__(
        self,
        module: nn.Module,
        choices: Iterable[Choice] | None = None,
        seed: int = 0,
        name: str = "custom",
        image_sizes: tuple[int, int] | None = None,
        input_shape: tuple[int, ...] | None = None,
        input_dtype: torch.dtype | None = None,
        aligned: bool = True,
    ) -> None:
        super().__init__()
        # A root that is a layer would be traced into; as a child it is a leaf.
        self.module = nn.Sequential(module) if isinstance(module, ElasticLayer) else module
        self.name = name
        self.image_sizes = image_sizes
        self.facts: dict[str, Any] = {}
        self.normalization: tuple[tuple[float, ...], tuple[float, ...]] | None = None
        self.pretrained = False
        self.kept: Mapping[str, str] = {}
        self.given: Arch | None = None
        elastic = [m for m in module.modules() if isinstance(m, ElasticModule)]
        read = checks.choices_read(module)
        checks.refuse_shared_parameters(module)
        self.space = SearchSpace(read.values() if choices is None else choices)
        for choice in self.space.choices:
            if read.get(choice.name) != choice:
                raise SupernetError("layers that read every choice", f"{choice!r}, which none reads", "remove it")
        if len(self.space) < len(read):
            missing = sorted(set(read) - {choice.name for choice in self.space.choices})
            raise SupernetError("all choices that layers read", f"a list without {missing}", "add them")
        self.pick = Pick()
        for member in elastic:
            member.pick = self.pick
        self.select(self.space.decode([n - 1 for n in self.space.cardinalities]))
        initialise(module, generator(seed, "weights"), elastic_only=True)
        if aligned:
            align(module)
        checks.warn_of_idle_options(module, self.space)
        if type(self.module).forward is not nn.Module.forward:  # as a mere list of modules has it, which can't run
            with _traced(self.module):
                pass  # a forward that can't be followed is refused now, not when its search has ended
        if input_shape is not None:
            self.check(input_shape, input_dtype)

    @property
    def arch(self) -> Arch:
        """The architecture in force."""
        return cast(Arch, self.pick.arch)

    def select(self, arch: Mapping[str, Option]) -> Supernet:
        """Makes `arch` the architecture in force and returns the supernet, so that `select(arch)(x)` reads well.

        Raises:
            InputError: `arch` is not of this space.
        """
        self.pick.arch, self.pick.mixture = self.space.decode(self.space.encode(arch)), None
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
        self.pick.mixture = Mixture(weights)
        return self

    @contextmanager
    def gathering(self) -> Generator[Gathered]:
        """Within it, the gradients of sliced weights are added up by `Gathered.add_up`, to be called after each
        backward pass, instead of by torch."""
        self.pick.gathered = Gathered()
        try:
            yield self.pick.gathered
        finally:
            self.pick.gathered = None

    def forward(self, x: Tensor) -> Tensor:
        """The architecture in force on a batch."""
        return self.module(x)

    def stages(self) -> Sequence[Stage]:
        """Parts that, run one after another, are `forward`: those of a `Staged` module, the members of an
        `nn.Sequential`, or all in one. Networks that begin alike share these (see `evaluators.prefixes`)."""
        if isinstance(self.module, Staged):
            return self.module.stages()
        if type(self.module) is nn.Sequential:
            return [Stage(part, (part,)) for part in self.module]
        return [Stage(self, (self.module,))]

    def example(self, input_shape: tuple[int, ...], input_dtype: torch.dtype | None = None) -> Tensor:
        """A batch of one zero of that shape, by default of the dtype of the parameters, on their device."""
        like = next(iter(self.parameters()), torch.zeros(()))
        return torch.zeros(1, *input_shape, dtype=input_dtype or like.dtype, device=like.device)

    def check(self, input_shape: tuple[int, ...], input_dtype: torch.dtype | None = None) -> None:
        """Runs architectures that take each option, and set each two choices apart, on one example.

        Raises:
            SupernetError: one doesn't run; says in which layer.
        """
        before = self.arch
        try:
            with checks.evaluating(self):
                checks.check_input(self, checks.probes(self.space), self.example(input_shape, input_dtype))
        finally:
            self.select(before)

    def extract(self, arch: Mapping[str, Option] | None = None) -> fx.GraphModule:
        """The plain module of `arch` (of the one in force by default), with copies of its slices of the weights.

        It needs nothing of this library: it holds torch's own layers under a `torch.fx` graph, and can be saved whole.
        Its `meta` says which network of which space it is.

        Raises:
            InputError: `arch` is not of this space.
            SupernetError: `torch.fx` can't follow the module's `forward`.
        """
        before = self.arch
        try:
            network = _plain(self.module, self.select(before if arch is None else arch).training)
            network.meta |= {"space": self.name, **self.facts, "choices": dict(self.arch)}
            if self.normalization is not None:
                network.meta["normalization"] = self.normalization
            return network
        finally:
            self.select(before)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        del module_qualified_name
        return checks.stays_whole(m)


@contextmanager
def _traced(module: nn.Module) -> Generator[fx.Graph]:
    """The graph of the architecture in force; tensors that `forward` makes are attributes of `module` meanwhile."""
    attributes = set(vars(module))
    try:
        try:
            graph = _Tracer().trace(module)
        except Exception as error:  # whatever a user's forward raises under a symbolic trace
            raise checks.does_not_trace(module, error) from error
        yield graph
    finally:
        for name in set(vars(module)) - attributes:
            delattr(module, name)


def _plain(module: nn.Module, training: bool) -> fx.GraphModule:
    members: dict[str, Any] = {}
    training_of: dict[str, bool] = {}
    with _traced(module) as traced:
        # Copied into a graph that doesn't remember our tracer, which a saved file would then need.
        graph = fx.Graph()
        result = graph.graph_copy(traced, {})
        graph.output(result)
        for node in graph.nodes:
            node.type = None  # an annotation that is text, as in this module, can't be saved
            if node.op == "call_module" and node.target not in members:
                member = module.get_submodule(node.target)
                training_of[node.target] = member.training
                members[node.target] = member.extract() if isinstance(member, ElasticLayer) else deepcopy(member)
            elif node.op == "get_attr":
                owner, _, attribute = node.target.rpartition(".")
                members[node.target] = deepcopy(getattr(module.get_submodule(owner), attribute))
    network = fx.GraphModule(members, graph, class_name="Network").train(training)
    for target, mode in training_of.items():
        network.get_submodule(target).train(mode)
    return network

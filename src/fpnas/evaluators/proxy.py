"""`ProxyEvaluator`: judges an architecture by a short training of its own that starts from shared weights (ours).

Shared weights alone hardly know the better ones of networks that are alike in depth, width and cost; a network's own
training from scratch takes many steps until it says more, and until then prefers what learns quickly. A few dozen steps
of its own from weights that were shared before know more than either, for a quarter of the time (docs/methods.md).

1. Shared weights learn: for `warm_steps` steps `train_step` moves the supernet's weights on the architectures given.
2. They stay as they are. A look at K architectures takes `steps_per_look` steps: `train_step` has each of the K take a
   step on the same batch, from its slices of the shared weights on, and `score` says how likely each makes held-back
   training images in the end. All see the same batches in the same order, whenever they are looked at: what their
   scores differ by is the architecture.

The shared weights and those of the K networks are in memory, the activations of one network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float64, Int64
from torch import Tensor, nn

from fpnas import parallel
from fpnas.data import Data
from fpnas.elastic import Supernet, initialise
from fpnas.errors import InputError
from fpnas.evaluators.base import Learned
from fpnas.evaluators.fit import check_classes
from fpnas.evaluators.of_supernet import OfSupernet
from fpnas.evaluators.rehearsal import rehearse
from fpnas.evaluators.short_sgd import ShortSGD
from fpnas.evaluators.small_images import Batch, SmallImages
from fpnas.streams import as_global, generator

STEPS = 100
"""Of a look, at least; a third of an epoch where that is more."""

WARM_LOOKS = 6
"""How long shared weights learn before, in the time of a look at one architecture each."""


@dataclass
class _Run:
    """A network in training."""

    code: tuple[int, ...]
    network: nn.Module
    optimizer: ShortSGD


class ProxyEvaluator(OfSupernet):
    """Judges architectures by short trainings that start from shared weights.

    Letters: K architectures, V choices.

    Args:
        supernet: whose space it is, and whose weights are shared.
        data: what it has for training is cut, class by class, into images to train on and images to judge by.
        image_size: that networks are trained at; by default five eighths of the data's, the next multiple of 4, but at
            least `LEAST_SIZE` and what the space takes. Other data than images stay as they are.
        steps: of a look; by default a third of an epoch, at least `STEPS`.
        warm_steps: of the shared weights before the first look; by default as many as of `WARM_LOOKS` looks. With 0
            every look starts from fresh weights.
        batch_size: images of a step.
        lr: the greatest rate of SGD with Nesterov momentum 0.9, of the shared weights and of each look: a linear rise
            over a tenth of the steps, then a cosine.
        weight_decay: of SGD.
        label_smoothing: of the training's loss.
        clip: the gradient's greatest norm.
        held_back: the share of the training images to judge by.
        seed: of the cut, the networks' weights and the batches' order.
        device: where networks run.
        precision: "fp32", or "bf16" by autocast.

    Raises:
        InputError: the supernet and the data don't fit each other, or a number is out of range.

    Example:
        >>> import torch
        >>> from fpnas import data, spaces
        >>> images = data.load("digits", image_size=16)
        >>> judge = ProxyEvaluator(spaces.tiny(in_channels=1), images, steps=2, warm_steps=0)
        >>> judge.score(torch.zeros(1, len(judge.space), dtype=torch.long)).shape
        torch.Size([1])
    """

    def __init__(
        self,
        supernet: Supernet,
        data: Data,
        *,
        image_size: int | None = None,
        steps: int | None = None,
        warm_steps: int | None = None,
        batch_size: int = 128,
        lr: float = 0.4,
        weight_decay: float = 1e-4,
        label_smoothing: float = 0.05,
        clip: float = 5.0,
        held_back: float = 0.2,
        seed: int = 0,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        super().__init__(supernet, data, device, precision)
        if batch_size < 2:
            raise InputError("a batch size of 2 or more", str(batch_size), "batch norm needs two images")
        if steps is not None and steps < 1:
            raise InputError("1 step or more", str(steps), "use the default")
        if warm_steps is not None and warm_steps < 0:
            raise InputError("0 warm-up steps or more", str(warm_steps), "use the default")
        if not (math.isfinite(lr) and lr > 0):
            raise InputError("a learning rate above 0", f"{lr:g}", "use the default")
        self.batch_size, self.lr, self.weight_decay = batch_size, lr, weight_decay
        self.label_smoothing, self.clip, self.held_back, self.seed = label_smoothing, clip, held_back, seed
        self._images = SmallImages(supernet, data, image_size, batch_size, held_back, seed, device)
        self.image_size = self._images.size
        self.steps_per_look = max(STEPS, math.ceil(self._images.steps_per_epoch / 3)) if steps is None else steps
        self.warm_steps = WARM_LOOKS * self.steps_per_look if warm_steps is None else warm_steps
        supernet.to(device)
        self._shared = self._rule(supernet, self.warm_steps)
        self._runs: list[_Run] = []
        self._step = 0
        self._scores: dict[tuple[int, ...], float] = {}
        check_classes(supernet, data, self._images.batch(0).inputs[:2].cpu())

    @property
    def steps_per_epoch(self) -> int:
        """Those of a look."""
        return self.steps_per_look

    @property
    def warm_looks(self) -> int:
        """How many looks' steps the shared weights have first."""
        return math.ceil(self.warm_steps / self.steps_per_look)

    @property
    def num_images(self) -> int:
        """How many images a log-likelihood is summed over."""
        return self._images.num_held_back

    @property
    def stationary(self) -> bool:
        """An architecture has one score."""
        return True

    def train_step(self, codes: Int64[Tensor, "K V"], progress: float) -> Learned:
        """One step of the shared weights; once these have had theirs, one of each network of its own.

        The latter on the look's next batch, of networks that haven't been looked at yet; other codes begin a look anew.
        """
        del progress
        if self._shared.done < self.warm_steps:
            return self._warm_up(codes)
        self._take_up(codes)
        return self._advance() if self._step < self.steps_per_look else Learned(None)

    def score(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """Log-likelihoods of the held-back images in nats, summed; what is left of the trainings is done first."""
        self._take_up(codes)
        while self._runs and self._step < self.steps_per_look:
            self._advance()
        self._scores |= {run.code: parallel.broadcast(self._loglik(run.network)) for run in self._runs}
        self._runs = []
        return torch.tensor([self._scores[tuple(row)] for row in codes.tolist()], dtype=torch.float64)

    def _take_up(self, codes: Tensor) -> None:
        """The networks of those that have no score yet; they go on where they are already in training."""
        wanted = [row for row in dict.fromkeys(map(tuple, codes.tolist())) if row not in self._scores]
        if wanted != [run.code for run in self._runs]:
            self._runs, self._step = [self._fresh(code) for code in wanted], 0

    def _fresh(self, code: tuple[int, ...]) -> _Run:
        network = self.supernet.extract(self.space.decode(code))
        if self.warm_steps == 0:
            initialise(network, generator(self.seed, "network"))
        network = network.to(self.device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        return _Run(code, network, self._rule(network, self.steps_per_look))

    def _rule(self, module: nn.Module, steps: int) -> ShortSGD:
        return ShortSGD(module, self.lr, self.weight_decay, self.clip, steps)

    def _warm_up(self, codes: Tensor) -> Learned:
        """A step of the shared weights on the mean loss of the K architectures."""
        self.supernet.train()
        self._shared.zero_grad()
        batch, losses = self._images.batch(self._shared.done), list[Tensor]()
        for row in codes.tolist():
            self.supernet.select(self.space.decode(row))
            losses.append(self._backward(self.supernet, batch, 1 / len(codes)))
        self._shared.step()
        return Learned(float(parallel.all_reduce_sum(torch.stack(losses).mean())))

    def _advance(self) -> Learned:
        """A step of each network."""
        if not self._runs:
            return Learned(None)
        batch, losses = self._images.batch(self.warm_steps + self._step), list[Tensor]()
        for run in self._runs:
            run.network.train()
            run.optimizer.zero_grad()
            losses.append(self._backward(run.network, batch, 1.0))
            run.optimizer.step()
        self._step += 1
        return Learned(float(parallel.all_reduce_sum(torch.stack(losses).mean())))

    def _backward(self, network: nn.Module, batch: Batch, weight: float) -> Tensor:
        """The loss on a batch, this rank's share of it; its gradient, times `weight`, is added up."""
        # Dropout of one's own networks draws from torch's global state.
        with as_global(generator(self.seed, "proxy", batch.number), self.device), self._autocast():
            logits = network(batch.inputs)
        loss = F.cross_entropy(logits.float(), batch.labels, label_smoothing=self.label_smoothing) * batch.share
        (loss * weight).backward()
        return loss.detach()

    @torch.no_grad()
    def _loglik(self, network: nn.Module) -> float:
        network.eval()
        loss = 0.0
        for inputs, labels in self._images.held_back():
            with self._autocast():
                logits = network(inputs)
            loss += float(F.cross_entropy(logits.float(), labels, reduction="sum"))
        return -loss if math.isfinite(loss) else -math.inf

    def rehearse(self, mixed: bool = False, room: int | None = None) -> int:
        """Trains the largest network on the first batch; see `rehearsal.rehearse`."""
        del mixed
        network = self._fresh(tuple(self._costs[0].table.extreme(-1)[1])).network
        batch = self._images.batch(0)

        def loss_of(num: int) -> Tensor:
            return F.cross_entropy(network(batch.inputs[:num].clone()), batch.labels[:num].clone())

        return rehearse(loss_of, list(network.parameters()), len(batch.labels), room)

    def settings(self) -> dict[str, Any]:
        """What decides its scores, beside the machine."""
        return {
            **self._space_settings(),
            "judge": "proxy",
            "proxy_size": self.image_size,
            "proxy_steps": self.steps_per_look,
            "warm_steps": self.warm_steps,
            "batch_size": self.batch_size,
            "lr": self.lr,
            "weight_decay": self.weight_decay,
            "label_smoothing": self.label_smoothing,
            "clip": self.clip,
            "held_back": self.held_back,
            "ranks": parallel.world_size(),
            "data_seed": self.seed,
            "device": self.device,
            "precision": self.precision,
        }

    def state_dict(self) -> dict[str, Any]:
        """The scores so far, and the networks in training."""
        codes = torch.tensor(list(self._scores), dtype=torch.long).reshape(len(self._scores), len(self.space))
        return {
            "codes": codes,
            "scores": torch.tensor(list(self._scores.values()), dtype=torch.float64),
            "step": self._step,
            "supernet": self.supernet.state_dict(),
            "shared": self._shared.state_dict(),
            "runs": [(list(r.code), r.network.state_dict(), r.optimizer.state_dict()) for r in self._runs],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._scores = dict(zip(map(tuple, state["codes"].tolist()), state["scores"].tolist(), strict=True))
        self._step = state["step"]
        self.supernet.load_state_dict(state["supernet"])
        self._shared.load_state_dict(state["shared"])
        self._runs = []
        for code, weights, momentum in state["runs"]:
            run = self._fresh(tuple(code))
            run.network.load_state_dict(weights)
            run.optimizer.load_state_dict(momentum)
            self._runs.append(run)

"""`ProxyEvaluator`: judges an architecture by a short training of its own, on small images (ours).

Shared weights hardly know the better ones of networks that are alike in depth, width and cost; a few hundred steps of a
network's own, at half of the image size, do.

A look at K architectures takes `steps_per_look` steps: `train_step` has each of the K take one step on the same batch,
and `score` says how likely each makes held-back training images in the end. All begin at one seed and see the same
batches in the same order, whenever they are looked at: what their scores differ by is the architecture.

The K networks' weights are in memory, the activations of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float64, Int64
from torch import Tensor

from fpnas import parallel
from fpnas.data import Data, EpochOrder, stratified_split
from fpnas.elastic import Supernet, initialise
from fpnas.elastic.weight_gradients import quicken
from fpnas.errors import InputError, unknown_name
from fpnas.evaluators.base import Learned
from fpnas.evaluators.fit import check_classes
from fpnas.evaluators.loss import Loss, Metric, balanced_weights, loss_name, mean_loss, summed_loss
from fpnas.evaluators.of_supernet import OfSupernet
from fpnas.evaluators.proxy_images import Crop, ProxyImages
from fpnas.evaluators.rehearsal import rehearse
from fpnas.evaluators.short_run import ShortRun, rate_of
from fpnas.streams import as_global, generator

BATCH_SIZE = 64
"""Images of a step. A network learns by steps: with twice the images in half of the steps, at the same cost, the ranks
of networks of one cost are less those of the truth."""

STEPS = 600
"""Of a look, at least: two thirds of them rank networks of one cost less well."""

STEPS_INHERITED = 150
"""Of a look, where weights were trained before (docs/pretrained.md)."""

LR = 0.4
"""For steps of `BATCH_SIZE` images, and in proportion to them."""

LR_INHERITED = 0.08
"""For weights that were trained before: the best of 0.005, 0.02 and 0.08 (docs/pretrained.md)."""

HELD_BACK = 0.2
"""Of the training images, those that judge."""

_AT_ONCE = 500


class ProxyEvaluator(OfSupernet):
    """Judges architectures by short trainings, from scratch or from weights that were trained before.

    Letters: K architectures, V choices.

    Args:
        supernet: whose space it is; its own weights stay as they are.
        data: what it has for training is cut, class by class, into images to train on and images to judge by.
        image_size: that networks are trained at; by default half of the data's, the next multiple of 4, but at least 16
            and what the space takes, or the data's own where networks don't run on half. Other data than images stay as
            they are.
        image_sizes: two or more, such as (48, 64, 96), where the input's size is to be searched as well: it is the
            choice "input.size" of `space`. The data have the largest; a network is trained at half of its own size.
        crop: "pad": of each image a window, shifted by up to an eighth, as a training's recipe has it; or "none".
        flip: mirror half of the images.
        loss: of your own, to learn and to judge by instead of the cross entropy: a function of logits (n, classes) and
            labels (n,) whose value is a mean over the images, or (n,). It stands in the settings by its name.
        metric: "balanced_accuracy": each class counts the same in a score, whatever its number of images.
        inherit: whether trainings start from the supernet's weights; by default where these are `pretrained`.
        steps: of a training; by default one epoch, at least `STEPS`, or `STEPS_INHERITED` from inherited weights.
        batch_size: images of a step.
        lr: the greatest rate of SGD with Nesterov momentum 0.9: a linear rise over a tenth of the steps, then a cosine.
            By default 0.4 for batches of 64 (0.08 for inherited weights), in proportion to them (Goyal et al. 2017).
        weight_decay: of SGD.
        label_smoothing, clip: of the training's loss; the gradient's greatest norm.
        held_back: the share of the training images to judge by.
        seed: of the cut, the networks' weights and the batches' order.
        device, precision: where networks run, and whether in "fp32", or in "bf16" by autocast.

    Raises:
        InputError: the supernet and the data don't fit each other, or a number is out of range.

    Example:
        >>> import torch
        >>> from fpnas import data, spaces
        >>> images = data.load("digits", image_size=16)
        >>> judge = ProxyEvaluator(spaces.tiny(in_channels=1), images, steps=2)
        >>> judge.score(torch.zeros(1, len(judge.space), dtype=torch.long)).shape
        torch.Size([1])
    """

    def __init__(
        self,
        supernet: Supernet,
        data: Data,
        *,
        image_size: int | None = None,
        image_sizes: Sequence[int] | None = None,
        crop: Crop = "none",
        flip: bool = False,
        loss: Loss | None = None,
        metric: Metric = "accuracy",
        inherit: bool | None = None,
        steps: int | None = None,
        batch_size: int = BATCH_SIZE,
        lr: float | None = None,
        weight_decay: float = 1e-4,
        label_smoothing: float = 0.05,
        clip: float = 5.0,
        held_back: float = HELD_BACK,
        seed: int = 0,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        if image_size is not None and image_sizes is not None:
            raise InputError("image_size or image_sizes", "both", "leave one out")
        super().__init__(supernet, data, device, precision, image_sizes)
        if batch_size < 2:
            raise InputError("a batch size of 2 or more", str(batch_size), "batch norm needs two images")
        if steps is not None and steps < 1:
            raise InputError("1 step or more", str(steps), "use the default")
        self.inherit = supernet.pretrained if inherit is None else inherit
        lr = (LR_INHERITED if self.inherit else LR) * batch_size / BATCH_SIZE if lr is None else lr
        if not (math.isfinite(lr) and lr > 0):
            raise InputError("a learning rate above 0", f"{lr:g}", "use the default")
        asked: tuple[int | None, ...] = self.image_sizes or (None,)
        self._images = {own: ProxyImages(supernet, self.data, image_size, crop, flip, device, own) for own in asked}
        self.image_size = self._images[asked[-1]].size
        if metric not in get_args(Metric):
            raise unknown_name("metric of short trainings", str(metric), get_args(Metric))
        self.loss, self.metric = loss, metric
        self.batch_size, self.lr, self.weight_decay = batch_size, lr, weight_decay
        self.label_smoothing, self.clip, self.held_back, self.seed = label_smoothing, clip, held_back, seed
        train, val = stratified_split(data.train.labels, held_back, seed, data.train.groups)
        self._train, self._val = train, val
        self._weights = balanced_weights(data.train.labels[val], data.num_classes) if metric != "accuracy" else None
        self._order = EpochOrder(len(train), batch_size, seed, "proxy")
        least = parallel.world_size() * 2
        if self._order.n // self._order.steps_per_epoch < least:
            expected = f"batches of at least {least} images, two for each rank"
            raise InputError(expected, str(len(train)), "raise the batch size, or give more images")
        self.steps_per_look = steps or (STEPS_INHERITED if self.inherit else max(STEPS, self._order.steps_per_epoch))
        order = self._order
        self._batches = {
            images: images.steps(lambda step: train[parallel.share(order.batch(step))])
            for images in self._images.values()
        }
        self._runs: list[ShortRun] = []
        self._step = 0
        self._scores: dict[tuple[int, ...], float] = {}
        for images in self._images.values():
            check_classes(supernet, data, images.at(train[self._order.batch(0)[:2]])[0].cpu())

    @property
    def steps_per_epoch(self) -> int:
        """Those of a look."""
        return self.steps_per_look

    @property
    def num_images(self) -> int:
        """How many images a log-likelihood is summed over."""
        return len(self._val)

    @property
    def stationary(self) -> bool:
        """An architecture has one score."""
        return True

    def train_step(self, codes: Int64[Tensor, "K V"], progress: float) -> Learned:
        """One step of each that hasn't been looked at yet, on the look's next batch; other codes begin a look anew."""
        del progress
        self._take_up(codes)
        return self._advance() if self._step < self.steps_per_look else Learned(None)

    def score(self, codes: Int64[Tensor, "K V"]) -> Float64[Tensor, " K"]:
        """Log-likelihoods of the held-back images in nats, summed; what is left of the trainings is done first."""
        self._take_up(codes)
        while self._runs and self._step < self.steps_per_look:
            self._advance()
        self._scores |= {run.code: parallel.broadcast(self._loglik(run)) for run in self._runs}
        self._runs = []
        return torch.tensor([self._scores[tuple(row)] for row in codes.tolist()], dtype=torch.float64)

    def _take_up(self, codes: Tensor) -> None:
        """The networks of those that have no score yet; they go on where they are already in training."""
        wanted = [row for row in dict.fromkeys(map(tuple, codes.tolist())) if row not in self._scores]
        if wanted != [run.code for run in self._runs]:
            self._runs, self._step = [self._fresh(code) for code in wanted], 0

    def _fresh(self, code: tuple[int, ...]) -> ShortRun:
        arch, size = self.network_of(self.space.decode(code))
        network = self.supernet.extract(arch)
        if not self.inherit:
            initialise(network, generator(self.seed, "network"))
        network = network.to(self.device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        quicken(network)
        return ShortRun.of(code, network, self._images[size], self.lr, self.weight_decay)

    def _advance(self) -> Learned:
        """A step of each network."""
        if not self._runs:
            return Learned(None)
        chosen = self._order.batch(self._step)
        own = parallel.share(chosen)
        batches: dict[ProxyImages, tuple[Tensor, Tensor]] = {}
        for images in dict.fromkeys(run.images for run in self._runs):
            changes = generator(self.seed, "proxy", "augment", self._step, parallel.rank())
            batches[images] = self._batches[images](self._step, changes)
        rate = rate_of(self._step, self.steps_per_look, self.lr)
        losses: list[Tensor] = []
        for run in self._runs:
            inputs, labels = batches[run.images]
            run.network.train()
            # Dropout of one's own networks draws from torch's global state.
            with as_global(generator(self.seed, "proxy", self._step), self.device), self._autocast():
                logits = run.network(inputs)
            loss = mean_loss(self.loss, logits.float(), labels, self.label_smoothing) * (len(own) / len(chosen))
            run.descend(loss, rate, self.clip)
            losses.append(loss.detach())
        self._step += 1
        return Learned(float(parallel.all_reduce_sum(torch.stack(losses).mean())))

    @torch.no_grad()
    def _loglik(self, run: ShortRun) -> float:
        run.network.eval()
        loss = 0.0
        for part in self._val.split(_AT_ONCE):
            images, labels = run.images.at(part)
            with self._autocast():
                logits = run.network(images)
            loss += summed_loss(self.loss, logits.float(), labels, self._weights)
        return -loss if math.isfinite(loss) else -math.inf

    def rehearse(self, mixed: bool = False, room: int | None = None) -> int:
        """Trains the largest network on the first batch; see `rehearsal.rehearse`."""
        del mixed
        size = () if self.image_sizes is None else (len(self.image_sizes) - 1,)
        run = self._fresh((*size, *self._flops.table.extreme(-1)[1]))
        images, labels = run.images.at(self._train[self._order.batch(0)])

        def loss_of(num: int) -> Tensor:
            return F.cross_entropy(run.network(images[:num].clone()), labels[:num].clone())

        return rehearse(loss_of, list(run.network.parameters()), len(labels), room)

    def settings(self) -> dict[str, Any]:
        """What decides its scores, beside the machine."""
        return {
            **self._space_settings(),
            "judge": "proxy",
            "proxy_size": self.image_size,
            "proxy_steps": self.steps_per_look,
            **next(iter(self._images.values())).settings(),
            **({} if self.loss is None else {"loss": loss_name(self.loss)}),
            **({} if self.metric == "accuracy" else {"metric": self.metric}),
            **({"inherit": True} if self.inherit else {}),
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
        """The scores so far, the networks in training, and the weights that they inherit."""
        codes = torch.tensor(list(self._scores), dtype=torch.long).reshape(len(self._scores), len(self.space))
        return {
            "codes": codes,
            "scores": torch.tensor(list(self._scores.values()), dtype=torch.float64),
            "step": self._step,
            "runs": [run.state() for run in self._runs],
            **({"supernet": self.supernet.state_dict()} if self.inherit else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.inherit:
            self.supernet.load_state_dict(state["supernet"])
        self._scores = dict(zip(map(tuple, state["codes"].tolist()), state["scores"].tolist(), strict=True))
        self._step = state["step"]
        self._runs = []
        for code, weights, momentum in state["runs"]:
            run = self._fresh(tuple(code))
            run.network.load_state_dict(weights)
            run.optimizer.load_state_dict(momentum)
            self._runs.append(run)

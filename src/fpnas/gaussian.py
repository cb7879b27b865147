"""`GaussianProcess`: what scores of some architectures say about all, interactions of any order included (ours).

Two architectures that differ in h choices have scores of covariance

    k(h) = a_1 c_1^h + a_2 c_2^h,

each term a product over choices of 1 where they agree and c where they don't. With c near 1 it is nearly a sum over
choices, as in `memory.Memory`; the smaller c, the more an option's worth depends on the others. Both are fitted, with
the noise of a score, so the scores say how far what was seen carries.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from fpnas.space import SearchSpace

TERMS = 2
KEPT = 1024
"""Scores that are held at most: the best half of so many, and of the others the latest."""

_GROWTH = 1.15
"""The hyperparameters are fitted again when there are so many times as many scores."""

_CENTRE = torch.tensor([-0.7, -0.7, -3.0, 3.0, 0.0], dtype=torch.float64)
_WIDTH = torch.tensor([2.0, 2.0, 3.0, 1.5, 1.5], dtype=torch.float64)
"""Prior of log a, log noise and logit c, where scores have variance 1: wide, and the same for every space."""

_JITTER = 1e-8


class _Posterior(NamedTuple):
    """Of scores less `mean` over `scale`: their level, the covariance's factor (N, N), and weights (N,) of the
    covariances with these."""

    mean: Tensor
    scale: Tensor
    level: Tensor
    factor: Tensor
    weights: Tensor


class GaussianProcess:
    """A posterior over the scores of all architectures, given those of some; constant mean, integrated out.

    Letters: N architectures scored, M asked about, V choices, S samples.

    Args:
        space: the space.

    Example:
        >>> import torch
        >>> from fpnas import Choice, SearchSpace
        >>> process = GaussianProcess(SearchSpace([Choice("depth", (1, 2, 3)), Choice("width", (8, 16))]))
        >>> process.add(torch.tensor([[0, 0], [1, 0], [2, 0], [0, 1]]), torch.tensor([0.1, 0.2, 0.3, 0.3]))
        >>> bool(process.mean(torch.tensor([[2, 1]])) > 0.3)  # never seen: deep and wide
        True
    """

    def __init__(self, space: SearchSpace) -> None:
        sizes = space.cardinalities
        self._offsets = torch.tensor([sum(sizes[:index]) for index in range(len(sizes))])
        self._width = sum(sizes)
        self.codes = torch.zeros(0, len(space), dtype=torch.long)
        self.scores = torch.zeros(0, dtype=torch.float64)
        self.parameters = _CENTRE.clone()
        self.fitted = 0
        self._posterior: _Posterior | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def add(self, codes: Int64[Tensor, "K V"], scores: Float64[Tensor, " K"]) -> None:
        """Takes in architectures and their scores, in any unit; what isn't finite is left out.

        Where many have come since the hyperparameters were fitted, they are fitted again: to be asked changes nothing.
        """
        self._posterior = None
        finite = scores.isfinite()
        self.codes = torch.cat([self.codes, codes[finite]])
        self.scores = torch.cat([self.scores, scores[finite].double()])
        if len(self) > KEPT:
            order = self.scores.argsort(descending=True, stable=True)
            best, others = order[: KEPT // 2], order[KEPT // 2 :].sort().values
            kept = torch.cat([best, others[-(KEPT - KEPT // 2) :]]).sort().values
            self.codes, self.scores = self.codes[kept], self.scores[kept]
        if len(self) > 1 and len(self) >= _GROWTH * self.fitted:
            self.fitted = len(self)
            y, apart = self._standardised()[0], self._apart(self.codes, self.codes)
            self.parameters = _most_probable(self.parameters, apart, y)

    def mean(self, codes: Int64[Tensor, "M V"]) -> Float64[Tensor, " M"]:
        """The expected score of each. Needs two scores, as all below."""
        posterior = self._fresh()
        cross = _covariance(self.parameters, self._apart(codes, self.codes))
        return posterior.mean + posterior.scale * (posterior.level + cross @ posterior.weights)

    def sample(
        self, codes: Int64[Tensor, "M V"], num: int, generator: torch.Generator
    ) -> tuple[Float64[Tensor, " M"], Float64[Tensor, "S M"]]:
        """The expected scores, and `num` draws of how far all of these together are from them."""
        posterior = self._fresh()
        cross = _covariance(self.parameters, self._apart(codes, self.codes))
        part = torch.linalg.solve_triangular(posterior.factor, cross.T, upper=False)
        covariance = _covariance(self.parameters, self._apart(codes, codes)) - part.T @ part
        normal = torch.randn(num, len(codes), generator=generator, dtype=torch.float64)
        mean = posterior.mean + posterior.scale * (posterior.level + cross @ posterior.weights)
        return mean, posterior.scale * (normal @ _cholesky(covariance, 1e-6).T)

    def state_dict(self) -> dict[str, Any]:
        """Scores and hyperparameters."""
        return {name: getattr(self, name) for name in ("codes", "scores", "parameters", "fitted")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        for name in ("codes", "scores", "parameters", "fitted"):
            setattr(self, name, state[name])
        self._posterior = None

    @torch.no_grad()
    def _fresh(self) -> _Posterior:
        """The posterior of all scores taken in."""
        if self._posterior is None:
            y, mean, scale = self._standardised()
            factor, level, _ = _solve(self.parameters, self._apart(self.codes, self.codes), y)
            weights = torch.cholesky_solve((y - level)[:, None], factor)[:, 0]
            self._posterior = _Posterior(mean, scale, level, factor, weights)
        return self._posterior

    def _standardised(self) -> tuple[Tensor, Tensor, Tensor]:
        """The scores with mean 0 and variance 1, and their mean and deviation."""
        mean, scale = self.scores.mean(), self.scores.std().clamp_min(1e-12)
        return (self.scores - mean) / scale, mean, scale

    def _apart(self, codes: Tensor, others: Tensor) -> Tensor:
        """In how many choices each differs from each other."""
        return codes.shape[1] - self._one_hot(codes) @ self._one_hot(others).T

    def _one_hot(self, codes: Tensor) -> Tensor:
        return torch.zeros(len(codes), self._width, dtype=torch.float64).scatter_(1, codes + self._offsets, 1.0)


def _covariance(parameters: Tensor, apart: Tensor) -> Tensor:
    (one, other), (near, far) = parameters[:TERMS].exp(), torch.nn.functional.logsigmoid(parameters[TERMS + 1 :])
    return one * (near * apart).exp() + other * (far * apart).exp()


def _cholesky(matrix: Tensor, jitter: float) -> Tensor:
    """The lower factor, of a matrix with as much more on its diagonal as it takes, a share `jitter` of it at least."""
    identity = torch.eye(len(matrix), dtype=matrix.dtype) * matrix.detach().diagonal().mean()
    for power in range(8):
        factor, info = torch.linalg.cholesky_ex(matrix + jitter * 10**power * identity)
        if not int(info):
            return factor
    raise AssertionError("a covariance that isn't one")


def _solve(parameters: Tensor, apart: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The covariance's factor, the estimated level of y, and the log evidence, the level integrated out."""
    factor = _cholesky(
        _covariance(parameters, apart) + parameters[TERMS].exp() * torch.eye(len(y), dtype=y.dtype), _JITTER
    )
    white = torch.linalg.solve_triangular(factor, torch.stack([y, torch.ones_like(y)], dim=1), upper=False)
    precision = white[:, 1] @ white[:, 1]
    level = white[:, 0] @ white[:, 1] / precision
    rest = white[:, 0] - level * white[:, 1]
    return factor, level, -0.5 * (rest @ rest + precision.log()) - factor.diagonal().log().sum()


@torch.enable_grad()
def _most_probable(parameters: Tensor, apart: Tensor, y: Tensor) -> Tensor:
    """The hyperparameters of the greatest density given the scores, near the present ones; these if that fails."""
    moved = parameters.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([moved], max_iter=15, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        density = _solve(moved, apart, y)[2] - 0.5 * (((moved - _CENTRE) / _WIDTH) ** 2).sum()
        (-density).backward()
        return -density

    optimizer.step(loss)
    found = moved.detach()
    return found if bool(found.isfinite().all()) else parameters

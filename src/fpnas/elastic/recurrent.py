"""Cells of recurrent networks, of elastic input and hidden width. The loop over time is the user's own forward.

That loop must run a number of times that doesn't hang on the input, or no trace can follow it; each call counts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from fpnas.elastic.base import ElasticLayer, Values, plain_layer
from fpnas.elastic.dims import Dim, largest


class RecurrentCell(ElasticLayer, ABC):
    """Gates of (input, state), each a slice of its own rows: the first `hidden_width` of each gate.

    Args:
        input_width: of x, (N, input_width).
        hidden_width: of the state, (N, hidden_width).
    """

    num_gates: int
    channel_axis = -1

    def __init__(self, input_width: Dim, hidden_width: Dim) -> None:
        super().__init__(input_width=input_width, hidden_width=hidden_width)
        rows = self.num_gates * largest(hidden_width)
        self.weight_ih = nn.Parameter(torch.empty(rows, largest(input_width)))
        self.weight_hh = nn.Parameter(torch.empty(rows, largest(hidden_width)))
        self.bias_ih = nn.Parameter(torch.empty(rows))
        self.bias_hh = nn.Parameter(torch.empty(rows))

    @property
    @abstractmethod
    def plain(self) -> type[nn.Module]:
        """torch's own class."""

    def _slices(self) -> dict[str, Tensor]:
        """In the order in which torch's functions take them."""
        ins, hidden, gates = self.values["input_width"], self.values["hidden_width"], self.num_gates
        return {
            "weight_ih": self.weight_ih.unflatten(0, (gates, -1))[:, :hidden, :ins].flatten(0, 1),
            "weight_hh": self.weight_hh.unflatten(0, (gates, -1))[:, :hidden, :hidden].flatten(0, 1),
            "bias_ih": self.bias_ih.unflatten(0, (gates, -1))[:, :hidden].flatten(),
            "bias_hh": self.bias_hh.unflatten(0, (gates, -1))[:, :hidden].flatten(),
        }

    def _zeros(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), self.values["hidden_width"])

    def extract(self) -> nn.Module:
        return plain_layer(self.plain, self._slices(), self.values["input_width"], self.values["hidden_width"])

    def positions(self, inputs: tuple[Any, ...], output: Any) -> int:
        return super().positions(inputs, output[0] if isinstance(output, tuple) else output)

    def num_params(self, values: Values) -> int:
        return self.flops(values, 1) + 2 * self.num_gates * values["hidden_width"]

    def flops(self, values: Values, positions: int) -> int:
        hidden = values["hidden_width"]
        return self.num_gates * hidden * (values["input_width"] + hidden) * positions


class RNNCell(RecurrentCell):
    """tanh of one gate: (x, state) -> state; a state that isn't given is 0."""

    num_gates = 1

    @property
    def plain(self) -> type[nn.Module]:
        return nn.RNNCell

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        return torch.rnn_tanh_cell(x, self._zeros(x) if state is None else state, **_named(self._slices()))


class GRUCell(RecurrentCell):
    """A gated recurrent unit: (x, state) -> state; a state that isn't given is 0."""

    num_gates = 3

    @property
    def plain(self) -> type[nn.Module]:
        return nn.GRUCell

    def forward(self, x: Tensor, state: Tensor | None = None) -> Tensor:
        return torch.gru_cell(x, self._zeros(x) if state is None else state, **_named(self._slices()))


class LSTMCell(RecurrentCell):
    """A long short-term memory: (x, (state, cell)) -> (state, cell); what isn't given is 0."""

    num_gates = 4

    @property
    def plain(self) -> type[nn.Module]:
        return nn.LSTMCell

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        before = (self._zeros(x), self._zeros(x)) if state is None else state
        return torch.lstm_cell(x, before, **_named(self._slices()))


def _named(slices: dict[str, Tensor]) -> dict[str, Tensor]:
    """By the names of the arguments of torch's functions."""
    short = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
    return {short[name]: value for name, value in slices.items()}

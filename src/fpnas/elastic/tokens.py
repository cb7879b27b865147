"""Layers of attention networks: embeddings, and attention among tokens with a choice of heads and of width.

Heads are shared by slicing as channels are: h heads are the first h. A head's own width is fixed, so that head 1 holds
the same rows of the weights whatever the number of heads. The multiply-adds of both products, of queries with keys and
of weights with values, count.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fpnas.elastic.base import ElasticLayer, ElasticStructure, Values, plain_layer
from fpnas.elastic.conv import Linear
from fpnas.elastic.dims import Dim, largest, scaled


class Embedding(ElasticLayer):
    """A vector for each token, the first `width` numbers of it: (...) int64 -> (..., width).

    Args:
        num_embeddings: how many tokens there are.
        width: of the vectors.
        padding_idx: a token whose vector gets no gradient, as in `torch.nn.Embedding`.
    """

    channel_axis = -1

    def __init__(self, num_embeddings: int, width: Dim, padding_idx: int | None = None) -> None:
        super().__init__(num_embeddings=num_embeddings, width=width)
        self.padding_idx = padding_idx
        self.weight = nn.Parameter(torch.empty(num_embeddings, largest(width)))

    def forward(self, tokens: Tensor) -> Tensor:
        weight = self.slice_of(self.weight, len(self.weight), self.values["width"])
        return F.embedding(tokens, weight, self.padding_idx)

    def extract(self) -> nn.Module:
        weight = self.weight[:, : self.values["width"]]
        return plain_layer(nn.Embedding, {"weight": weight}, *weight.shape, padding_idx=self.padding_idx)

    def num_params(self, values: Values) -> int:
        return values["num_embeddings"] * values["width"]


class DotProductAttention(ElasticStructure):
    """softmax(Q K^T / sqrt(head_width)) V for each head: queries (N, T, heads * head_width), keys and values
    (N, S, heads * head_width) -> (N, T, heads * head_width).

    It has no weights. With `causal`, token t sees the tokens up to t; both products still count in full, as torch's
    counter has it.
    """

    channel_axis = -1

    def __init__(self, heads: Dim, head_width: int, causal: bool = False) -> None:
        super().__init__(heads=heads, head_width=head_width)
        largest(heads)
        self.causal = causal

    @property
    def width(self) -> Dim:
        return scaled(self.dims["heads"], self.dims["head_width"])

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None) -> Tensor:
        shape = self.values["heads"], self.values["head_width"]
        queries, keys, values = (x.unflatten(-1, shape).transpose(-3, -2) for x in (queries, keys, values))
        mixed = F.scaled_dot_product_attention(queries, keys, values, mask, is_causal=self.causal)
        return mixed.transpose(-3, -2).flatten(-2)

    def positions(self, inputs: tuple[Any, ...], output: Any) -> int:
        """Pairs of a query and a key."""
        del output
        queries, keys = inputs[:2]
        return queries[..., 0].numel() * keys.shape[-2]

    def flops(self, values: Values, positions: int) -> int:
        return 2 * values["heads"] * values["head_width"] * positions


class MultiHeadAttention(nn.Module):
    """Projections to queries, keys and values, attention, and a projection back: (N, T, width) -> (N, T, width).

    Args:
        width: of the tokens.
        heads: how many; the inner width is heads * head_width, whatever the tokens' is.
        head_width: of a head.
        causal: whether token t sees the tokens up to t alone.
    """

    def __init__(self, width: Dim, heads: Dim, head_width: int, causal: bool = False) -> None:
        super().__init__()
        inner = scaled(heads, head_width)
        self.queries = Linear(width, inner)
        self.keys = Linear(width, inner)
        self.values = Linear(width, inner)
        self.attention = DotProductAttention(heads, head_width, causal)
        self.project = Linear(inner, width)

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Attends to `context` (N, S, width), by default to x, where `mask` (N, S) is true, by default everywhere."""
        context = x if context is None else context
        mask = None if mask is None else mask[:, None, None]
        return self.project(self.attention(self.queries(x), self.keys(context), self.values(context), mask))

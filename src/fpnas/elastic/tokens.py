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

    def __init__(self, num_embeddings: int, embedding_dim: Dim, padding_idx: int | None = None) -> None:
        super().__init__(num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.padding_idx = padding_idx
        self.weight = nn.Parameter(torch.empty(num_embeddings, largest(embedding_dim)))

    @property
    def makes(self) -> Dim:
        return self.dims["embedding_dim"]

    def forward(self, tokens: Tensor) -> Tensor:
        weight = self.slice_of(self.weight, len(self.weight), self.values["embedding_dim"])
        return F.embedding(tokens, weight, self.padding_idx)

    def extract(self) -> nn.Module:
        weight = self.weight[:, : self.values["embedding_dim"]]
        return plain_layer(nn.Embedding, {"weight": weight}, *weight.shape, padding_idx=self.padding_idx)

    def num_params(self, values: Values) -> int:
        return values["num_embeddings"] * values["embedding_dim"]


class DotProductAttention(ElasticStructure):
    """softmax(Q K^T / sqrt(head_dim)) V for each head: queries (N, T, heads * head_dim), keys and values
    (N, S, heads * head_dim) -> (N, T, heads * head_dim).

    It has no weights. With `causal`, token t sees the tokens up to t; both products still count in full, as torch's
    counter has it.
    """

    channel_axis = -1

    def __init__(self, num_heads: Dim, head_dim: int, causal: bool = False) -> None:
        super().__init__(num_heads=num_heads, head_dim=head_dim)
        largest(num_heads)
        self.causal = causal

    @property
    def width(self) -> Dim:
        return scaled(self.dims["num_heads"], self.dims["head_dim"])

    def forward(
        self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None, causal: bool | None = None
    ) -> Tensor:
        """Of one that `causal` isn't given, its own counts."""
        causal = self.causal if causal is None else causal
        shape = self.values["num_heads"], self.values["head_dim"]
        queries, keys, values = (x.unflatten(-1, shape).transpose(-3, -2) for x in (queries, keys, values))
        mixed = F.scaled_dot_product_attention(queries, keys, values, mask, is_causal=causal)
        return mixed.transpose(-3, -2).flatten(-2)

    def positions(self, inputs: tuple[Any, ...], output: Any) -> int:
        """Pairs of a query and a key."""
        del output
        queries, keys = inputs[:2]
        return queries[..., 0].numel() * keys.shape[-2]

    def flops(self, values: Values, positions: int) -> int:
        return 2 * values["num_heads"] * values["head_dim"] * positions


class MultiHeadAttention(nn.Module):
    """Projections to queries, keys and values, attention, and a projection back: (N, T, embed_dim) -> the same.

    Args:
        embed_dim: width of the tokens.
        num_heads: how many; the inner width is num_heads * head_dim, whatever the tokens' is.
        head_dim: width of a head.
        causal: whether token t sees the tokens up to t alone.
    """

    def __init__(self, embed_dim: Dim, num_heads: Dim, head_dim: int, causal: bool = False) -> None:
        super().__init__()
        inner = scaled(num_heads, head_dim)
        self.queries = Linear(embed_dim, inner)
        self.keys = Linear(embed_dim, inner)
        self.values = Linear(embed_dim, inner)
        self.attention = DotProductAttention(num_heads, head_dim, causal)
        self.project = Linear(inner, embed_dim)

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Attends to `context` (N, S, embed_dim), x by default, where `mask` (N, S) is true, everywhere by default."""
        context = x if context is None else context
        mask = None if mask is None else mask[:, None, None]
        return self.project(self.attention(self.queries(x), self.keys(context), self.values(context), mask))

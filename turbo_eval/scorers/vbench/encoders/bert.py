"""What is a layer of BERT, which both captioners read and write with? Post-norm, by the published names.

    y = norm(x + out(attention(x)));  z = norm(y + out(attention(y, memory)));  norm(z + dense(gelu(dense(z))))
(Devlin et al., arXiv 1810.04805; BLIP's cross-attention, arXiv 2201.12086). A layer may lack either attention. Keys and
values are computed once for every token and kept, so that a word costs one token's work however long the text is.
Shape legend: N texts, L tokens at hand, M tokens that are attended to, D width, h heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders.linear import Linear


@dataclass(frozen=True)
class BertSizes:
    """Of a layer. cross_width: of what the cross-attention reads, 0: there is none. reads: attends to its own text."""

    width: int = 768
    heads: int = 12
    hidden: int = 3072
    cross_width: int = 0
    reads: bool = True
    eps: float = 1e-12


class KeysValues(NamedTuple):
    """What can be attended to. keys_NhMd, values_NhMd."""

    keys: Tensor
    values: Tensor

    def then(self, later: KeysValues) -> KeysValues:
        """These tokens, then those of the same texts."""
        return KeysValues(*(torch.cat(pair, dim=2) for pair in zip(self, later, strict=True)))

    def rows(self, numbers: Tensor) -> KeysValues:
        """Those of texts of these numbers, in this order."""
        return KeysValues(*(part.index_select(0, numbers) for part in self))


class Earlier(Protocol):
    """What remembers the tokens before those at hand."""

    def then(self, later: KeysValues) -> KeysValues:
        """Its tokens, then those of the same texts."""


class Projections(nn.Module):
    """Queries, keys and values. memory_width: of the tokens that are attended to."""

    def __init__(self, width: int, heads: int, memory_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = Linear(width, width)
        self.key = Linear(memory_width, width)
        self.value = Linear(memory_width, width)

    def split(self, x_NLD: Tensor) -> Tensor:
        """(N, h, L, d)"""
        parts: Tensor = x_NLD.unflatten(2, (self.heads, -1))
        return parts.transpose(1, 2)


class AddAndNorm(nn.Module):
    """norm(x + dense(y))"""

    def __init__(self, wide: int, width: int, eps: float) -> None:
        super().__init__()
        self.dense = Linear(wide, width)
        self.LayerNorm = nn.LayerNorm(width, eps)

    def forward(self, y_NLD: Tensor, x_NLD: Tensor) -> Tensor:
        """(N, L, D)"""
        normed: Tensor = self.LayerNorm(x_NLD + self.dense(y_NLD))
        return normed


class Attention(nn.Module):
    """Attention with its residual and norm."""

    def __init__(self, sizes: BertSizes, memory_width: int) -> None:
        super().__init__()
        self.self = Projections(sizes.width, sizes.heads, memory_width)
        self.output = AddAndNorm(sizes.width, sizes.width, sizes.eps)

    def remember(self, memory_NMD: Tensor) -> KeysValues:
        """Keys and values of tokens."""
        split = self.self.split
        return KeysValues(split(self.self.key(memory_NMD)), split(self.self.value(memory_NMD)))

    def forward(self, x_NLD: Tensor, known: KeysValues, seen_NLM: Tensor | None = None) -> Tensor:
        """(N, L, D). seen_NLM: bool, broadcast: which of the M tokens each of the L may see; None: all."""
        query = self.self.split(self.self.query(x_NLD))
        seen = None if seen_NLM is None else seen_NLM[:, None]
        mixed = F.scaled_dot_product_attention(query, known.keys, known.values, seen)
        normed: Tensor = self.output(mixed.transpose(1, 2).flatten(2), x_NLD)
        return normed


class Intermediate(nn.Module):
    """gelu(dense(x))"""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.dense = Linear(width, hidden)

    def forward(self, x_NLD: Tensor) -> Tensor:
        """(N, L, hidden)"""
        return F.gelu(self.dense(x_NLD))


class BertLayer(nn.Module):
    """One layer, by its published names."""

    def __init__(self, sizes: BertSizes = BertSizes()) -> None:
        super().__init__()
        if sizes.reads:
            self.attention = Attention(sizes, sizes.width)
        if sizes.cross_width:
            self.crossattention = Attention(sizes, sizes.cross_width)
        self.intermediate = Intermediate(sizes.width, sizes.hidden)
        self.output = AddAndNorm(sizes.hidden, sizes.width, sizes.eps)

    def read(
        self, x_NLD: Tensor, before: Earlier | None = None, seen_NLM: Tensor | None = None
    ) -> tuple[Tensor, KeysValues]:
        """Attention of the text to itself: (N, L, D), and keys and values of all its tokens so far.

        before: of the tokens before these. seen_NLM: see Attention; M counts the tokens before and these.
        """
        own = self.attention.remember(x_NLD)
        known = own if before is None else before.then(own)
        return self.attention(x_NLD, known, seen_NLM), known

    def look(self, x_NLD: Tensor, memory: KeysValues, seen_NLM: Tensor | None = None) -> Tensor:
        """Attention to what `crossattention.remember` has kept: (N, L, D)."""
        looked: Tensor = self.crossattention(x_NLD, memory, seen_NLM)
        return looked

    def think(self, x_NLD: Tensor) -> Tensor:
        """The two dense layers: (N, L, D)."""
        thought: Tensor = self.output(self.intermediate(x_NLD), x_NLD)
        return thought

"""How do texts become a text tower's token ids, and what of a text does it not see?

Two kinds: CLIP's byte pairs (open_clip's tokenizer, whose vocabulary ships with that package, and is the file that
ViCLIP's authors use), and whatever a transformers tokenizer says (BERT's word pieces, the world's closed vocabulary).
Shape legend: N texts, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

CLIP_TOKENS = 77  # CLIP's context (Radford et al. 2021)


class Tokenizer(Protocol):
    """length: tokens of a padded text, start and end among them."""

    length: int

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(N, L) int64: padded, or cut with the end token kept."""

    def lost_words(self, text: str) -> str:
        """The end of the text that does not fit, or nothing."""


class BytePairs:
    """CLIP's tokenizer: lower case, start, text, end, zeros. It has every word."""

    def __init__(self, length: int = CLIP_TOKENS) -> None:
        self.length = length
        self._inner = SimpleTokenizer(context_length=length)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(N, L) int64."""
        ids_NL: Tensor = self._inner(list(texts))
        return ids_NL

    def lost_words(self, text: str) -> str:
        """The end of the text that does not fit, or nothing."""
        lost: str = self._inner.decode(self._inner.encode(text)[self.length - 2 :])
        return lost.strip()


class Pieces:
    """A fast tokenizer of transformers, padded to `length` with its own pad token."""

    def __init__(self, tokenizer: Any, length: int) -> None:
        self.length = length
        self._inner = tokenizer

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(N, L) int64."""
        ids = self._inner(list(texts), padding="max_length", truncation=True, max_length=self.length)["input_ids"]
        return torch.tensor(ids, dtype=torch.int64)

    def lost_words(self, text: str) -> str:
        """The end of the text that does not fit, or nothing."""
        offsets = self._inner(text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        return text[offsets[self.length - 1][0] :] if len(offsets) > self.length else ""

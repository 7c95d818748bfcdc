"""What does a prompt look like to the denoiser? transformers' CLIPTextModel: its last hidden states, padded.

ModelScope's convention (T2V-Turbo eaae323): padded to the tokenizer's model_max_length, no attention mask.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import CLIPTextModel


class CLIPText(nn.Module):
    """Tokenizer and text tower as a TextEncoder. A prompt over the limit is cut, with a warning that names the loss."""

    def __init__(self, model: CLIPTextModel, tokenizer: Any) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer

    @property
    def max_tokens(self) -> int:
        """L: tokens of a padded prompt, start and end among them."""
        return min(int(self.tokenizer.model_max_length), int(self.model.config.max_position_embeddings))

    def lost_words(self, text: str) -> str:
        """The end of the text that does not fit, or nothing."""
        offsets = self.tokenizer(text, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        return text[offsets[self.max_tokens - 1][0] :] if len(offsets) > self.max_tokens else ""

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """(B, L) int64 token ids on the model's device."""
        for text in texts:
            if lost := self.lost_words(text):
                warnings.warn(f"prompt cut at {self.max_tokens} tokens; lost: {lost!r}", stacklevel=2)
        ids = self.tokenizer(list(texts), padding="max_length", truncation=True, max_length=self.max_tokens)
        return torch.tensor(ids["input_ids"], dtype=torch.int64, device=self.model.device)

    def of_ids(self, ids_BL: Tensor) -> Tensor:
        """Context (B, L, D) of token ids as `tokenize` makes them."""
        context: Tensor = self.model(ids_BL).last_hidden_state
        return context

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Context (B, L, D) of B texts."""
        return self.of_ids(self.tokenize(texts))

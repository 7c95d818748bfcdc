"""What does a prompt look like to VideoCrafter2? The text tower of open_clip's ViT-H-14, one block before its end.

Token and position embedding, all causal blocks but the last, then the final LayerNorm; no projection. The weights are
the checkpoint's own. Differs: T2V-Turbo (code at eaae323) feeds the blocks (length, batch, width), which today's
batch-first open_clip would silently misread; here the order is the tower's own.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from open_clip import get_tokenizer
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

ARCHITECTURE = "ViT-H-14"


@dataclass(frozen=True)
class TextConfig:
    """The tower of open_clip's ViT-H-14, and what tests make smaller."""

    context_length: int = 77
    vocab_size: int = 49408
    width: int = 1024
    heads: int = 16
    layers: int = 24
    output_dim: int = 1024


class OpenCLIPText(nn.Module):
    """Tokenizer and tower as a TextEncoder. A prompt over the limit is cut, with a warning that names the loss."""

    def __init__(self, tower: TextTransformer) -> None:
        super().__init__()
        self.tower = tower
        self._tokenizer = get_tokenizer(ARCHITECTURE)  # its vocabulary ships with open_clip

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """(B, L) int64: start, text, end, zeros; a text that is too long keeps its end token."""
        length = self.tower.context_length
        for text in texts:
            if lost := self.lost_words(text):
                warnings.warn(f"prompt cut at {length} tokens; lost: {lost!r}", stacklevel=2)
        ids_BL: Tensor = self._tokenizer(list(texts), context_length=length)
        return ids_BL.to(self.tower.positional_embedding.device)

    def lost_words(self, text: str) -> str:
        """The end of the text that does not fit, or nothing."""
        tokens: list[int] = self._tokenizer.encode(text)
        lost: str = self._tokenizer.decode(tokens[self.tower.context_length - 2 :])
        return lost.strip()

    def of_ids(self, ids_BL: Tensor) -> Tensor:
        """Context (B, L, D) of token ids as `tokenize` makes them."""
        x_BLD, mask = self.tower._embeds(ids_BL)
        for block in self.tower.transformer.resblocks[:-1]:
            x_BLD = block(x_BLD, attn_mask=mask)
        context: Tensor = self.tower.ln_final(x_BLD)
        return context

    def forward(self, texts: Sequence[str]) -> Tensor:
        """Context (B, L, D) of B texts."""
        return self.of_ids(self.tokenize(texts))


def new_tower(config: TextConfig) -> TextTransformer:
    """The tower, weights as open_clip draws them, on the default device."""
    return TextTransformer(**asdict(config))


def text_of(weights: Mapping[str, Tensor], config: TextConfig) -> OpenCLIPText:
    """The tower with the checkpoint's weights, which are used as they are. `logit_scale` belongs to no tower."""
    tower = new_tower(config)
    tower.load_state_dict({k: v for k, v in weights.items() if k != "logit_scale"}, strict=True, assign=True)
    return OpenCLIPText(tower).eval()

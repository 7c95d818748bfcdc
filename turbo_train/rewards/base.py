"""What is a reward model? Two protocols, and what every implementation shares.

score = cosine(features of the frames, features of the text), without temperature (T2V-Turbo, arXiv
2405.18750, section 4.1). Frames are in [0, 1] and carry gradients; text never does, and is encoded once
per prompt. Row i of the frames is always scored with text i.
Shape legend: N images, B clips, T frames, C channels, H, W pixels, L tokens, D features.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

Tokenize = Callable[[Sequence[str]], Tensor]
"""Texts to (N, L) int64 token ids."""

TEXTS_KEPT = 4096  # prompts whose features are kept; training captions would fill the memory without a bound


@runtime_checkable
class ImageTextModel(Protocol):
    """An image reward: every frame is scored by itself."""

    def image_features(self, frames_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) frames in [0, 1] to (N, D) features of length 1; differentiable."""
        ...

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """(N, D) features of length 1, without gradient."""
        ...

    def score(self, frames_NCHW: Tensor, texts: Sequence[str]) -> Tensor:
        """(N,) cosine of frame i with text i; differentiable in the frames."""
        ...


@runtime_checkable
class VideoTextModel(Protocol):
    """A video reward: a clip is scored as a whole."""

    frames: int

    def video_features(self, clips_BTCHW: Tensor) -> Tensor:
        """(B, T, C, H, W) clips in [0, 1] to (B, D) features of length 1; differentiable."""
        ...

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """(B, D) features of length 1, without gradient."""
        ...

    def score(self, clips_BTCHW: Tensor, texts: Sequence[str]) -> Tensor:
        """(B,) cosine of clip i with text i; differentiable in the clips."""
        ...


def unit(features: Tensor) -> Tensor:
    """Features scaled to length 1, in float32 or better."""
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)


def cosine(seen_ND: Tensor, said_ND: Tensor) -> Tensor:
    """(N,) row-wise cosine of features of length 1. Raises ValueError where the rows do not pair up."""
    if seen_ND.shape != said_ND.shape:
        raise ValueError(f"{len(seen_ND)} images or clips but {len(said_ND)} texts: one text for each is needed")
    return (seen_ND * said_ND.to(seen_ND)).sum(-1)


class TextCache:
    """Features of texts, computed once per prompt; the prompts used last are kept."""

    def __init__(self, encode: Callable[[Sequence[str]], Tensor], keep: int = TEXTS_KEPT) -> None:
        self._encode, self._keep = encode, keep
        self._rows: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(N, D) features of the texts, in their order."""
        if isinstance(texts, str):
            raise ValueError("texts is one string; a sequence of texts is needed")
        known = {text: self._rows[text] for text in texts if text in self._rows}
        unknown = [text for text in dict.fromkeys(texts) if text not in known]
        if unknown:
            with torch.inference_mode(False), torch.no_grad():  # inference tensors could not meet autograd later
                known |= dict(zip(unknown, self._encode(unknown), strict=True))
        for text, row in known.items():
            self._rows[text] = row
            self._rows.move_to_end(text)
        while len(self._rows) > self._keep:
            self._rows.popitem(last=False)
        return torch.stack([known[text] for text in texts])

    def clear(self) -> None:
        """Forget everything, as after a change of weights, precision or device."""
        self._rows.clear()

"""What is a reward model? What every family of them shares, for training and for scoring.

score = cosine(features of the frames, features of the text), without temperature (T2V-Turbo, arXiv 2405.18750,
section 4.1). Frames are in [0, 1] and carry gradients; weights and text never do. A text is encoded once per prompt.
Row i of the frames is always scored with text i. Differs: T2V-Turbo's code repeats the texts block-wise and the frames
clip-wise, so that beyond one clip in a batch most frames meet another clip's text.
Shape legend: N images or clips, B clips, T frames, C channels, H, W pixels, L tokens, D features.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turbo_train.errors import UserError
from turbo_train.nets.recompute import recompute
from turbo_train.rewards.preprocess import Preprocess
from turbo_train.rewards.tokens import Tokenizer

Kind = Literal["image", "video"]
TEXTS_KEPT = 4096  # prompts whose features are kept; training captions would fill the memory without a bound
TEXTS_AT_ONCE = 64
CUT_NAMED = 50  # prompts beyond the text limit, after which no more are named
ROWS = 64  # images or clips in one forward pass; large models are given fewer (table.py)
SLACK = 1e-3  # what frames may exceed [0, 1] by: rounding of float16


class BadFrames(UserError):
    """Frames that no reward can score: not finite, or not in [0, 1]."""


class RewardModel(nn.Module, ABC):
    """Frozen, in eval mode whatever it is part of, text features cached.

    kind: whether a frame or a clip has a score. frames: how many of a clip a video reward sees; None: any number.
    rows: images or clips in one forward pass, which bounds the memory; results do not depend on it but for rounding.
    """

    kind: ClassVar[Kind]
    blocks: ClassVar[tuple[type[nn.Module], ...]] = ()
    """The layers that gradient checkpointing computes again in the backward pass."""

    def __init__(self, net: nn.Module, preprocess: Preprocess, tokenizer: Tokenizer, frames: int | None = None) -> None:
        super().__init__()
        self.net = net.requires_grad_(False).eval()
        self.preprocess = preprocess
        self.tokenizer = tokenizer
        self.frames = frames
        self.rows = ROWS
        self._texts = TextCache(self._encode_texts)
        self._named: set[str] = set()

    # ------------------------------------------------------------------------------------ what a family fills in

    @abstractmethod
    def see(self, pixels: Tensor) -> Tensor:
        """Preprocessed (N, C, H, W) images or (N, T, C, H, W) clips, in the weights' dtype, to (N, D) of any length."""

    @abstractmethod
    def read(self, ids_NL: Tensor) -> Tensor:
        """Token ids to (N, D) of any length."""

    # ------------------------------------------------------------------------------------------- what users call

    @abstractmethod
    def score_clips(
        self, clips_BTCHW: Tensor, texts: Sequence[str], generator: torch.Generator | None = None
    ) -> Tensor:
        """(B,) the score of clip i with text i; differentiable in the clips."""

    def features(self, pixels: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(N, D) features of length 1, in float32 or better; differentiable in the pixels, `rows` at a time.

        pixels: (N, C, H, W) or (N, T, C, H, W) in [0, 1], any size. generator: draws the places of random crops.
        """
        check_frames(pixels)
        parts = pixels.split(self.rows)
        return torch.cat([unit(self.see(self.preprocess.of(part, generator).to(self.dtype))) for part in parts])

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """(N, D) features of length 1, without gradient. Prompts beyond the text limit are named, each once."""
        return self._texts(texts).to(self.device)

    def score(self, pixels: Tensor, texts: Sequence[str], generator: torch.Generator | None = None) -> Tensor:
        """(N,) cosine of image or clip i with text i; differentiable in the pixels."""
        return cosine(self.features(pixels, generator), self.text_features(texts))

    def too_long(self, texts: Sequence[str]) -> list[str]:
        """The texts that do not fit into the text tower, in their order, each once."""
        return [text for text in dict.fromkeys(texts) if self.tokenizer.lost_words(text)]

    def use_checkpointing(self) -> RewardModel:
        """Compute the blocks again in the backward pass, in place of keeping what they have computed."""
        recompute(self.net, self.blocks)
        return self

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(p.dtype for p in self.net.parameters() if p.is_floating_point())

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return next(self.net.parameters()).device

    def train(self, mode: bool = True) -> RewardModel:
        """A reward stays in eval mode."""
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> RewardModel:
        self._texts.clear()  # their features had the old precision
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def _encode_texts(self, texts: Sequence[str]) -> Tensor:
        self._warn_of_cut(texts)
        ids = self.tokenizer(texts).to(self.device)
        return torch.cat([unit(self.read(part)) for part in ids.split(TEXTS_AT_ONCE)])

    def _warn_of_cut(self, texts: Sequence[str]) -> None:
        """Name each prompt that is cut, once; a stream of captions is not named for ever."""
        cut = [text for text in self.too_long(texts) if text not in self._named]
        if cut and len(self._named) < CUT_NAMED:
            self._named.update(cut)
            more = "" if len(self._named) < CUT_NAMED else "; further ones will not be named"
            warnings.warn(cut_message(cut, self.tokenizer.length) + more, stacklevel=2)


class ImageReward(RewardModel):
    """A reward that scores every frame by itself; a clip's score is the mean over its frames."""

    kind = "image"

    def score_clips(
        self, clips_BTCHW: Tensor, texts: Sequence[str], generator: torch.Generator | None = None
    ) -> Tensor:
        """(B,) mean over the frames of clip i of their cosine with text i; differentiable in the clips."""
        batch, frames = clips_BTCHW.shape[:2]
        seen_BTD: Tensor = self.features(clips_BTCHW.flatten(0, 1), generator).unflatten(0, (batch, frames))
        said_BD = self.text_features(texts)
        if len(said_BD) != batch:
            raise ValueError(f"{batch} clips but {len(said_BD)} texts: one text for each is needed")
        each_BT = (seen_BTD * said_BD.to(seen_BTD)[:, None]).sum(-1)
        return each_BT.mean(1)


class VideoReward(RewardModel):
    """A reward that scores a clip as a whole."""

    kind = "video"

    def score_clips(
        self, clips_BTCHW: Tensor, texts: Sequence[str], generator: torch.Generator | None = None
    ) -> Tensor:
        """(B,) cosine of clip i with text i; differentiable in the clips."""
        return self.score(clips_BTCHW, texts, generator)


def check_frames(pixels: Tensor) -> None:
    """BadFrames for values that are not finite or not in [0, 1]; ValueError for an empty tensor or integers."""
    if pixels.numel() == 0 or not pixels.is_floating_point():
        raise ValueError(f"frames are {tuple(pixels.shape)} {pixels.dtype}; floats in [0, 1] are needed")
    low, high = (float(bound) for bound in torch.aminmax(pixels.detach()))  # both are NaN where one value is
    if low >= -SLACK and high <= 1 + SLACK:
        return
    rows = pixels.detach().flatten(1)
    if bad := (~rows.isfinite().all(1)).nonzero().flatten().tolist():
        raise BadFrames(
            found=f"frames that are not finite, in row{'s' * (len(bad) > 1)} {', '.join(map(str, bad[:8]))}",
            expected="finite values in [0, 1]",
        )
    raise BadFrames(
        found=f"frames with values from {low:g} to {high:g}",
        expected="values in [0, 1]",
        run_next="frames / 255 for bytes, (frames + 1) / 2 for the output of a decoder, then clamp(0, 1)",
    )


def unit(features: Tensor) -> Tensor:
    """Features scaled to length 1, in float32 or better."""
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)


def cosine(seen_ND: Tensor, said_ND: Tensor) -> Tensor:
    """(N,) row-wise cosine of features of length 1. Raises ValueError where the rows do not pair up."""
    if seen_ND.shape != said_ND.shape:
        raise ValueError(f"{len(seen_ND)} images or clips but {len(said_ND)} texts: one text for each is needed")
    return (seen_ND * said_ND.to(seen_ND)).sum(-1)


def cut_message(texts: Sequence[str], length: int, shown: int = 5) -> str:
    """What to say of prompts that a text tower does not see to their end."""
    more = f" and {len(texts) - shown} more" if len(texts) > shown else ""
    named = ", ".join(repr(text if len(text) <= 80 else f"{text[:77]}...") for text in texts[:shown])
    return f"{len(texts)} prompt{'s' * (len(texts) > 1)} cut at {length} tokens: {named}{more}"


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

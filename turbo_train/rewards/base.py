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
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from turbo_train.errors import UserError
from turbo_train.nets.recompute import is_recomputed, recompute
from turbo_train.rewards.preprocess import Preprocess
from turbo_train.rewards.text_cache import TextCache
from turbo_train.rewards.tokens import Tokenizer

Kind = Literal["image", "video"]
DIMENSIONS: Mapping[Kind, int] = {"image": 4, "video": 5}  # of what each looks at
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
    Where gradients are wanted the memory is bounded with use_checkpointing only. Autocast does not reach a reward:
    it computes in the weights' dtype whatever the precision of the training step around it.
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

        pixels: (N, 3, H, W) for an image reward, (N, T, 3, H, W) for a video reward, in [0, 1], any size. generator:
        draws the places of random crops. ValueError: another shape, bytes. BadFrames: values that are no frames'.
        """
        if pixels.ndim != DIMENSIONS[self.kind]:
            raise ValueError(
                f"frames are {tuple(pixels.shape)}; an image reward's features need (N, 3, H, W), a video reward's "
                "(N, T, 3, H, W); score_clips takes clips of both"
            )
        check_frames(pixels)
        parts = pixels.split(self.rows)
        see: Callable[[Tensor], Tensor] = self._see_unit
        if len(parts) > 1 and is_recomputed(self.net):  # of every part but one in work, the pixels alone are kept
            see = partial(checkpoint, self._see_unit, use_reentrant=False)
        with self._own_precision():
            return torch.cat([see(self.preprocess(part, generator)) for part in parts])

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """(N, D) features of length 1, without gradient. Prompts beyond the text limit are named, each once."""
        return self._texts(texts).to(self.device)

    def score(self, pixels: Tensor, texts: Sequence[str], generator: torch.Generator | None = None) -> Tensor:
        """(N,) cosine of image or clip i with text i; differentiable in the pixels. Errors: as features."""
        check_pairs(pixels, texts)
        return cosine(self.features(pixels, generator), self.text_features(texts))

    def too_long(self, texts: Sequence[str]) -> list[str]:
        """The texts that do not fit into the text tower, in their order, each once."""
        return [text for text in dict.fromkeys(texts) if self.tokenizer.lost_words(text)]

    def use_checkpointing(self) -> RewardModel:
        """Compute the blocks again in the backward pass, in place of keeping what they have computed.

        More than `rows` images or clips are computed again as parts too, which costs one forward pass more, so that the
        memory grows by nothing but their preprocessed pixels.
        """
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
        with self._own_precision():
            return torch.cat([unit(self.read(part)) for part in ids.split(TEXTS_AT_ONCE)])

    def _see_unit(self, normal: Tensor) -> Tensor:
        """(N, D) features of length 1 of preprocessed pixels."""
        return unit(self.see(normal.to(self.dtype)))

    def _own_precision(self) -> torch.autocast:
        """Without it a caller's autocast would run the network in its dtype, and texts would keep what they met."""
        kind = self.device.type  # the meta device, on which costs are counted, has no autocast of its own
        return torch.autocast("cpu" if kind == "meta" else kind, enabled=False)

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
        """(B,) mean over the frames of clip i of their cosine with text i; differentiable in the clips.

        ValueError: no (B, T, 3, H, W), or another number of texts. BadFrames: values that are no frames'.
        """
        if clips_BTCHW.ndim != DIMENSIONS["video"]:
            raise ValueError(f"clips are {tuple(clips_BTCHW.shape)}; (B, T, 3, H, W) is needed")
        check_pairs(clips_BTCHW, texts)
        batch, frames = clips_BTCHW.shape[:2]
        seen_BTD: Tensor = self.features(clips_BTCHW.flatten(0, 1), generator).unflatten(0, (batch, frames))
        said_BD = self.text_features(texts)
        each_BT = (seen_BTD * said_BD.to(seen_BTD)[:, None]).sum(-1)
        return each_BT.mean(1)


class VideoReward(RewardModel):
    """A reward that scores a clip as a whole."""

    kind = "video"

    def score_clips(
        self, clips_BTCHW: Tensor, texts: Sequence[str], generator: torch.Generator | None = None
    ) -> Tensor:
        """(B,) cosine of clip i with text i; differentiable in the clips. Errors: as an image reward's."""
        return self.score(clips_BTCHW, texts, generator)


def check_pairs(pixels: Tensor, texts: Sequence[str]) -> None:
    """ValueError, before anything is computed, where images or clips and texts do not pair up."""
    if isinstance(texts, str):
        raise ValueError("texts is one string; a sequence of texts is needed")
    if len(pixels) != len(texts):
        raise ValueError(f"{len(pixels)} images or clips but {len(texts)} texts: one text for each is needed")


def check_frames(pixels: Tensor) -> None:
    """BadFrames for values that are not finite or not in [0, 1]; ValueError for an empty tensor or integers."""
    if pixels.numel() == 0 or not pixels.is_floating_point():
        raise ValueError(f"frames are {tuple(pixels.shape)} {pixels.dtype}; floats in [0, 1] are needed")
    low, high = torch.stack(torch.aminmax(pixels.detach())).tolist()  # both are NaN where one value is
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
    """(N,) row-wise cosine of features of length 1."""
    return (seen_ND * said_ND.to(seen_ND)).sum(-1)


def cut_message(texts: Sequence[str], length: int, shown: int = 5) -> str:
    """What to say of prompts that a text tower does not see to their end."""
    more = f" and {len(texts) - shown} more" if len(texts) > shown else ""
    named = ", ".join(repr(text if len(text) <= 80 else f"{text[:77]}...") for text in texts[:shown])
    return f"{len(texts)} prompt{'s' * (len(texts) > 1)} cut at {length} tokens: {named}{more}"

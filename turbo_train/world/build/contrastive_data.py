"""What do the world's reward and judge models learn from? Clips, their captions, and captions nearly right.

Each clip comes with its clean caption and HARD_NEGATIVES others that are wrong in exactly one attribute (for
pairs also: the two objects swapped), as in NegCLIP (Yuksekgonul et al., arXiv 2210.01936). None of these
names a held-out combination: a caption that only ever occurs as wrong would teach the model to reject it.
`meaning` numbers what a caption says (captions.parse), so that captions that mean the same are never each
other's negatives. A frame cannot show motion, so for image models motion is no part of the meaning.
Shape legend: N clips, K captions per clip (its own first), L tokens, T frames, C channels, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from turbo_train.rewards.tokens import Tokenizer
from turbo_train.world.build.clips import make_clips
from turbo_train.world.captions import Said, parse, say, truth
from turbo_train.world.scene import BACKGROUNDS, COLOURS, MOTIONS, RELATIONS, SHAPES, split_of

HARD_NEGATIVES = 3
PAIR_SHARE = 0.25
NOISE_STD = 0.06  # largest deviation of pixel noise
LUMP_STD = 0.06  # largest deviation of noise as coarse as the VAE's latents


@dataclass(frozen=True)
class Pairs:
    """Clips and captions as numbers. frames_NTCHW: uint8. ids_NKL: token ids. meaning_NK: int64."""

    frames_NTCHW: Tensor
    ids_NKL: Tensor
    meaning_NK: Tensor

    def __len__(self) -> int:
        return len(self.frames_NTCHW)


def meaning_of(said: Said, motion_seen: bool) -> Said:
    """What of a caption a model can know: all of it, or all but the motion."""
    return said if motion_seen else replace(said, motion=None)


def _in_training(said: Said) -> bool:
    shape, colour = said.things[0]
    if len(said.things) == 2 or shape is None or colour is None or said.motion is None:
        return True
    return split_of(shape, colour, said.motion) == "train"


def _other(rng: np.random.Generator, values: Sequence[str], value: str | None) -> str:
    return str(rng.choice([v for v in values if v != value]))


def changed(rng: np.random.Generator, said: Said, attribute: str) -> Said:
    """What is said, with another value of one attribute; "order" swaps two objects."""
    (shape, colour), *rest = said.things
    if attribute == "shape":
        return replace(said, things=((_other(rng, SHAPES, shape), colour), *rest))
    if attribute == "colour":
        return replace(said, things=((shape, _other(rng, COLOURS, colour)), *rest))
    if attribute == "background":
        return replace(said, background=_other(rng, BACKGROUNDS, said.background))
    if attribute == "motion":
        return replace(said, motion=_other(rng, MOTIONS, said.motion))
    if attribute == "relation":
        return replace(said, relation=_other(rng, RELATIONS, said.relation))
    return replace(said, things=said.things[::-1])


def nearly_right(rng: np.random.Generator, said: Said, motion_seen: bool) -> list[Said]:
    """HARD_NEGATIVES captions of the training world, each wrong in one attribute, the hard attributes first.

    First one of another shape, then (what the model can see of) another motion or relation, then any.
    """
    pair = len(said.things) == 2
    hard = ["relation", "order"] if pair else ["motion" if motion_seen else "shape"]
    every = ["shape", "colour", "background", *(hard if pair or motion_seen else [])]
    found: list[Said] = []
    for wanted in [["shape"], hard, *[every] * 40]:
        wrong = changed(rng, said, str(rng.choice(wanted)))
        if _in_training(wrong):
            found.append(wrong)
        if len(found) == HARD_NEGATIVES:
            break
    assert len(found) == HARD_NEGATIVES  # most alternatives are in training
    return found


def make_pairs(count: int, seed: int, tokenize: Tokenizer, motion_seen: bool) -> Pairs:
    """`count` training clips with their own caption and HARD_NEGATIVES nearly right ones."""
    clips = make_clips(count, seed, split="train", pair_share=PAIR_SHARE)
    rng = np.random.default_rng([seed, 1])
    rows = [
        (own, *(say(rng, wrong) for wrong in nearly_right(rng, truth(scene), motion_seen)))
        for own, scene in zip(clips.captions, clips.scenes, strict=True)
    ]
    texts = list(dict.fromkeys(text for row in rows for text in row))
    index = {text: i for i, text in enumerate(texts)}
    said = [meaning_of(parse(text), motion_seen) for text in texts]
    number = {what: i for i, what in enumerate(dict.fromkeys(said))}
    meaning = torch.tensor([number[what] for what in said])
    which = torch.tensor([[index[text] for text in row] for row in rows])
    return Pairs(clips.frames_BTCHW, tokenize(texts)[which], meaning[which])


def augment(frames_NTCHW: Tensor, generator: torch.Generator) -> Tensor:
    """Frames in [0, 1] as a generator's decoder might leave them: blurred, smoothed, lumpy, noisy; clamped.

    Strengths are drawn per clip, noise per frame. Each of the four acts on every clip, from not at all up.
    """
    clips, frames, _, height, width = frames_NTCHW.shape
    device = frames_NTCHW.device
    strength = torch.rand(4, clips, 1, generator=generator).expand(-1, -1, frames).reshape(4, -1, 1, 1, 1).to(device)
    x = frames_NTCHW.flatten(0, 1)
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    x = torch.lerp(x, blurred, 0.7 * strength[0])
    smooth = F.interpolate(F.avg_pool2d(x, 2), (height, width), mode="bilinear", align_corners=False)
    x = torch.lerp(x, smooth, 0.7 * strength[1])
    coarse = torch.randn(len(x), 3, height // 4, width // 4, generator=generator).to(device)
    lumps = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    noise = torch.randn(x.shape, generator=generator).to(device)
    x = x + LUMP_STD * strength[2] * lumps + NOISE_STD * strength[3] * noise
    return x.clamp(0.0, 1.0).view(clips, frames, 3, height, width)

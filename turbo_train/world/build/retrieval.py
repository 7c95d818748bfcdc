"""Does a reward or judge know the held-out combinations? Choosing the right caption for clips never seen.

top1: the right one of the canonical captions of all 18 held-out triples on 3 backgrounds (54; each shape and
colour occurs with one held-out motion, so the motion adds nothing here). colour, shape, background, motion:
the right one of the captions that differ in that attribute alone. relation: of two-object captions, the right
one of {left, above} x {objects in order, swapped}. noised: top1 after the training's augmentation.
Image models see the middle frame; "motion" is measured for video models only.
Shape legend: N clips, M captions, D features, T frames, C channels, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from turbo_train.rewards.base import RewardModel
from turbo_train.world.build.clips import make_clips
from turbo_train.world.build.contrastive_data import augment
from turbo_train.world.captions import (
    BACKGROUND_WORDS,
    COLOUR_WORDS,
    MOTION_WORDS,
    PAIR_TEMPLATE,
    RELATION_WORDS,
    SHAPE_WORDS,
    TEMPLATES,
    Said,
    truth,
)
from turbo_train.world.scene import BACKGROUNDS, COLOURS, MOTIONS, RELATIONS, SHAPES, triples

CLIPS = 400
SEED = 4001
Single = tuple[str, str, str, str]
"""shape, colour, motion, background."""

ATTRIBUTES = {"shape": SHAPES, "colour": COLOURS, "motion": MOTIONS, "background": BACKGROUNDS}


def canonical(shape: str, colour: str, motion: str, background: str) -> str:
    """The plainest caption of one object: the first template with the first words."""
    thing = f"{COLOUR_WORDS[colour][0]} {SHAPE_WORDS[shape][0]}"
    return TEMPLATES[0].format(thing=thing, motion=MOTION_WORDS[motion][0], background=BACKGROUND_WORDS[background][0])


def canonical_pair(things: Sequence[tuple[str | None, str | None]], relation: str, background: str | None) -> str:
    """The plainest caption of two (shape, colour) objects."""
    first, second = (f"{COLOUR_WORDS[str(c)][0]} {SHAPE_WORDS[str(s)][0]}" for s, c in things)
    ground = BACKGROUND_WORDS[str(background)][0]
    return PAIR_TEMPLATE.format(thing=first, relation=RELATION_WORDS[relation][0], other=second, background=ground)


def relation_choices(said: Said) -> list[str]:
    """The right caption of a two-object scene first, then the three others."""
    orders = (said.things, said.things[::-1])
    rest = [r for r in RELATIONS if r != said.relation]
    return [canonical_pair(things, r, said.background) for r in (str(said.relation), *rest) for things in orders]


def _share(right: Sequence[bool]) -> float:
    return sum(right) / len(right)


def _singles(said: Sequence[Said]) -> list[Single]:
    return [(str(s.things[0][0]), str(s.things[0][1]), str(s.motion), str(s.background)) for s in said]


def features_of(model: RewardModel, frames_NTCHW: Tensor) -> Tensor:
    """(N, D) features of clips in [0, 1]; of their middle frames for an image model."""
    return model.features(frames_NTCHW if model.kind == "video" else frames_NTCHW[:, frames_NTCHW.shape[1] // 2])


@torch.no_grad()
def measure_retrieval(
    model: RewardModel, clips: int | None = None, device: torch.device | str = "cpu"
) -> dict[str, float]:
    """Shares in [0, 1] of right choices on held-out scenes; see the module's first lines."""
    clips = clips or CLIPS
    held = make_clips(clips, SEED, split="test")
    frames = held.frames_BTCHW.to(device).float() / 255
    seen = features_of(model, frames)
    kinds = _singles([truth(scene) for scene in held.scenes])
    gallery: list[Single] = [(*triple, ground) for triple, ground in product(triples("test"), BACKGROUNDS)]
    said = model.text_features([canonical(*kind) for kind in gallery])
    figures = {"top1": _share([gallery[i] == k for i, k in zip((seen @ said.T).argmax(1), kinds, strict=True)])}
    blurred = features_of(model, augment(frames, torch.Generator().manual_seed(SEED)))
    noised = (blurred @ said.T).argmax(1)
    figures["noised"] = _share([gallery[i] == k for i, k in zip(noised, kinds, strict=True)])
    for place, (name, values) in enumerate(ATTRIBUTES.items()):
        if name == "motion" and model.kind == "image":
            continue
        right = []
        for feature, kind in zip(seen, kinds, strict=True):
            texts = [canonical(*(value if i == place else own for i, own in enumerate(kind))) for value in values]
            right.append(values[int((model.text_features(texts) @ feature).argmax())] == kind[place])
        figures[name] = _share(right)
    return figures | {"relation": relation_accuracy(model, max(1, clips // 2), device)}


@torch.no_grad()
def relation_accuracy(model: RewardModel, clips: int = CLIPS // 2, device: torch.device | str = "cpu") -> float:
    """Share of two-object scenes whose right caption beats the three with another order or relation."""
    pairs = make_clips(clips, SEED + 1, pair_share=1.0)
    seen = features_of(model, pairs.frames_BTCHW.to(device).float() / 255)
    right = []
    for feature, scene in zip(seen, pairs.scenes, strict=True):
        said = model.text_features(relation_choices(truth(scene)))
        right.append(int((said @ feature).argmax()) == 0)
    return _share(right)

"""Do captions say scenes, and do they parse back to exactly what was said?"""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from turbo_train.world.captions import (
    BACKGROUND_WORDS,
    COLOUR_WORDS,
    MOTION_WORDS,
    RELATION_WORDS,
    SHAPE_WORDS,
    Said,
    caption,
    corrupt,
    parse,
    say,
    truth,
    vocabulary,
)
from turbo_train.world.scene import BACKGROUNDS, COLOURS, MOTIONS, RELATIONS, SHAPES, Scene, sample_scene

N = 2000


def scenes(seed: int, count: int = N) -> list[Scene]:
    rng = np.random.default_rng(seed)
    return [sample_scene(rng, pair_share=0.3) for _ in range(count)]


def changed(a: Said, b: Said) -> int:
    """How many attributes differ."""
    things = sum(x != y for p, q in zip(a.things, b.things, strict=True) for x, y in zip(p, q, strict=True))
    return things + (a.motion != b.motion) + (a.background != b.background) + (a.relation != b.relation)


@pytest.mark.parametrize("seed", range(3))
def test_clean_captions_parse_to_the_truth(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for scene in scenes(seed):
        text = caption(rng, scene)
        assert parse(text) == truth(scene), text


@pytest.mark.parametrize("seed", range(3))
def test_noisy_captions_parse_to_what_they_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for scene in scenes(seed + 10):
        said = corrupt(rng, truth(scene), wrong=0.5, missing=0.5)
        text = say(rng, said)
        assert parse(text) == said, text


def test_every_kind_of_one_object_parses_with_any_attribute_left_out() -> None:
    rng = np.random.default_rng(0)
    every = product((*SHAPES, None), (*COLOURS, None), (*MOTIONS, None), (*BACKGROUNDS, None))
    for shape, colour, motion, background in every:
        said = Said(((shape, colour),), motion, background, None)
        assert parse(say(rng, said)) == said


def test_every_kind_of_pair_parses() -> None:
    rng = np.random.default_rng(0)
    kinds = list(product(SHAPES, COLOURS[:3]))
    for first, second, relation in product(kinds, kinds, (*RELATIONS, None)):
        said = Said((first, second), None, "gray", relation)
        assert parse(say(rng, said)) == said


def test_every_synonym_belongs_to_one_value() -> None:
    for table in (SHAPE_WORDS, COLOUR_WORDS, MOTION_WORDS, BACKGROUND_WORDS, RELATION_WORDS):
        for one, other in combinations(table.values(), 2):
            assert not set(one) & set(other)
    assert set(SHAPE_WORDS) == set(SHAPES)
    assert set(COLOUR_WORDS) == set(COLOURS)
    assert set(MOTION_WORDS) == set(MOTIONS)
    assert set(BACKGROUND_WORDS) == set(BACKGROUNDS)
    assert set(RELATION_WORDS) == set(RELATIONS)


def test_vocabulary_holds_every_word_of_every_caption_and_no_other() -> None:
    rng = np.random.default_rng(1)
    used: set[str] = set()
    for scene in scenes(20, 4000):
        used |= set(caption(rng, scene, wrong=0.3, missing=0.3).split())
    words = vocabulary()
    assert words == sorted(set(words))
    assert used == set(words)


def test_all_templates_and_synonyms_are_used() -> None:
    rng = np.random.default_rng(2)
    said = Said((("circle", "red"),), "left", "gray", None)
    assert len({say(rng, said) for _ in range(N)}) == 3 * 2 * 2 * 3 * 2


@pytest.mark.parametrize(("wrong", "missing"), [(0.2, 0.0), (0.0, 0.2), (0.0, 0.0), (1.0, 0.0), (0.0, 1.0)])
def test_noise_has_the_stated_share(wrong: float, missing: float) -> None:
    rng = np.random.default_rng(3)
    differs = [changed(truth(scene), corrupt(rng, truth(scene), wrong, missing)) for scene in scenes(30)]
    assert max(differs, default=0) <= 1
    share = wrong + missing
    assert abs(np.mean(differs) - share) <= 4 * np.sqrt(share * (1 - share) / N)


def test_captions_follow_the_seed() -> None:
    scene = scenes(1, 1)[0]
    said = [[caption(np.random.default_rng(s), scene, 0.2, 0.2) for s in range(30)] for _ in range(2)]
    assert said[0] == said[1]
    assert len(set(said[0])) > 1

"""Does the grammar of scenes hold what its table says?"""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from turbo_train.world.render import centres
from turbo_train.world.scene import (
    BACKGROUNDS,
    COLOURS,
    DIRECTION,
    MOTIONS,
    RELATIONS,
    RGB,
    SHAPES,
    SIZE_PX,
    Scene,
    sample_pair,
    sample_scene,
    sample_single,
    split_of,
    triples,
)


def test_splits_have_their_sizes_and_part_the_world() -> None:
    parts = {split: set(triples(split)) for split in ("train", "validation", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 63, "validation": 9, "test": 18}
    assert set.union(*parts.values()) == set(product(SHAPES, COLOURS, MOTIONS)) == set(triples())
    assert all(split_of(*triple) == split for split, part in parts.items() for triple in part)


def test_every_pair_of_values_occurs_in_training() -> None:
    values = (SHAPES, COLOURS, MOTIONS)
    for i, j in combinations(range(3), 2):
        assert {(t[i], t[j]) for t in triples("train")} == set(product(values[i], values[j]))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_held_out_triples_hold_every_shape_and_motion(split: str) -> None:
    held = triples(split)
    assert {t[0] for t in held} == set(SHAPES)
    assert {t[2] for t in held} == set(MOTIONS)


def test_palette_colours_are_far_apart() -> None:
    assert set(RGB) == set(COLOURS) | set(BACKGROUNDS)
    gaps = [np.linalg.norm(np.subtract(RGB[a], RGB[b])) for a, b in combinations(RGB, 2)]
    assert min(gaps) > 100


def test_directions_are_unit_steps_and_opposites_cancel() -> None:
    assert set(DIRECTION) == set(MOTIONS)
    assert DIRECTION["still"] == (0.0, 0.0)
    for one, other in (("left", "right"), ("up", "down")):
        assert np.hypot(*DIRECTION[one]) == 1.0
        assert np.allclose(np.add(DIRECTION[one], DIRECTION[other]), 0.0)


def test_sampled_scenes_keep_to_their_split_and_kind() -> None:
    rng = np.random.default_rng(3)
    for split in ("train", "validation", "test"):
        scenes = [sample_scene(rng, split) for _ in range(200)]
        kinds = [(s.things[0].shape, s.things[0].colour, s.things[0].motion) for s in scenes]
        assert {split_of(*kind) for kind in kinds} == {split}
        assert {s.background for s in scenes} == set(BACKGROUNDS)
    shares = [sample_scene(rng, pair_share=1.0).count for _ in range(50)]
    assert set(shares) == {2}


def test_centre_of_a_single_object_never_leaves_the_frame() -> None:
    rng = np.random.default_rng(4)
    for triple in triples() * 5:
        scene = sample_single(rng, triple, "gray")
        thing = scene.things[0]
        assert (thing.travel_px == 0) == (thing.motion == "still")
        path = centres(scene)
        assert path.min() > 3 and path.max() < SIZE_PX - 3


@pytest.mark.parametrize("relation", RELATIONS)
def test_pairs_lie_as_they_are_said_to(relation: str) -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        scene = sample_pair(rng, relation, "black")
        first, second = scene.things
        assert scene.relation == relation
        assert first.colour != second.colour
        assert first.motion == second.motion == "still"
        dx, dy = second.x_px - first.x_px, second.y_px - first.y_px
        along, across = (dx, dy) if relation == "left" else (dy, dx)
        assert along > 12 > 2 >= abs(across)


def test_the_same_seed_gives_the_same_scenes() -> None:
    def scenes(seed: int) -> list[Scene]:
        rng = np.random.default_rng(seed)
        return [sample_scene(rng, pair_share=0.3) for _ in range(20)]

    assert scenes(1) == scenes(1) != scenes(2)

"""Is spatial_relationship VBench's score of the best pair, oddities and all?"""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from tests.replayed_objects import NOTHING, SMALL, Replay, clip_of, recorded, seen
from turbo_eval.scorers.base import Features, Score
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.spatial_relationship import (
    DIRECTIONS,
    SpatialRelationship,
    asked_relationship,
    frame_score,
    overlaps,
)
from turbo_eval.suites import load_suite
from turbo_train.errors import UserError

LEFT, RIGHT, TOP, BOTTOM = DIRECTIONS


def frame(*rows: tuple[str, tuple[int, int, int, int]]):
    return seen(*rows)


def score(one, relationship: str = LEFT, names: tuple[str, str] = ("car", "cat")) -> float:
    return frame_score(one, (*names, relationship))


def test_spatial_relationship_is_vbenchs_on_what_vbench_saw():
    """Its object_b was "", which is also the name of what has no name."""
    frames, told = recorded(SMALL, spec.SPATIAL_RELATIONSHIP)
    assert [score(each, names=("car", "")) for each in frames] == told["frame_results"]
    assert np.mean(told["frame_results"]) == told["video_results"]


@pytest.mark.parametrize(
    ("car", "cat", "sideways", "upright"),
    [
        ((0, 0, 4, 4), (10, 0, 14, 4), 1.0, 0.0),
        ((10, 0, 14, 4), (0, 0, 4, 4), 1.0, 0.0),  # left is right
        ((0, 0, 4, 4), (0, 10, 4, 14), 0.0, 1.0),
        ((0, 0, 4, 4), (10, 10, 14, 14), 0.0, 0.0),  # neither is farther
        ((0, 0, 4, 4), (0, 0, 4, 4), 0.0, 0.0),
        ((0, 0, 10, 10), (5, 0, 15, 10), 0.3, 0.0),  # IoU 50 / 150
        ((0, 0, 11, 10), (9, 0, 20, 10), 1.0, 0.0),  # IoU 20 / 200 is 0.1
        ((0, 0, 3, 3), (5, 5, 5, 9), 0.0, 1.0),  # no width, no area
        ((2, 0, 2, 4), (7, 0, 7, 4), 1.0, 0.0),  # nor here: their IoU is 0
    ],
)
def test_a_pair_by_hand(car, cat, sideways: float, upright: float):
    one = frame(("car", car), ("cat", cat))
    assert [score(one, way) for way in (LEFT, RIGHT)] == pytest.approx([sideways] * 2, abs=1e-12)
    assert [score(one, way) for way in (TOP, BOTTOM)] == pytest.approx([upright] * 2, abs=1e-12)


def test_a_frame_has_its_best_pair_and_any_two_of_either_name_are_one():
    far, near = (20, 0, 24, 4), (1, 0, 5, 4)
    assert score(frame(("car", (0, 0, 4, 4)), ("cat", near), ("cat", far))) == 1.0
    assert score(frame(("car", (0, 0, 4, 4)), ("car", far))) == 1.0
    assert score(frame(("car", (0, 0, 4, 4)), ("dog", far))) == 0.0
    assert score(frame(("car", far))) == score(NOTHING) == 0.0


def iou(a, b) -> float:
    across = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    down = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - across * down
    return across * down / union if union else 0.0


def by_the_words(rows, names: tuple[str, str], relationship: str) -> float:
    """The rule, pair by pair."""
    boxes = [box for name, box in rows if name in names]
    best = 0.0
    for i, a in enumerate(boxes):
        for b in boxes[i + 1 :]:
            dx, dy = ((b[k] + b[k + 2]) / 2 - (a[k] + a[k + 2]) / 2 for k in (0, 1))
            lies = abs(dx) > abs(dy) if relationship in (LEFT, RIGHT) else abs(dy) > abs(dx)
            if lies:
                best = max(best, 1.0 if iou(a, b) < 0.1 else 0.1 / iou(a, b))
    return best


def test_scores_are_those_of_the_rule_word_for_word():
    draw = random.Random(2)
    between = 0
    for _ in range(1000):
        rows = []
        for _ in range(draw.randint(0, 4)):
            (x0, x1), (y0, y1) = (sorted(draw.choices(range(13), k=2)) for _ in "xy")
            rows.append((draw.choice(["car", "cat", "dog"]), (x0, y0, x1, y1)))
        way = draw.choice([*DIRECTIONS])
        found = score(frame(*rows), way)
        assert found == by_the_words(rows, ("car", "cat"), way)
        between += 0 < found < 1
    assert between > 20


@pytest.mark.parametrize("side", [4, 30])
def test_overlap_is_a_ratio_of_areas(side: int):
    draw = np.random.default_rng(3)
    corners = np.sort(draw.integers(0, side, (2, 20, 2, 2)), axis=2).reshape(2, 20, 4)
    found = overlaps(*corners)
    assert found.shape == (20, 20) and ((found >= 0) & (found <= 1)).all()
    assert found == pytest.approx(np.array([[iou(a.tolist(), b.tolist()) for b in corners[1]] for a in corners[0]]))
    assert (overlaps(corners[1], corners[0]) == found.T).all()


def test_a_score_is_the_mean_over_the_frames():
    one, half = ("car", (0, 0, 10, 10)), ("cat", (5, 0, 15, 10))
    frames = [frame(one, half), NOTHING, frame(one, ("cat", (20, 0, 30, 10))), frame(one)]
    clip = clip_of(object_a="car", object_b="cat", relationship=LEFT)
    found = SpatialRelationship(Replay({0: frames})).score(clip, Features(clip))
    assert found == Score.of(float(np.mean([0.1 / (50 / 150), 0, 1, 0])))


def test_an_unknown_relationship_is_unscored():
    with pytest.raises(UserError, match="relationship 'beside'"):
        asked_relationship(clip_of(object_a="car", object_b="cat", relationship="beside").prompt)


def test_all_84_prompts_of_vbench_ask_for_two_objects_and_a_direction():
    asked = [asked_relationship(prompt) for prompt in load_suite(f"vbench:{spec.SPATIAL_RELATIONSHIP}").prompts]
    assert Counter(way for _, _, way in asked) == {LEFT: 27, RIGHT: 23, TOP: 17, BOTTOM: 17}
    assert all(first and second and first != second for first, second, _ in asked)

"""What do the corrected rules change, what not, and can their scores be told from VBench's?"""

from __future__ import annotations

import random

import pytest

from tests.replayed_objects import Replay, clip_of, seen
from turbo_eval.scorers.base import Features, Score
from turbo_eval.scorers.registry import BUILDERS, STRICT_BUILDERS, VBENCH, build_scorers
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.color import Color, counts
from turbo_eval.scorers.vbench.networks import Networks
from turbo_eval.scorers.vbench.spatial_relationship import DIRECTIONS, SpatialRelationship, frame_score
from turbo_eval.scorers.vbench.strict_rules import CORRECTED, is_strict, strict_id, words_of
from turbo_eval.vbench_table import NETWORK, encoder_note

BOX = (0, 0, 4, 4)
LEFT, RIGHT, TOP, BOTTOM = DIRECTIONS
OBJECTS = (spec.OBJECT_CLASS, spec.MULTIPLE_OBJECTS, spec.COLOR, spec.SPATIAL_RELATIONSHIP)


@pytest.mark.parametrize(
    ("encoder_id", "strict"),
    [
        ("vbench/x@1-0123abcd+torch2.6+cv5", "vbench/x@1-0123abcd-strict+torch2.6+cv5"),
        ("vbench/x@1-0123abcd-cuda-bf16+torch2", "vbench/x@1-0123abcd-cuda-bf16-strict+torch2"),
        ("vbench/x@1-0123abcd", "vbench/x@1-0123abcd-strict"),
    ],
)
def test_a_strict_id_is_a_networks_with_one_more_label(encoder_id: str, strict: str):
    assert strict_id(encoder_id) == strict
    plain, labelled = NETWORK.match(encoder_id), NETWORK.match(strict)
    assert plain and labelled and labelled["labels"] == plain["labels"] + "-strict"
    assert labelled["name"] == plain["name"] and (is_strict(encoder_id), is_strict(strict)) == (False, True)


def test_the_table_says_which_rules_are_not_vbenchs():
    words = f"strict rules in {', '.join(CORRECTED)}: not comparable with VBench"
    assert encoder_note(["vbench/x@1-0123abcd-strict+torch2", "vbench/y@1-0123abcd"]) == words
    assert encoder_note(["vbench/x@1-0123abcd-bf16-strict+torch2"]) == f"VBench's networks, bf16; {words}"
    assert encoder_note(["vbench/x@1-0123abcd+torch2"]) == ""


def test_only_corrected_rules_have_another_id(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Networks, "objects", Replay({}))
    monkeypatch.setattr(Networks, "why_not", lambda self, dimension: "")
    plain, strict = (
        {s.metric: s.scorer_id for s in build_scorers(VBENCH, OBJECTS, strict_rules=rules).scorers}
        for rules in (False, True)
    )
    assert set(plain) == set(strict) == set(OBJECTS) and set(plain.values()) == {Replay({}).encoder_id}
    assert {name for name in OBJECTS if plain[name] != strict[name]} == set(OBJECTS) & set(CORRECTED)
    assert BUILDERS.keys() == STRICT_BUILDERS.keys() == set(spec.NAMES)
    assert {name for name in BUILDERS if BUILDERS[name] is not STRICT_BUILDERS[name]} == set(CORRECTED)


@pytest.mark.parametrize(
    ("rows", "plain", "strict"),
    [
        ([("car", "a red car")], (1, 1), (1, 1)),
        ([("car", "a covered car")], (1, 1), (0, 0)),
        ([("car", "a blue car"), ("tree", "red tree")], (1, 1), (1, 0)),
        ([("tree", "blue tree"), ("car", "a red car")], (0, 0), (1, 1)),
        ([("tree", "a red car"), ("car", "a car")], (0, 0), (0, 0)),
        ([("car", "red, and blue")], (1, 1), (1, 1)),
    ],
)
def test_strictly_a_caption_is_of_its_own_object_and_a_colour_a_word(rows, plain, strict):
    frame = seen(*((name, BOX, caption) for name, caption in rows))
    assert counts([frame], "car", "red") == plain
    assert counts([frame], "car", "red", strict=True) == strict


def test_strictly_gray_and_grey_are_one_colour_and_any_asked_one_is_a_colour():
    frames = [seen(("car", BOX, "a grey car")), seen(("car", BOX, "a greyish car"))]
    assert counts(frames, "car", "gray", strict=True) == counts(frames, "car", "grey", strict=True) == (1, 1)
    assert counts([seen(("car", BOX, "a brown car"))], "car", "brown", strict=True) == (1, 1)


def test_strictly_a_share_is_at_most_one():
    draw = random.Random(4)
    for _ in range(300):
        words = ["red", "covered", "brown", "gray", "car"]
        rows = [(draw.choice(["car", "cat"]), BOX, " ".join(draw.choices(words, k=2))) for _ in range(2)]
        shown, right = counts([seen(*rows)], "car", draw.choice(["red", "brown", "grey"]), strict=True)
        assert right <= shown


def test_words_are_parted_by_what_is_no_letter():
    assert words_of("A red-brown CAR, it's 2_nd") == {"a", "red", "brown", "car", "it", "s", "2", "nd"}


@pytest.mark.parametrize(
    ("box", "lies"), [((-9, 0, -5, 4), RIGHT), ((9, 0, 13, 4), LEFT), ((0, -9, 4, -5), BOTTOM), ((0, 9, 4, 13), TOP)]
)
def test_strictly_the_direction_is_that_of_the_prompt(box, lies: str):
    """The car at the origin, the cat somewhere; images have y downwards."""
    frame = seen(("car", BOX), ("cat", box))
    found = {way for way in DIRECTIONS if frame_score(frame, ("car", "cat", way), strict=True) == 1}
    assert found == {lies}
    opposite = {LEFT: RIGHT, RIGHT: LEFT, TOP: BOTTOM, BOTTOM: TOP}[lies]
    assert {way for way in DIRECTIONS if frame_score(frame, ("cat", "car", way), strict=True) == 1} == {opposite}
    assert {way for way in DIRECTIONS if frame_score(frame, ("car", "cat", way)) == 1} == {lies, opposite}


def test_strictly_the_pair_is_of_both_objects():
    cars, cats = (seen((name, BOX), (name, (9, 0, 13, 4))) for name in ("car", "cat"))
    for frame in (cars, cats):
        assert frame_score(frame, ("car", "cat", LEFT)) == 1
        assert frame_score(frame, ("car", "cat", LEFT), strict=True) == 0
    assert frame_score(cars, ("car", "car", LEFT), strict=True) == 1
    assert frame_score(seen(("car", BOX)), ("car", "car", LEFT), strict=True) == 0


def test_strict_scores_never_exceed_vbenchs_in_spatial_relationship():
    draw = random.Random(5)
    less = 0
    for _ in range(300):
        rows = []
        for _ in range(4):
            (x0, x1), (y0, y1) = (sorted(draw.sample(range(40), 2)) for _ in "xy")
            rows.append((draw.choice(["car", "cat"]), (x0, y0, x1, y1)))
        asked = ("car", "cat", draw.choice([*DIRECTIONS]))
        plain, strict = (frame_score(seen(*rows), asked, strict=rule) for rule in (False, True))
        assert strict <= plain
        less += strict < plain
    assert less > 50


def test_the_scorers_take_the_corrected_rule():
    car, cat = ("car", BOX, "a covered car"), ("cat", (9, 0, 13, 4), "red cat")
    clip = clip_of("a red car", color="red", object_a="cat", object_b="car", relationship=LEFT)
    encoder = Replay({0: [seen(car, cat), seen(("car", BOX, "a red car"))]})
    found = {
        (kind, strict): kind(encoder, strict=strict).score(clip, Features(clip))
        for kind in (Color, SpatialRelationship)
        for strict in (False, True)
    }
    assert found[Color, False] == found[Color, True] == Score.of(1.0)
    assert (found[SpatialRelationship, False], found[SpatialRelationship, True]) == (Score.of(0.5), Score.of(0.0))

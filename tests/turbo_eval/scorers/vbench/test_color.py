"""Is color VBench's ratio, oddities and all, and what is left out of its mean?"""

from __future__ import annotations

import random

import pytest

from tests.replayed_objects import NOTHING, SMALL, Replay, clip_of, recorded, seen
from turbo_eval.scorers.base import Features, Score, score_clips
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.aggregate import aggregate, dimension_score
from turbo_eval.scorers.vbench.color import NOT_SHOWN, Color, asked_object, counts
from turbo_eval.scorers.vbench.objects import asked_of
from turbo_eval.suites import load_suite
from turbo_train.errors import UserError

BOX = (0, 0, 4, 4)
TWELVE = ["white", "red", "pink", "blue", "silver", "purple", "orange", "green", "gray", "yellow", "black", "grey"]
NOUNS = {"bicycle", "car", "bird", "cat", "umbrella", "suitcase", "bowl", "chair", "clock", "vase"}


def car(caption: str, name: str = "car"):
    return (name, BOX, caption)


def test_color_is_vbenchs_on_what_vbench_saw():
    frames, told = recorded(SMALL, spec.COLOR)
    clip = clip_of("a red car", color="red")
    assert Color(Replay({0: frames}, num_frames=2)).score(clip, Features(clip)) == Score.of(told["video_results"])


@pytest.mark.parametrize(
    ("frame", "shown", "right"),
    [
        (seen(car("a red car")), 1, 1),
        (seen(car("a blue car")), 1, 0),
        (seen(car("a car")), 0, 0),
        (seen(car("a blue car"), car("red tree", "tree")), 1, 1),  # the first class stands for both captions
        (seen(car("red tree", "tree"), car("a red car")), 0, 0),  # and here too
        (seen(car("a covered car")), 1, 1),  # a substring
        (seen(car("")), 0, 0),
        (NOTHING, 0, 0),
    ],
)
def test_a_frame_shows_the_object_with_a_colour_and_the_asked_one(frame, shown: int, right: int):
    assert counts([frame], "car", "red") == (shown, right)


def test_a_score_is_of_the_frames_that_show_the_object_with_a_colour():
    frames = [seen(car("a red car")), seen(car("a blue car")), seen(car("a car")), NOTHING]
    clip = clip_of("a red car", color="red")
    assert Color(Replay({0: frames})).score(clip, Features(clip)) == Score.of(4 / 8)


def test_the_asked_colour_may_be_none_of_the_twelve():
    """As in VBench, where the two counts do not ask for one another."""
    assert counts([seen(car("a brown car"))], "car", "brown") == (0, 1)
    assert counts([seen(car("a gray car"))], "car", "grey") == (1, 0)
    frames = [seen(car("a red car")), seen(car("a brown car")), seen(car("brown")), NOTHING]
    clip = clip_of("a brown car", color="brown")
    assert Color(Replay({0: frames})).score(clip, Features(clip)) == Score.of(8 / 4)


def test_counts_are_those_of_the_rule_word_for_word():
    draw = random.Random(1)
    words = [*TWELVE[:4], "covered", "car", "brown", "greyish", ""]
    for _ in range(500):
        frames = []
        for _ in range(4):
            rows = [car(" ".join(draw.choices(words, k=draw.randint(0, 3))), draw.choice(["car", "cat"])) for _ in "ab"]
            frames.append(seen(*rows[: draw.randint(0, 2)]))
        colour = draw.choice(["red", "blue", "brown", "grey"])
        object_frames = colour_frames = 0
        for frame in frames:
            object_flag = colour_flag = False
            for caption in frame.captions:
                if frame.names[0] == "car":
                    for each in TWELVE:
                        if each in caption:
                            object_flag = True
                    if colour in caption:
                        colour_flag = True
            object_frames, colour_frames = object_frames + object_flag, colour_frames + colour_flag
        assert counts(frames, "car", colour) == (object_frames, colour_frames)


def test_the_object_is_what_is_left_of_the_prompt():
    for text, colour, left in (
        ("a red car", "red", "car"),
        ("an orange umbrella", "orange", "umbrella"),
        ("a banana on a sofa in red", "red", "bananon sofin"),  # VBench takes "a " out of words too
        ("a tan car", "tan", "tcar"),  # and the articles first
    ):
        assert asked_object(clip_of(text).prompt, colour) == left
    with pytest.raises(UserError, match="names no object beside 'red'"):
        asked_object(clip_of("a red").prompt, "red")


def test_all_85_prompts_of_vbench_leave_a_plain_noun():
    prompts = load_suite(f"vbench:{spec.COLOR}").prompts
    asked = [(asked_object(prompt, *asked_of(prompt, spec.COLOR)), *asked_of(prompt, spec.COLOR)) for prompt in prompts]
    assert len(asked) == len(set(asked)) == 85
    assert {name for name, _ in asked} == NOUNS and {colour for _, colour in asked} <= set(TWELVE)


def scored(*frames_of_clips):
    answers = {number: frames for number, frames in enumerate(frames_of_clips)}
    return score_clips([Color(Replay(answers))], [clip_of("a red car", number, color="red") for number in answers])


def test_the_mean_is_over_the_clips_that_show_the_object():
    records = scored([seen(car("a red car"))], [NOTHING], [seen(car("a blue car")), seen(car("red car"))])
    found = dimension_score(spec.COLOR, records)
    assert (found.mean, found.scored, found.unscored) == (0.75, 2, 1)
    assert found.reasons == {NOT_SHOWN: 1}


def test_where_no_clip_shows_the_object_the_dimension_has_a_reason_and_no_number():
    records = scored([NOTHING], [seen(car("a car"))])
    found = aggregate(records)
    color = next(d for d in found.dimensions if d.dimension == spec.COLOR)
    assert (color.mean, color.interval, color.unscored) == (None, None, 2)
    assert found.totals.missing[spec.COLOR] == f"{NOT_SHOWN} (2 clips)"
    assert found.totals.total is None and found.totals.semantic is None

"""Are objects counted as VBench counts them, in one pass for all who ask, and is nothing left out in silence?"""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.replayed_objects import NOTHING, SMALL, Replay, clip_of, recorded, seen
from turbo_eval.scorers.base import TOO_SHORT, Features, Score, Scorer, score_clips
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.color import Color
from turbo_eval.scorers.vbench.multiple_objects import MultipleObjects, asked_pair
from turbo_eval.scorers.vbench.object_class import ObjectClass
from turbo_eval.scorers.vbench.objects import asked_of
from turbo_eval.scorers.vbench.spatial_relationship import SpatialRelationship
from turbo_eval.suites import load_suite
from turbo_train.errors import UserError

CAR, CAT = ("car", (0, 0, 4, 4)), ("cat", (10, 0, 14, 4))
LEFT = {"object_a": "car", "object_b": "cat", "relationship": "on the left of"}
ALL = {"object_class.object": "car", "multiple_objects.object": "car and cat", "color": "red", **LEFT}


def four(encoder: Replay) -> list[Scorer]:
    return [ObjectClass(encoder), MultipleObjects(encoder), Color(encoder), SpatialRelationship(encoder)]


def of(scorer: Scorer, clip) -> Score:
    return scorer.score(clip, Features(clip))


@pytest.mark.parametrize("name", [SMALL, "object_class_large_clip_2_frames"])
def test_object_class_is_vbenchs_on_what_vbench_saw(name: str):
    frames, told = recorded(name, spec.OBJECT_CLASS)
    scorer = ObjectClass(Replay({0: frames}, num_frames=2))
    assert of(scorer, clip_of(object="car")) == Score.of(told["video_results"])
    assert told["video_results"] == told["success_frame_count"] / told["frame_count"]


def test_multiple_objects_is_vbenchs_on_what_vbench_saw():
    frames, told = recorded(SMALL, spec.MULTIPLE_OBJECTS)
    scorer = MultipleObjects(Replay({0: frames}, num_frames=2))
    assert of(scorer, clip_of(object="person and car")) == Score.of(told["video_results"])


def test_names_are_compared_whole_and_frames_are_counted():
    frames = [seen(CAR, CAT), seen(CAT, CAR), seen(("cart", (0, 0, 1, 1))), seen(CAR, CAR)]
    encoder = Replay({0: frames})
    assert of(ObjectClass(encoder), clip_of(object="car")) == Score.of(12 / 16)
    assert of(MultipleObjects(encoder), clip_of(object="cat  and  car")) == Score.of(8 / 16)
    assert of(MultipleObjects(encoder), clip_of(object="car and car")) == Score.of(12 / 16)
    assert of(ObjectClass(encoder), clip_of(object="dining table")) == Score.of(0.0)


def test_counts_are_those_of_the_rule_word_for_word():
    draw = random.Random(0)
    names = ["car", "cat", "dog", "a car", ""]
    for _ in range(200):
        frames = [seen(*((draw.choice(names), CAR[1]) for _ in range(draw.randint(0, 4)))) for _ in range(16)]
        first, second = draw.choices(names[:3], k=2)
        one = both = 0
        for frame in frames:
            one += any(name == first for name in frame.names)
            both += any(name == first for name in frame.names) and any(name == second for name in frame.names)
        encoder = Replay({0: frames})
        assert of(ObjectClass(encoder), clip_of(object=first)) == Score.of(one / 16)
        assert of(MultipleObjects(encoder), clip_of(object=f"{first} and {second}")) == Score.of(both / 16)


def test_a_clip_in_which_nothing_is_detected_has_zero_and_no_colour():
    scorers = four(Replay({0: [NOTHING]}))
    records = score_clips(scorers, [clip_of(**ALL)])
    assert [record.value for record in records] == [0.0, 0.0, None, 0.0]
    assert "no frame shows the object" in str(records[2].unscored)


def test_vbenchs_middle_frames_are_shown_and_a_short_clip_repeats_its_last():
    encoder = Replay({0: [NOTHING]})
    for frames, want in ((4, [0, 1, 2, *[3] * 13]), (32, list(range(0, 32, 2)))):
        of(ObjectClass(encoder), clip_of(frames=frames, object="car"))
        assert encoder.frames[-1][:, 0, 0, 1].tolist() == want


def test_one_pass_serves_all_who_ask_of_all_clips():
    """Captions are written for those of which color is asked; what wants the same goes together."""
    encoder = Replay({number: [seen(CAR, CAT)] for number in range(5)})
    plain = {"dimensions": (spec.OBJECT_CLASS, spec.SPATIAL_RELATIONSHIP)}
    clips = [clip_of(number=0, **ALL), clip_of(number=1, **ALL, **plain), clip_of(number=2, **ALL)]
    clips += [clip_of(number=3, **ALL, dimensions=(spec.MULTIPLE_OBJECTS,)), clip_of(number=4, **ALL, **plain)]
    score_clips(four(encoder), clips)
    assert encoder.asked == [([0, 2], True, False), ([1, 4], False, False), ([3], False, False)]
    encoder.asked.clear()
    score_clips(four(encoder)[:2], clips[:2])
    assert encoder.asked == [([0, 1], False, False)]  # color is not asked of any


def test_only_large_frames_are_seen_twice():
    """At 768 px nothing is resized; above, color sees bytes and the others floats."""
    encoder = Replay({number: [seen(CAR, CAT)] for number in range(3)}, num_frames=2)
    small, large = (clip_of(number=number, frames=2, size=(768 + number, 776), **ALL) for number in (0, 1))
    only = clip_of(number=2, frames=2, size=(769, 769), dimensions=(spec.COLOR,), **ALL)
    records = score_clips(four(encoder), [small, large, only])
    assert sorted(encoder.asked) == [([0], True, False), ([1], False, False), ([1, 2], True, True)]
    assert [r.value for r in records if r.clip_id == large.clip_id] == [
        r.value for r in records if r.clip_id == small.clip_id
    ]


def test_what_cannot_be_asked_is_unscored_and_costs_no_pass():
    encoder = Replay({number: [seen(CAR, CAT)] for number in range(4)})
    nothing, still = clip_of(number=1), clip_of(number=2, frames=1, **ALL)
    some = clip_of(number=3, **{"color.color": "red"})
    records = score_clips(four(encoder), [clip_of(number=0, **ALL), nothing, still, some])
    assert sorted(encoder.asked) == [([0, 3], True, False)]
    reasons = {clip.clip_id: [r.unscored for r in records if r.clip_id == clip.clip_id] for clip in (nothing, still)}
    assert reasons[still.clip_id] == [TOO_SHORT] * 4
    missing = ["'object' for object_class", "'object' for multiple", "'color' for color", "'object_a' for spatial"]
    assert all(f"no auxiliary info {m}" in str(r) for m, r in zip(missing, reasons[nothing.clip_id], strict=True))


def test_a_scorer_by_itself_has_what_it_needs():
    encoder = Replay({0: [seen(("car", CAR[1], "a red car"))]})
    clip = clip_of(**ALL)
    shared = Features(clip)
    assert ObjectClass(encoder).score(clip, shared) == Color(encoder).score(clip, shared) == Score.of(1.0)
    assert [captions for _, captions, _ in encoder.asked] == [False, True]


def test_what_the_detector_cannot_do_is_not_nothing():
    """An error of the network reaches the run, which halves its batches; nothing of it is kept as an answer."""

    class Full(Replay):
        def objects(self, clips, **how):
            if not self.asked:
                self.asked.append(([], False, False))
                raise MemoryError
            return super().objects(clips, **how)

    encoder = Full({0: [seen(CAR)]})
    clip = clip_of(object="car")
    shared = Features(clip)
    with pytest.raises(MemoryError):
        ObjectClass(encoder).score(clip, shared)
    assert ObjectClass(encoder).score(clip, shared) == Score.of(1.0)


@pytest.mark.parametrize("text", ["car", "car and cat and dog", "car & cat"])
def test_what_is_not_two_objects_is_unscored(text: str):
    with pytest.raises(UserError, match="two objects"):
        asked_pair(clip_of(object=text).prompt)


def test_every_prompt_of_vbench_asks_for_what_the_rules_need():
    classes = [asked_of(prompt, spec.OBJECT_CLASS) for prompt in load_suite(f"vbench:{spec.OBJECT_CLASS}").prompts]
    assert len(classes) == len({name for (name,) in classes}) == 79
    pairs = [asked_pair(prompt) for prompt in load_suite(f"vbench:{spec.MULTIPLE_OBJECTS}").prompts]
    assert len(pairs) == 82 and all(len(pair) == 2 and "" not in pair for pair in pairs)


def test_the_scores_do_not_depend_on_the_company():
    draw = np.random.default_rng(0)
    answers = {n: [seen(*(row for row in (CAR, CAT) if draw.random() < 0.5)) for _ in range(16)] for n in range(4)}
    clips = [clip_of(number=number, **ALL) for number in answers]
    together = score_clips(four(Replay(answers)), clips)
    assert together == [record for clip in clips for record in score_clips(four(Replay(answers)), [clip])]

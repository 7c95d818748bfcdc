"""What becomes of clips on their way through the scorers: once decoded, scored, unscored, never zero by accident?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import (
    Clip,
    Features,
    NotFinite,
    Score,
    UnreadableClip,
    on_networks,
    open_clip,
    score_clip,
    score_clips,
)
from turbo_eval.scorers.registry import build_scorers
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.dynamic_degree import DynamicDegree
from turbo_eval.scorers.vbench.static_filter import StaticFilter
from turbo_eval.scorers.vbench.temporal_flickering import TemporalFlickering
from turbo_train.errors import UserError
from turbo_train.video_io import write_mp4

PROMPT = Prompt(prompt_id="p-000", prompt="a red circle")
CLIP_ID = ("model", "p-000", 0)


class Refuses:
    """A scorer that cannot score this prompt."""

    metric = spec.COLOR
    scorer_id = "test/refuses@1"

    def score(self, clip: Clip, features: Features) -> Score:
        raise UserError(found="no auxiliary info", expected="a colour", run_next="a suite with colours")


class Broken:
    """A scorer with a bug."""

    metric = spec.SCENE
    scorer_id = "test/broken@1"

    def score(self, clip: Clip, features: Features) -> Score:
        raise ZeroDivisionError


def test_one_decode_for_all_scorers(tmp_path: Path, judge_weights: Path, world_clip, monkeypatch):
    from turbo_eval.scorers import base

    clip = world_clip("red", "circle", "left", "gray")
    write_mp4(tmp_path / "clip.mp4", clip.frames_THWC, 8, lossless=True)
    reads, read = [], base.read_video
    monkeypatch.setattr(base, "read_video", lambda path: reads.append(path) or read(path))
    scorers = build_scorers(weights=judge_weights).scorers
    opened = open_clip(tmp_path / "clip.mp4", CLIP_ID, clip.prompt)
    assert isinstance(opened, Clip)
    np.testing.assert_array_equal(opened.frames_THWC, clip.frames_THWC)
    first, second = score_clips(scorers, [opened]), score_clips(scorers, [opened])
    assert len(reads) == 1
    assert first == second
    assert [r.metric for r in first] == [s.metric for s in scorers]
    assert all(r.unscored is None for r in first)


@pytest.mark.parametrize("content", [b"", b"not a video"])
def test_an_unreadable_clip_is_unscored_by_everyone_and_names_no_folder(content: bytes, tmp_path: Path):
    (tmp_path / "clip.mp4").write_bytes(content)
    clip = open_clip(tmp_path / "clip.mp4", CLIP_ID, PROMPT)
    assert isinstance(clip, UnreadableClip)
    (record,) = score_clips([TemporalFlickering()], [clip])
    assert record.value is None
    assert record.unscored is not None and record.unscored.startswith("unreadable: is ")
    assert str(tmp_path) not in record.unscored


def test_a_refusal_is_unscored_and_a_bug_is_not_hidden(world_clip):
    clip = replace(world_clip("red", "circle", "left", "gray"), prompt=PROMPT)
    refused, scored = score_clip([Refuses(), TemporalFlickering()], clip)
    assert (refused.value, refused.unscored) == (None, "no auxiliary info; expected a colour")
    assert scored.value is not None
    with pytest.raises(ZeroDivisionError):
        score_clip([Broken()], clip)


class NotANumber:
    """A scorer whose network has gone wrong."""

    metric = spec.SCENE
    scorer_id = "test/nan@1"

    def score(self, clip: Clip, features: Features) -> Score:
        return Score.of(float("nan"))


def test_a_score_that_is_no_number_is_unscored_and_others_are_not(world_clip):
    clip = world_clip("red", "circle", "left", "gray")
    wrong, right = score_clip([NotANumber(), TemporalFlickering()], clip)
    assert (wrong.value, wrong.unscored) == (None, "a score is finite, not nan")
    assert right.value is not None


def test_a_dimension_is_asked_of_its_own_prompts_only(world_clip):
    clip = world_clip("red", "circle", "left", "gray", dimensions=(spec.DYNAMIC_DEGREE,))
    assert score_clip([TemporalFlickering()], clip) == []
    open_to_all = world_clip("red", "circle", "left", "gray", dimensions=())
    assert len(score_clip([TemporalFlickering()], open_to_all)) == 1


class MeanOfAll:
    """A scorer whose feature is computed for all the clips of its company at once."""

    metric = "mean"
    scorer_id = "test/mean@1"

    def __init__(self, metric: str = "mean") -> None:
        self.metric, self.companies = metric, []

    def score(self, clip: Clip, features: Features) -> Score:
        def compute(clips):
            self.companies.append([clip.clip_id[1] for clip in clips])
            return [float(clip.frames_THWC.mean()) for clip in clips]

        return Score.of(features.together("mean", compute))


def test_clips_that_are_scored_together_are_seen_together(world_clip):
    clip = world_clip("red", "circle", "left", "gray")
    clips = [
        replace(clip, clip_id=("model", name, 0), frames_THWC=clip.frames_THWC // (k + 1))
        for k, name in enumerate("abc")
    ]
    own = replace(PROMPT, dimensions=(spec.COLOR,))
    clips[1] = replace(clips[1], prompt=own)
    broken = UnreadableClip(("model", "d", 0), PROMPT, "is empty")
    narrow, wide = MeanOfAll(spec.SCENE), MeanOfAll()
    records = score_clips([narrow, wide], [*clips, broken])
    assert narrow.companies == [["a", "c"]]  # b's prompt is not meant for it, d cannot be read
    assert wide.companies == [["b"]]  # the others' feature is known already
    assert [(r.prompt_id, r.metric, r.value, r.unscored) for r in records] == [
        ("a", spec.SCENE, clips[0].frames_THWC.mean(), None),
        ("a", "mean", clips[0].frames_THWC.mean(), None),
        ("b", "mean", clips[1].frames_THWC.mean(), None),
        ("c", spec.SCENE, clips[2].frames_THWC.mean(), None),
        ("c", "mean", clips[2].frames_THWC.mean(), None),
        ("d", spec.SCENE, None, "is empty"),
        ("d", "mean", None, "is empty"),
    ]
    assert [r.value for r in records] == [r.value for c in (*clips, broken) for r in score_clips([narrow, wide], [c])]


def test_a_clip_whose_feature_is_not_finite_does_not_spoil_its_company(world_clip):
    class Damaged(MeanOfAll):
        def score(self, clip: Clip, features: Features) -> Score:
            def compute(clips):
                self.companies.append("".join(clip.clip_id[1] for clip in clips))
                if any(not clip.frames_THWC.any() for clip in clips):
                    raise NotFinite("the network's values are not finite")
                return [float(clip.frames_THWC.mean()) for clip in clips]

            return Score.of(features.together("mean", compute))

    clip = world_clip("red", "circle", "left", "gray")
    clips = [replace(clip, clip_id=("model", name, 0), frames_THWC=clip.frames_THWC * (name != "b")) for name in "abcd"]
    scorer = Damaged()
    records = score_clips([scorer], clips)
    assert [r.unscored for r in records] == [None, "the network's values are not finite", None, None]
    assert records == [r for c in clips for r in score_clips([Damaged()], [c])]
    assert scorer.companies == ["abcd", "a", "bcd", "b", "bcd", "c", "bd", "d"]


def test_a_score_is_a_finite_number_or_a_reason():
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite"):
            Score.of(value)
    with pytest.raises(ValueError, match="a value or a reason"):
        Score()
    assert Score.none("why") == Score(unscored="why")


def test_features_are_computed_once(world_clip):
    features, calls = Features(world_clip("red", "circle", "left", "gray")), []
    for _ in range(3):
        features.get("key", lambda: calls.append(1))
    assert calls == [1]
    assert features.frames_TCHW is features.frames_TCHW
    assert features.frames_TCHW.shape == (8, 3, 32, 32)


class Small:
    """An encoder that can be made smaller, as networks can."""

    encoder_id = "test/small@1"

    def __init__(self) -> None:
        self.relieved = 0

    def load(self) -> None: ...

    def relieve(self) -> str:
        self.relieved += 1
        return "smaller"

    def flows(self, frames_THWC, pairs): ...


def test_an_encoder_of_two_dimensions_is_one_network():
    flow, other = Small(), Small()
    scorers = [TemporalFlickering(StaticFilter(flow)), DynamicDegree(flow), DynamicDegree(other), TemporalFlickering()]
    for scorer in on_networks(scorers):
        scorer.relieve()
    assert (flow.relieved, other.relieved) == (1, 1)
    assert on_networks([MeanOfAll()]) == []

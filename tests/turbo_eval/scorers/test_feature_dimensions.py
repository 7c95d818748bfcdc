"""Are the consistencies VBench's rule on any features, each computed once per clip?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, score_clips
from turbo_eval.scorers.vbench.background_consistency import BackgroundConsistency
from turbo_eval.scorers.vbench.encoders import ByteArray, FloatArray, consistency, cosine, middle_indices
from turbo_eval.scorers.vbench.encoders.judges import ImageJudge, load_image_judge, load_video_judge
from turbo_eval.scorers.vbench.overall_consistency import OverallConsistency
from turbo_eval.scorers.vbench.subject_consistency import SubjectConsistency


class MeanColour:
    """An honest little image tower: its feature is the frame's mean colour, centred."""

    encoder_id = "test/mean-colour@1"

    def __init__(self) -> None:
        self.calls = 0

    def image_features(self, clips: Sequence[ByteArray]) -> list[FloatArray]:
        self.calls += 1
        assert all(clip_THWC.dtype == np.uint8 and clip_THWC.ndim == 4 for clip_THWC in clips)
        return [(clip_THWC.mean(axis=(1, 2)) / 255 - 0.5).astype(np.float32) for clip_THWC in clips]


def test_the_rule_on_features_worked_out_by_hand():
    # cos with the previous: 0, 1, -1 -> 0; with the first: 0, 0, 0
    features = np.array([[1, 0], [0, 1], [0, 2], [0, -1]], np.float32)
    assert consistency(features) == pytest.approx((0 + 0.5 + 0) / 3)
    # all alike: 1, whatever the length
    assert consistency(np.full((5, 3), 0.3, np.float32)) == pytest.approx(1)


def test_the_rule_equals_the_frame_by_frame_loop_of_the_paper():
    features = np.random.default_rng(0).normal(0.4, 1, (9, 16)).astype(np.float32)
    total = 0.0
    for i in range(1, len(features)):
        total += max(0.0, float(cosine(features[i - 1], features[i]))) / 2
        total += max(0.0, float(cosine(features[0], features[i]))) / 2
    assert consistency(features) == pytest.approx(total / 8, rel=1e-12)


def test_middle_sampling_is_vbenchs():
    assert middle_indices(25, 8).tolist() == [1, 4, 7, 10, 13, 16, 19, 22]
    assert middle_indices(12, 16).tolist() == [*range(12), 11, 11, 11, 11]
    assert middle_indices(16, 8).tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert middle_indices(8, 8).tolist() == list(range(8))


def test_two_dimensions_share_one_forward_pass_of_one_encoder(world_clip):
    clip = world_clip("red", "circle", "left", "gray")
    encoder, features = MeanColour(), Features(clip)
    subject = SubjectConsistency(encoder).score(clip, features)
    assert subject == BackgroundConsistency(encoder).score(clip, features)
    assert encoder.calls == 1
    assert subject.value is not None and 0.9 < subject.value <= 1


def test_clips_that_are_scored_together_are_looked_at_together(world_clip):
    clips = [world_clip("red", "circle", "left", "gray"), world_clip("blue", "square", "still", "black")]
    encoder = MeanColour()
    records = score_clips([SubjectConsistency(encoder), BackgroundConsistency(encoder)], clips)
    assert encoder.calls == 1
    alone = [SubjectConsistency(encoder).score(clip, Features(clip)).value for clip in clips]
    assert [record.value for record in records] == [alone[0], alone[0], alone[1], alone[1]]


def test_a_cut_costs_consistency(world_clip):
    clip = world_clip("red", "circle", "still", "black")
    other = world_clip("cyan", "square", "still", "white")
    cut = Clip(clip.clip_id, clip.prompt, np.concatenate([clip.frames_THWC[:4], other.frames_THWC[:4]]), 8.0)
    whole, broken = (SubjectConsistency(MeanColour()).score(c, Features(c)).value for c in (clip, cut))
    assert whole == pytest.approx(1)
    assert broken is not None and broken < 0.8


def test_judges_give_their_own_cosines_and_carry_their_weights_in_their_id(judge_weights: Path, world_clip):
    import hashlib
    from importlib import metadata

    import torch

    clip = world_clip("red", "circle", "left", "gray")
    judge = load_video_judge(judge_weights / "judge_video")
    digest = hashlib.sha256((judge_weights / "judge_video" / "model.safetensors").read_bytes()).hexdigest()
    assert judge.encoder_id == f"embedded/judge-video@{digest[:8]}+torch{metadata.version('torch')}"
    score = OverallConsistency(judge).score(clip, Features(clip))
    frames_BTCHW = torch.from_numpy(clip.frames_THWC).permute(0, 3, 1, 2)[None].float() / 255
    expected = judge.model.score(frames_BTCHW, [clip.prompt.prompt]).item()
    assert score.value == pytest.approx(expected, abs=1e-6)


def test_a_judge_scores_frames_of_any_size_and_longer_clips(judge_weights: Path, world_clip):
    clip = world_clip("red", "circle", "left", "gray")
    large = Clip(clip.clip_id, clip.prompt, np.tile(clip.frames_THWC, (3, 2, 3, 1)), 8.0)
    image: ImageJudge = load_image_judge(judge_weights / "judge_image")
    for scorer in (SubjectConsistency(image), OverallConsistency(load_video_judge(judge_weights / "judge_video"))):
        value = scorer.score(large, Features(large)).value
        assert value is not None and -1 <= value <= 1


def test_one_frame_is_unscored(judge_weights: Path, world_clip):
    clip = world_clip("red", "circle", "left", "gray")
    one = Clip(clip.clip_id, clip.prompt, clip.frames_THWC[:1], 8.0)
    video = OverallConsistency(load_video_judge(judge_weights / "judge_video"))
    for scorer in (SubjectConsistency(MeanColour()), BackgroundConsistency(MeanColour()), video):
        assert scorer.score(one, Features(one)).unscored == TOO_SHORT

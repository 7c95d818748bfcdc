"""Are aesthetic quality and appearance style means over frames, and where does a style come from?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from tiny_encoders import bytes_of, tiny_aesthetic, tiny_clip

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, score_clips
from turbo_eval.scorers.vbench.aesthetic_quality import AestheticQuality
from turbo_eval.scorers.vbench.appearance_style import AppearanceStyle
from turbo_eval.scorers.vbench.auxiliary import auxiliary
from turbo_eval.scorers.vbench.encoders import ByteArray, FloatArray
from turbo_eval.vbench_suite import _merge
from turbo_train.errors import UserError


def clip_of(frames: ByteArray, attributes: Mapping[str, str] | None = None, number: int = 0) -> Clip:
    prompt = Prompt("p-0", "a snowy street, oil painting", attributes=attributes or {})
    return Clip(("model", "p-0", number), prompt, frames, 8.0)


class Brightness:
    """An honest little judge of beauty: the brighter the better, up to 10."""

    encoder_id = "test/brightness@1"

    def frame_scores(self, clips: Sequence[ByteArray]) -> list[FloatArray]:
        return [(clip.mean(axis=(1, 2, 3)) / 25.5).astype(np.float32) for clip in clips]


def test_aesthetic_quality_is_a_tenth_of_the_mean_rating():
    frames = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (0, 51, 255)])
    clip = clip_of(frames)
    assert AestheticQuality(Brightness()).score(clip, Features(clip)).value == pytest.approx((0 + 2 + 10) / 3 / 10)


def test_appearance_style_is_the_mean_cosine_with_the_style_and_not_with_the_prompt(tmp_path: Path):
    encoder = tiny_clip(tmp_path)
    frames = bytes_of(3, 40, 61, 3)
    style = {"appearance_style.appearance_style": "oil painting"}
    clip = clip_of(frames, style)
    (pictures,), text = encoder.picture_features([frames]), encoder.text_features("oil painting")
    cosines = [float(p @ text / np.linalg.norm(p) / np.linalg.norm(text)) for p in pictures]
    assert AppearanceStyle(encoder).score(clip, Features(clip)).value == pytest.approx(np.mean(cosines), abs=1e-6)


def test_what_cannot_be_scored_is_unscored_and_the_others_are_scored(tmp_path: Path):
    encoder, style = tiny_clip(tmp_path), {"appearance_style": "ukiyo-e"}
    frames = bytes_of(3, 40, 61, 3)
    clips = [clip_of(frames), clip_of(frames, style, 1), clip_of(frames[:1], style, 2)]
    without, scored, short = score_clips([AppearanceStyle(encoder)], clips)
    assert without.unscored == (
        "no auxiliary info 'appearance_style' for appearance_style; "
        "expected an attribute appearance_style.appearance_style of the prompt"
    )
    assert scored.value is not None and short.unscored == TOO_SHORT
    (one,) = score_clips([AestheticQuality(tiny_aesthetic(tmp_path))], [clip_of(frames[:1])])
    assert one.unscored == TOO_SHORT


def test_auxiliary_info_is_found_as_vbench_nests_it_and_by_its_plain_name():
    place = {"object_a": "cat", "object_b": "dog", "relationship": "on the left of"}
    info = {"scene": {"scene": {"scene": "alley"}}, "spatial_relationship": {"spatial_relationship": place}}
    info["appearance_style"] = {"appearance_style": "oil painting"}
    info["multiple_objects"] = {"object": "bird and cat"}
    (nested,) = _merge([{"prompt_en": "x", "dimension": list(info), "auxiliary_info": info}])
    plain = Prompt("p-0", "x", attributes={"scene": "alley", "object_b": "dog", "appearance_style": "oil painting"})
    for prompt in (nested, plain):
        assert auxiliary(prompt, "scene", "scene") == "alley"
        assert auxiliary(prompt, "spatial_relationship", "object_b") == "dog"
        assert auxiliary(prompt, "appearance_style", "appearance_style") == "oil painting"
    assert auxiliary(nested, "multiple_objects", "object") == "bird and cat"
    blank = Prompt("p-0", "x", attributes={"object_class.object": " ", "object": ""})
    for prompt, dimension in ((plain, "multiple_objects"), (nested, "object_class"), (blank, "object_class")):
        with pytest.raises(UserError, match=f"no auxiliary info 'object' for {dimension}"):
            auxiliary(prompt, dimension, "object")

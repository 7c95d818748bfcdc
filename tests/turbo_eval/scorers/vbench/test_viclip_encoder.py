"""Does ViCLIP see VBench's frames, and is one computation enough for two dimensions and many clips?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_encoders import VICLIP_SIZES, bytes_of, random_state, saved, tiny_viclip
from vbench_checkpoints import rows

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import TOO_SHORT, Clip, score_clips
from turbo_eval.scorers.vbench.encoders.transforms import clip_transform
from turbo_eval.scorers.vbench.encoders.viclip import ViClip
from turbo_eval.scorers.vbench.overall_consistency import OverallConsistency
from turbo_eval.scorers.vbench.temporal_style import TemporalStyle
from turbo_train.errors import UserError
from turbo_train.rewards.viclip import VICLIP_L_14
from turbo_train.rewards.viclip_net import new_viclip


def test_the_layout_is_the_published_one():
    with torch.device("meta"):
        net = new_viclip(VICLIP_L_14)
    assert {name: tuple(value.shape) for name, value in net.state_dict().items()} == {
        name: shape for name, shape, _ in rows("viclip")
    }


def test_features_are_those_of_the_rewards_network_on_vbenchs_pixels(tmp_path: Path):
    net = new_viclip(VICLIP_SIZES)
    net.load_state_dict(random_state(net))
    clips = [bytes_of(8, 40, 61, 3), bytes_of(8, 33, 32, 3, seed=1), bytes_of(8, 61, 40, 3, seed=2)]
    encoder = tiny_viclip(tmp_path)
    together = encoder.video_features(clips)
    encoder.rows = 1
    for clip, features in zip(clips, together, strict=True):
        with torch.inference_mode():
            expected = net.vision_encoder(clip_transform(torch.from_numpy(clip), 32, rounded=True)[None])[0].numpy()
        np.testing.assert_allclose(features, expected, rtol=2e-5, atol=2e-5)
        np.testing.assert_allclose(encoder.video_features([clip])[0], features, rtol=1e-5, atol=1e-5)


def test_two_dimensions_of_three_clips_see_each_clip_and_each_text_once(tmp_path: Path):
    encoder = tiny_viclip(tmp_path)
    encoder.load()
    seen: list[int] = []
    read: list[int] = []
    encoder._net.vision_encoder.register_forward_hook(lambda _, clips, __: seen.append(len(clips[0])))
    encoder._net.text_encoder.register_forward_hook(lambda _, ids, __: read.append(len(ids[0])))
    prompts = [Prompt("p-0", "a red car, zoom in"), Prompt("p-1", "a boat")]
    clips = [
        Clip(("model", prompt.prompt_id, number), prompt, bytes_of(length, 40, 61, 3, seed=number), 8.0)
        for number, (prompt, length) in enumerate(zip([*prompts, prompts[0]], [16, 25, 3], strict=True))
    ]
    records = score_clips([TemporalStyle(encoder), OverallConsistency(encoder)], clips)
    assert (seen, read) == ([2, 1], [1, 1])
    assert [record.metric for record in records] == ["temporal_style", "overall_consistency"] * 3
    values = [record.value for record in records]
    assert values[::2] == values[1::2] and len(set(values)) == 3
    assert all(value is not None and -1 <= value <= 1 for value in values)


def test_one_frame_is_no_video(tmp_path: Path):
    clip = Clip(("model", "p-0", 0), Prompt("p-0", "a boat"), bytes_of(1, 40, 61, 3), 8.0)
    encoder = tiny_viclip(tmp_path)
    assert {r.unscored for r in score_clips([TemporalStyle(encoder), OverallConsistency(encoder)], [clip])} == {
        TOO_SHORT
    }


def test_another_checkpoint_is_refused(tmp_path: Path):
    state = random_state(new_viclip(VICLIP_SIZES))
    with pytest.raises(UserError, match=r"differ from the 447 expected.*the published ViCLIP-L/14"):
        ViClip(saved(tmp_path, "viclip/ViClip-InternVid-10M-FLT.pth", state)).load()

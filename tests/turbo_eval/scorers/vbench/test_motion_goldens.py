"""Do RAFT and AMT-S give VBench's own numbers on the random checkpoints? At full size: minutes on two cores."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from vbench_checkpoints import CLIPS, ROW, write_plain

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import Clip, Features
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.dynamic_degree import TOP_SHARE, DynamicDegree, sampled_indices
from turbo_eval.scorers.vbench.encoders.amt import Amt
from turbo_eval.scorers.vbench.encoders.raft import Pictures, Raft, SeenFrames
from turbo_eval.scorers.vbench.encoders.speeds import clip_speeds
from turbo_eval.scorers.vbench.motion_smoothness import MotionSmoothness, smoothness
from turbo_train.video_io import read_video
from turbo_train.weights.table import find_file

GOLDEN = json.loads((CLIPS / "eleven_dimensions_four_clips.json").read_text(encoding="utf-8"))
pytestmark = pytest.mark.slow


def clip_of(name: str) -> Clip:
    video = read_video(CLIPS / name)
    return Clip(("m", "p", 0), Prompt(prompt_id="p", prompt="a prompt"), video.frames_THWC, video.fps)


@pytest.fixture(scope="module")
def raft(tmp_path_factory: pytest.TempPathFactory) -> Raft:
    path = write_plain("raft_things", tmp_path_factory.mktemp("raft"))
    encoder = Raft({find_file(ROW["raft_things"]): path})
    encoder.load()
    path.unlink()
    return encoder


@pytest.mark.parametrize("case", range(4))
def test_radii_and_verdicts(case: int, raft: Raft):
    golden = GOLDEN[spec.DYNAMIC_DEGREE]
    clip = clip_of(golden["videos"][case]["video_path"])
    features = Features(clip)
    pairs = list(pairwise(sampled_indices(len(clip.frames_THWC), clip.fps)))
    radii = [speeds.radius(TOP_SHARE) for speeds in clip_speeds(raft, features, pairs)]
    assert radii == pytest.approx(golden["intermediate"][case]["max_rad"], rel=2e-6)
    assert DynamicDegree(raft).score(clip, features).value == float(golden["videos"][case]["video_results"])


def test_at_full_size_a_frame_seen_alone_has_the_bits_that_it_has_in_torchvisions_pair(raft: Raft):
    pictures = Pictures(clip_of("a red car-1.mp4").frames_THWC, "cpu")
    with torch.inference_mode():
        net = raft._net
        assert net is not None
        seen = SeenFrames(net.feature_encoder)
        for number in range(2):
            seen.see(pictures, [number])
        assert torch.equal(seen.of([0, 1]), net.feature_encoder(torch.cat([pictures[0], pictures[1]])))


def test_differences_per_frame_and_scores(tmp_path: Path):
    golden, start = GOLDEN[spec.MOTION_SMOOTHNESS], 0
    path = write_plain("amt_s", tmp_path)
    amt = Amt({find_file(ROW["amt_s"]): path})
    amt.load()
    path.unlink()
    for video in golden["videos"]:
        clip = clip_of(video["video_path"])
        odd = clip.frames_THWC[1 : len(clip.frames_THWC) - 1 : 2]
        even = clip.frames_THWC[::2]
        middles = amt.middles(even[: len(odd)], even[1 : len(odd) + 1])
        differences = np.abs(middles.astype(np.int16) - odd).mean(axis=(1, 2, 3), dtype=np.float64)
        wanted = golden["intermediate"][start : start + len(odd)]
        assert differences == pytest.approx(wanted, rel=2e-6)
        assert smoothness(differences) == pytest.approx(video["video_results"], rel=1e-6)
        start += len(odd)
    assert start == len(golden["intermediate"])
    short = clip_of("a red car-1.mp4")
    short = Clip(short.clip_id, short.prompt, short.frames_THWC[:4], short.fps)
    value = MotionSmoothness(amt).score(short, Features(short)).value
    assert value == pytest.approx((255 - golden["intermediate"][-5]) / 255, rel=1e-6)

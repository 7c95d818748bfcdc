"""Is our temporal_flickering VBench's own, bit for bit?"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.temporal_flickering import TemporalFlickering, flickering
from turbo_train.video_io import read_video, write_mp4

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "vbench"

# vbench.utils imports decord's names, which this dimension never uses; they are set to None where decord is absent.
OFFICIAL = """
import importlib.util, json, sys, types
if importlib.util.find_spec("decord") is None:
    sys.modules["decord"] = types.SimpleNamespace(VideoReader=None, cpu=None)
from vbench.temporal_flickering import temporal_flickering
mean, videos = temporal_flickering(sys.argv[1:])
print(json.dumps([float(mean), [v["video_results"] for v in videos]]))
"""


def official(paths: list[Path]) -> tuple[float, list[float]]:
    done = subprocess.run(
        [sys.executable, "-c", OFFICIAL, *map(str, paths)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr
    mean, scores = json.loads(done.stdout.splitlines()[-1])
    return mean, scores


def test_the_installed_package_gives_the_same_bits(tmp_path: Path, world_clip):
    if find_spec("vbench") is None:
        pytest.skip("vbench is not installed (pip install --no-deps vbench==0.1.5)")
    noise = np.random.default_rng(0).integers(0, 256, (5, 50, 66, 3), dtype=np.uint8)
    clips = {"moving": world_clip("red", "circle", "left", "gray").frames_THWC, "noise": noise}
    paths = [GOLDEN / "a red car-1.mp4"]
    for name, frames in clips.items():
        paths.append(tmp_path / f"{name}.mp4")
        write_mp4(paths[-1], frames, 8)
    mean, scores = official(paths)
    ours = [flickering(read_video(path).frames_THWC) for path in paths]
    assert ours == scores
    assert float(np.mean(ours)) == mean


def test_the_reference_score_on_file_comes_out():
    golden = json.loads((GOLDEN / "eleven_dimensions_four_clips.json").read_text())[spec.TEMPORAL_FLICKERING]["videos"]
    expected = {v["video_path"]: v["video_results"] for v in golden}["a red car-1.mp4"]
    assert flickering(read_video(GOLDEN / "a red car-1.mp4").frames_THWC) == pytest.approx(expected, rel=1e-7)


def test_a_frozen_clip_has_one_and_a_clip_of_black_and_white_in_turn_has_zero(world_clip):
    still = world_clip("red", "circle", "still", "gray")
    assert flickering(still.frames_THWC) == 1.0
    blinking = np.zeros((4, 8, 8, 3), np.uint8)
    blinking[::2] = 255
    assert flickering(blinking) == 0.0


def test_one_frame_is_unscored(world_clip):
    clip = world_clip("red", "circle", "still", "gray")
    single = Clip(clip.clip_id, clip.prompt, clip.frames_THWC[:1], 8.0)
    score = TemporalFlickering().score(single, Features(single))
    assert (score.value, score.unscored) == (None, TOO_SHORT)

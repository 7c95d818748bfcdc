"""Are VBench's motion rules kept, and does OpenCV's flow see the world's motion?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.dynamic_degree import TOP_SHARE, DynamicDegree, is_dynamic, sampled_indices
from turbo_eval.scorers.vbench.encoders.dense_flow import OpenCvFlow, enlargement
from turbo_eval.scorers.vbench.encoders.speeds import Speeds
from turbo_eval.scorers.vbench.motion_smoothness import TOO_SHORT_TO_INTERPOLATE, MotionSmoothness, smoothness
from turbo_train.world.oracle import read
from turbo_train.world.scene import BACKGROUNDS, DIRECTION, MOTIONS

GOLDEN = json.loads(
    (Path(__file__).resolve().parents[2] / "golden" / "vbench" / "eleven_dimensions_four_clips.json").read_text()
)
FLOW = OpenCvFlow()


def shortened(clip: Clip, frames: int) -> Clip:
    return Clip(clip.clip_id, clip.prompt, clip.frames_THWC[:frames], clip.fps)


def by_counting(radii: list[float], num_frames: int, short_side_px: int) -> bool:
    """VBench's test without early exit, as its specification words it."""
    count = 0
    for r in radii:
        count += r > 6 * short_side_px / 256
        if count >= round(4 * num_frames / 16):
            return True
    return False


@pytest.mark.parametrize("case", range(4))
def test_verdicts_on_the_packages_own_radii(case: int):
    golden = GOLDEN[spec.DYNAMIC_DEGREE]
    params, radii = golden["intermediate"][case]["params"], golden["intermediate"][case]["max_rad"]
    short_side_px = round(params["thres"] * 256 / 6)
    assert 6.0 * short_side_px / 256 == params["thres"]
    assert round(4 * (len(radii) + 1) / 16) == params["count_num"]
    assert is_dynamic(radii, len(radii) + 1, short_side_px) == golden["videos"][case]["video_results"]


def test_the_early_exit_never_changes_a_verdict():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        frames = int(rng.integers(2, 30))
        radii = rng.choice([0.7, 0.8], size=frames - 1, p=[0.8, 0.2]).tolist()  # threshold of 32 px: 0.75
        assert is_dynamic(radii, frames, 32) == by_counting(radii, frames, 32)


def test_flow_is_measured_only_until_the_verdict_is_certain():
    asked = []
    assert is_dynamic((asked.append(r) or r for r in [9.0] * 15), 16, 32)
    assert len(asked) == 4
    asked.clear()
    assert not is_dynamic((asked.append(r) or r for r in [0.0] * 15), 16, 32)
    assert len(asked) == 12


def test_frames_are_taken_at_eight_a_second():
    assert list(sampled_indices(8, 8)) == list(range(8))
    assert list(sampled_indices(16, 24)) == [0, 3, 6, 9, 12, 15]
    assert list(sampled_indices(4, 1)) == [0, 1, 2, 3]
    assert list(sampled_indices(9, 20)) == [0, 2, 4, 6, 8]  # round(2.5) = 2: half to even


def test_the_radius_is_the_mean_of_the_fastest_twentieth():
    flow = np.zeros((10, 10, 2), np.float32)
    flow[0, :5] = (3.0, 4.0)
    assert Speeds.of(flow).radius(TOP_SHARE) == 5.0


def test_smoothness_of_the_packages_own_differences():
    golden = GOLDEN[spec.MOTION_SMOOTHNESS]
    differences, start = golden["intermediate"], 0
    for video, count in zip(golden["videos"], (7, 7, 12, 5), strict=True):
        assert smoothness(np.array(differences[start : start + count])) == pytest.approx(
            video["video_results"], rel=1e-12
        )
        start += count
    assert start == len(differences)


@pytest.mark.parametrize("motion", MOTIONS)
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_moving_things_are_dynamic_and_still_ones_are_not(motion: str, background: str, world_clip):
    for colour, shape in (("red", "circle"), ("purple", "square"), ("cyan", "triangle")):
        clip = world_clip(colour, shape, motion, background)
        assert DynamicDegree(FLOW).score(clip, Features(clip)).value == float(motion != "still")


@pytest.mark.parametrize("motion", ["left", "down"])
def test_flow_has_the_direction_and_the_speed_in_input_pixels(motion: str, world_clip):
    frames = world_clip("blue", "square", motion, "gray").frames_THWC
    flow = FLOW.flow(frames[3], frames[4])
    assert flow.shape == (32, 32, 2)
    dx, dy = DIRECTION[motion]
    along = flow @ np.array([dx, dy], np.float32)
    assert Speeds.of(flow).radius(TOP_SHARE) == pytest.approx(13 / 7, rel=0.15)
    assert np.sort(along, axis=None)[-50:].mean() == pytest.approx(13 / 7, rel=0.15)


def test_pixel_noise_on_a_still_clip_is_no_motion(world_clip):
    clip = world_clip("red", "circle", "still", "gray")
    noise = np.random.default_rng(0).normal(0, 0.02 * 255, clip.frames_THWC.shape)
    noisy = Clip(clip.clip_id, clip.prompt, np.clip(clip.frames_THWC + noise, 0, 255).astype(np.uint8), 8.0)
    assert DynamicDegree(FLOW).score(noisy, Features(noisy)).value == 0.0


def test_interpolation_along_the_flow_beats_the_mean_of_the_neighbours_and_jumps_cost(world_clip):
    clip = world_clip("red", "circle", "left", "black")
    frames = clip.frames_THWC
    blend = np.mean([np.abs(frames[k - 1] / 2 + frames[k + 1] / 2 - frames[k]).mean() for k in (1, 3, 5)])
    smooth = MotionSmoothness(FLOW).score(clip, Features(clip)).value
    assert smooth is not None and (1 - smooth) * 255 < blend / 3
    still = world_clip("red", "circle", "still", "black")
    assert MotionSmoothness(FLOW).score(still, Features(still)).value == 1.0
    jumping = Clip(clip.clip_id, clip.prompt, frames[[0, 7, 1, 6, 2, 5, 3, 4]], 8.0)
    value = MotionSmoothness(FLOW).score(jumping, Features(jumping)).value
    assert value is not None and value < smooth


def test_small_frames_are_enlarged_by_a_whole_factor():
    sides = {32: 4, 50: 2, 128: 1, 320: 1}
    assert {side: enlargement(np.zeros((side, 400, 3), np.uint8)) for side in sides} == sides


def test_the_same_clip_twice_gives_the_same_scores_and_large_odd_sizes_work():
    frames = np.random.default_rng(0).integers(0, 256, (4, 131, 67, 3), dtype=np.uint8)
    np.testing.assert_array_equal(FLOW.flow(frames[0], frames[1]), FLOW.flow(frames[0], frames[1]))
    assert FLOW.flow(frames[0], frames[1]).shape == (131, 67, 2)
    assert FLOW.middle(frames[0], frames[1]).shape == (131, 67, 3)
    np.testing.assert_array_equal(FLOW.middle(frames[0], frames[0]), frames[0])


def test_clips_that_are_too_short_are_unscored(world_clip):
    clip = world_clip("red", "circle", "left", "black")
    one, two = shortened(clip, 1), shortened(clip, 2)
    assert DynamicDegree(FLOW).score(one, Features(one)).unscored == TOO_SHORT
    assert DynamicDegree(FLOW).score(two, Features(two)).value == 1.0
    assert MotionSmoothness(FLOW).score(two, Features(two)).unscored == TOO_SHORT_TO_INTERPOLATE
    assert MotionSmoothness(FLOW).score(shortened(clip, 3), Features(clip)).value is not None
    fast = Clip(clip.clip_id, clip.prompt, clip.frames_THWC[:2], 30.0)
    assert DynamicDegree(FLOW).score(fast, Features(fast)).unscored == TOO_SHORT


def test_flow_half_way_frame_and_oracle_do_not_depend_on_the_number_of_threads(world_clip):
    import cv2

    clip = world_clip("red", "circle", "left", "gray").frames_THWC

    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (2, 24, 32, 3), dtype=np.uint8)
    pair = [cv2.resize(frame, (320, 256), interpolation=cv2.INTER_CUBIC) for frame in small]
    pair[1] = np.roll(pair[0], (3, 5), (0, 1)) // 2 + pair[1] // 2
    threads = cv2.getNumThreads()
    try:
        found = []
        for count in (1, 2, 7):
            cv2.setNumThreads(count)
            found.append((FLOW.flow(*pair).tobytes(), FLOW.middle(*pair).tobytes(), read(clip)))
    finally:
        cv2.setNumThreads(threads)
    assert found[0] == found[1] == found[2]

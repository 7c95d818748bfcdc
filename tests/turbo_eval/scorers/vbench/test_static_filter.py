"""Is the static filter VBench's rule, and do it and dynamic_degree share what they ask of the flow, and no more?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pytest

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, score_clips
from turbo_eval.scorers.vbench.dynamic_degree import DynamicDegree
from turbo_eval.scorers.vbench.encoders import ByteArray, FloatArray
from turbo_eval.scorers.vbench.encoders.dense_flow import OpenCvFlow
from turbo_eval.scorers.vbench.encoders.speeds import Speeds, clip_speeds
from turbo_eval.scorers.vbench.static_filter import StaticFilter, is_static

FLOW = OpenCvFlow()


def by_counting(consecutive: list[float], ends: list[float], num_frames: int, short_side_px: int) -> bool:
    """VBench's test without early exit, as its specification words it (its own check_static agreed on 4,000 cases)."""
    threshold = 3.0 * short_side_px / 256
    count_num = round(2 * num_frames / 16)
    if sum(r > threshold for r in consecutive) > count_num:
        return False
    return not (ends[0] > threshold * count_num * 2 or ends[1] > threshold * count_num * 2)


class Uniform:
    """A flow of one speed per pair: that of the pixel values' difference."""

    encoder_id = "test/uniform@1"

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def flows(self, frames_THWC: ByteArray, pairs: Sequence[tuple[int, int]]) -> Iterator[FloatArray]:
        for first, second in pairs:
            self.asked.append((first, second))
            step = float(frames_THWC[second].mean()) - float(frames_THWC[first].mean())
            yield np.full((*frames_THWC.shape[1:3], 2), step / np.sqrt(2), np.float32)


def clip_of(values: Sequence[int], fps: float = 8.0) -> Clip:
    """Frames of 32 px in one grey: the static filter's threshold is 0.375 px, dynamic_degree's 0.75."""
    frames = np.array(values, np.uint8)[:, None, None, None].repeat(32, 1).repeat(40, 2).repeat(3, 3)
    return Clip(("m", "p", 0), Prompt(prompt_id="p", prompt="a prompt"), frames, fps)


def test_the_early_exit_never_changes_a_verdict():
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(3000):
        frames, side = int(rng.integers(2, 34)), int(rng.choice([32, 320]))
        threshold = 3 * side / 256
        consecutive = (threshold * rng.choice([0.5, 1.0, 1.1], size=frames - 1, p=[0.8, 0.1, 0.1])).tolist()
        reach = 2 * threshold * round(2 * frames / 16)
        ends = (reach * rng.choice([0.5, 1.0, 1.1], size=2, p=[0.8, 0.1, 0.1])).tolist()
        verdicts.append(by_counting(consecutive, ends, frames, side))
        assert is_static(iter(consecutive), iter(ends), frames, side) == verdicts[-1]
    assert 500 < sum(verdicts) < 2500


@pytest.mark.parametrize(
    ("values", "static"),
    [
        ([9] * 16, True),
        ([9, 10] + [9] * 14, True),  # two of fifteen pairs move, which is allowed
        ([9, 10, 11, 10] + [10] * 12, False),  # three do
        ([9, 9, 10] + [12] * 13, False),  # two do, and the ends are 3 px apart: more than 4 x 0.375
        ([9, 10], False),
        ([9, 9], True),
    ],
)
def test_clips_whose_motion_is_known(values: list[int], static: bool):
    clip = clip_of(values)
    assert StaticFilter(Uniform()).score(clip, Features(clip)).value == float(static)


def test_no_more_pairs_are_asked_for_than_the_verdict_needs():
    moving, still = clip_of(range(9, 25)), clip_of([9] * 16)
    flow = Uniform()
    StaticFilter(flow).score(moving, Features(moving))
    assert flow.asked == [(0, 1), (1, 2), (2, 3)]
    flow = Uniform()
    StaticFilter(flow).score(still, Features(still))
    assert flow.asked == [*list(pairwise(range(14))), (0, 15), (15, 0)]  # two more could not make it three


def test_it_shares_pairs_with_dynamic_degree_and_every_frame_counts():
    clip, flow = clip_of([9] * 16), Uniform()
    records = score_clips([DynamicDegree(flow), StaticFilter(flow)], [clip])
    assert [(record.metric, record.value) for record in records] == [("dynamic_degree", 0.0), ("static_filter", 1.0)]
    assert len(flow.asked) == len(set(flow.asked)) == 13 + 2
    fast, flow = clip_of([9] * 16, fps=24.0), Uniform()
    score_clips([DynamicDegree(flow), StaticFilter(flow)], [fast])
    assert (0, 3) in flow.asked and (0, 1) in flow.asked


def test_what_is_kept_of_a_flow_gives_its_radii():
    rng = np.random.default_rng(0)
    for size in ((40, 50), (33, 67), (3, 4)):
        flow = rng.normal(size=(*size, 2)).astype(np.float32)
        magnitudes = sorted(np.hypot(flow[..., 0], flow[..., 1]).ravel().tolist())
        kept = Speeds.of(flow)
        assert len(kept.largest_px) <= max(1, 0.05 * len(magnitudes))
        for share in (0.05, 0.02):
            count = max(1, int(share * len(magnitudes)))
            assert kept.radius(share) == pytest.approx(np.mean(magnitudes[-count:]), rel=1e-6)


def test_a_pair_that_is_asked_for_twice_is_computed_once():
    clip, flow = clip_of([9, 10, 12]), Uniform()
    features = Features(clip)
    pairs = [(0, 1), (1, 2), (0, 1)]
    speeds = [pair.radius(0.05) for pair in clip_speeds(flow, features, pairs)]
    assert speeds == pytest.approx([1, 2, 1]) and flow.asked == [(0, 1), (1, 2)]
    list(clip_speeds(flow, features, [(1, 2), (0, 2)]))
    assert flow.asked == [(0, 1), (1, 2), (0, 2)]


@pytest.mark.parametrize("motion", ["still", "left"])
def test_still_things_are_static_and_moving_ones_are_not(motion: str, world_clip):
    clip = world_clip("red", "circle", motion, "gray")
    assert StaticFilter(FLOW).score(clip, Features(clip)).value == float(motion == "still")


def test_a_clip_of_one_frame_is_unscored():
    clip = clip_of([9])
    assert StaticFilter(Uniform()).score(clip, Features(clip)).unscored == TOO_SHORT

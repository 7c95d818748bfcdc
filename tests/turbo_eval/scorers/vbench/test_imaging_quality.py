"""Is imaging_quality the mean of its frames, as VBench's dimension has it?"""

from __future__ import annotations

import numpy as np
import pytest

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, score_clips
from turbo_eval.scorers.vbench.imaging_quality import ImagingQuality


class Brightness:
    """An honest little network: how bright a frame is, 0 to 100."""

    encoder_id = "test/brightness@1"

    def __init__(self) -> None:
        self.calls = 0

    def frame_scores(self, clips):
        self.calls += 1
        return [clip.mean(axis=(1, 2, 3), dtype=np.float32) / np.float32(2.55) for clip in clips]


def clip(*levels: int, number: int = 0) -> Clip:
    frames = np.stack([np.full((4, 6, 3), level, np.uint8) for level in levels])
    return Clip(("model", f"p-{number}", 0), Prompt(prompt_id=f"p-{number}", prompt="any"), frames, 8.0)


def test_the_score_is_the_mean_over_frames_in_hundredths():
    scorer, one = ImagingQuality(Brightness()), clip(0, 51, 255)
    assert scorer.score(one, Features(one)).value == pytest.approx((0 + 0.2 + 1) / 3, rel=1e-6)


def test_clips_are_scored_in_one_call_and_a_single_frame_is_unscored():
    scorer = ImagingQuality(Brightness())
    records = score_clips([scorer], [clip(255, 255), clip(0, 0, number=1), clip(9, number=2)])
    assert [record.value for record in records] == [pytest.approx(1.0), 0.0, None]
    assert records[2].unscored == TOO_SHORT and scorer.encoder.calls == 1

"""Does the rule of scene count captions as VBench does, and which frames are captioned?"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image
from vbench_checkpoints import CLIPS

from turbo_eval.records import Prompt
from turbo_eval.scorers import base
from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, open_clip, score_clips
from turbo_eval.scorers.vbench.encoders import middle_indices, squares
from turbo_eval.scorers.vbench.scene import Scene, says
from turbo_eval.scorers.vbench.spec import SCENE
from turbo_train.scaled_pictures import scale_pictures
from turbo_train.video_io import Video, read_video


@dataclass
class ByBrightness:
    """Says of a square whether it is dark, and keeps what it was shown."""

    encoder_id: str = "vbench/brightness@1-00000000+torch2"
    num_frames: int = 16
    side_px: int = 24
    shown: list[list[np.ndarray]] = field(default_factory=list)

    def captions(self, clips):
        self.shown.append(list(clips))
        return [["a darkroom" if frame.mean() < 100 else "" for frame in clip] for clip in clips]


def asked(place: str, number: int = 0) -> Prompt:
    attributes = {f"{SCENE}.{SCENE}.{SCENE}": place} if place else {}
    return Prompt(prompt_id=f"p-{number}", prompt=f"a {place}", dimensions=(SCENE,), attributes=attributes)


def clip(levels, place: str = "room", number: int = 0) -> Clip:
    frames = np.stack([np.full((20, 30, 3), level, np.uint8) for level in levels])
    return Clip(("model", f"p-{number}", 0), asked(place, number), frames, 8.0)


def value(one: Clip, **options) -> float | None:
    return Scene(ByBrightness(), **options).score(one, Features(one)).value


@pytest.mark.parametrize(
    ("caption", "place", "loosely", "strictly"),
    [
        ("a red bathroom", "bathroom", True, True),
        ("a red bathroom", "room", True, False),
        ("an indoor ice rink with people skating", "ice skating rink", True, True),
        ("an indoor ice rink with people", "ice skating rink", False, False),
        ("", "alley", False, False),
        ("a car wash", "car", True, True),
        ("a carpet", "car pet", True, False),
    ],
)
def test_every_word_of_the_place_is_in_the_caption(caption, place, loosely, strictly):
    assert says(caption, place) is loosely
    assert says(caption, place, strict=True) is strictly


def test_a_frame_counts_by_the_caption_of_a_third_of_its_number():
    dark, light = 0, 200
    # 16 frames: VBench looks at the first six, and at the sixth for the last frame only
    assert value(clip([dark] * 6 + [light] * 10)) == 1.0
    assert value(clip([light] * 6 + [dark] * 10)) == 0.0
    assert value(clip([dark] + [light] * 15)) == 3 / 16
    assert value(clip([light] * 5 + [dark] + [light] * 10)) == 1 / 16
    assert value(clip([light] * 6 + [dark] * 10, "darkroom"), strict=True) == 10 / 16
    assert value(clip([light] * 6 + [dark] * 10, "room"), strict=True) == 0.0
    one, encoder = clip([light] * 6 + [dark] * 10, "darkroom"), ByBrightness()
    features = Features(one)
    assert [Scene(encoder, strict=strict).score(one, features).value for strict in (False, True)] == [0.0, 10 / 16]


def test_only_the_frames_that_count_are_shown_in_one_call_for_all_clips():
    encoder = ByBrightness()
    clips = [clip(range(0, 240, 5), "room", 1), clip([7], "room", 2), clip([9] * 3, "", 3), clip([250, 3], "room", 4)]
    records = score_clips([Scene(encoder)], clips)
    assert [record.value for record in records] == [1.0, None, None, 13 / 16]
    assert records[1].unscored == TOO_SHORT and "scene" in str(records[2].unscored)
    ((first, last),) = encoder.shown  # the second and the third cost nothing
    assert first[:, 0, 0, 0].tolist() == (5 * middle_indices(48, 16)[:6]).tolist()
    assert last[:, 0, 0, 0].tolist() == [250, *[3] * 5]
    assert first.shape == (6, 24, 24, 3)


def test_strict_scores_have_an_id_of_their_own():
    assert Scene(ByBrightness()).scorer_id == "vbench/brightness@1-00000000+torch2"
    assert Scene(ByBrightness(), strict=True).scorer_id == "vbench/brightness@1-00000000-strict+torch2"


def test_a_clip_is_decoded_once_and_its_squares_come_from_the_decoders_pictures(monkeypatch):
    calls = []
    monkeypatch.setattr(base, "read_video", lambda path: (calls.append(path.name), read_video(path))[1])
    opened = open_clip(CLIPS / "a red car-1.mp4", ("model", "p-0", 0), asked("alley"))
    assert isinstance(opened, Clip)
    got = squares(opened, [0, 3, 3], 384)
    assert calls == ["a red car-1.mp4"]
    np.testing.assert_array_equal(got, scale_pictures([opened.pictures[n] for n in (0, 3, 3)], 384, 384))
    from_rgb = Image.fromarray(opened.frames_THWC[0]).resize((384, 384), Image.Resampling.BILINEAR)
    assert np.abs(got[0].astype(int) - np.asarray(from_rgb)).max() > 2  # which is why pictures are kept


def test_a_clip_without_pictures_is_resized_by_pil():
    frames = np.random.default_rng(0).integers(0, 256, (4, 40, 50, 3), np.uint8)
    video = Video(frames, 8.0)
    gif = Clip(("model", "p-0", 0), asked("alley"), video.frames_THWC, video.fps, video.pictures)
    got = squares(gif, [2, 0], 16)
    for square, number in zip(got, (2, 0), strict=True):
        want = Image.fromarray(frames[number]).resize((16, 16), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(square, np.asarray(want))

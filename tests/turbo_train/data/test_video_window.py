"""Does a window hold the very frames that the whole clip has there?"""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from turbo_train.video_io import UnreadableVideo, read_video, read_window


@pytest.mark.parametrize("name", ["carphone_pristine", "carphone_distorted", "bikes"])
def test_a_window_is_that_part_of_the_clip(real_clips: dict[str, Path], name: str) -> None:
    whole = read_video(real_clips[name])
    count = len(whole.frames_THWC)
    data = real_clips[name].read_bytes()
    for wanted in (range(0, 32, 2), range(13, 13 + 48, 3), range(count - 32, count, 2), range(count - 1, count)):
        seen = []

        def choose(frames: int, fps: float, wanted: range = wanted, seen: list[object] = seen) -> range:
            seen.append((frames, fps))
            return wanted

        video = read_window(io.BytesIO(data), choose)
        assert seen == [(count, whole.fps)]
        np.testing.assert_array_equal(video.frames_THWC, whole.frames_THWC[wanted.start : wanted.stop : wanted.step])
        assert video.fps == pytest.approx(whole.fps / wanted.step)


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "mpeg4"), (".webm", "libvpx-vp9"), (".gif", "gif")])
def test_other_containers(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "rgb8" if suffix == ".gif" else "yuv420p"
        for level in range(0, 240, 20):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        container.mux(stream.encode())
    whole = read_video(path).frames_THWC
    np.testing.assert_array_equal(read_window(path, lambda n, fps: range(5, 11, 2)).frames_THWC, whole[5:11:2])


def test_a_clip_that_is_cut_off_is_refused_whatever_is_wanted(real_clips: dict[str, Path], tmp_path: Path) -> None:
    data = real_clips["carphone_pristine"].read_bytes()
    for size in (0, 100, len(data) // 2, len(data) - 5000):
        with pytest.raises(UnreadableVideo, match=r"^found a\.tar/x is "):
            read_window(io.BytesIO(data[:size]), lambda n, fps: range(1), "a.tar/x")
    with pytest.raises(UnreadableVideo, match="does not exist"):
        read_window(tmp_path / "a.mp4", lambda n, fps: range(1))


def test_what_choose_raises_comes_through_before_anything_is_decoded(real_clips: dict[str, Path]) -> None:
    def choose(frames: int, fps: float) -> range:
        raise LookupError(f"{frames} frames")

    with pytest.raises(LookupError, match="120 frames"):
        read_window(real_clips["carphone_pristine"], choose)

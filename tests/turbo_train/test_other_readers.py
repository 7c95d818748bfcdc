"""Do we see what OpenCV sees in a file: pixels, turned pictures, frames per second?"""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from turbo_train.video_io import read_video, read_window

Frames = NDArray[np.uint8]
FRAMES: Frames = np.random.default_rng(0).integers(0, 256, (6, 8, 12, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
TICKS = 240  # of a second
BT709, FULL_RANGE = 1, 2  # ITU-T H.273


def write(path: Path, pix_fmt: str = "yuv420p", times: list[int] | None = None, **tags: int) -> Path:
    """H.264 by PyAV alone; times: of the frames, in ticks."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.height, stream.width, stream.pix_fmt = FRAMES.shape[1], FRAMES.shape[2], pix_fmt
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        if times:
            stream.codec_context.time_base = Fraction(1, TICKS)
        for number, frame in enumerate(FRAMES):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if times:
                picture.pts, picture.time_base = times[number], Fraction(1, TICKS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def turned(path: Path, matrix: tuple[int, ...]) -> Path:
    """The file with another display matrix in its track header (ISO/IEC 14496-12, section 8.3.2)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 4 + 20 + 16
    data[start : start + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)
    return path


def seen_by_opencv(path: Path) -> tuple[Frames, float]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (found := capture.read())[0]:
        frames.append(found[1][..., ::-1])
    return np.stack(frames), capture.get(cv2.CAP_PROP_FPS)


@pytest.mark.parametrize(
    ("pix_fmt", "tags"),
    [
        ("yuv420p", {}),
        ("yuv420p", {"colorspace": BT709, "color_primaries": BT709, "color_trc": BT709}),
        ("yuv420p", {"color_range": FULL_RANGE}),
        ("yuv422p", {}),
        ("yuv444p", {}),
    ],
)
def test_pixels_are_opencvs(tmp_path: Path, pix_fmt: str, tags: dict[str, int]) -> None:
    path = write(tmp_path / "a.mp4", pix_fmt, **tags)
    np.testing.assert_array_equal(read_video(path).frames_THWC, seen_by_opencv(path)[0])


ONE, W = 1 << 16, 1 << 30
TURNS = [(0, ONE, 0, -ONE, 0, 0, 0, 0, W), (-ONE, 0, 0, 0, -ONE, 0, 0, 0, W), (0, -ONE, 0, ONE, 0, 0, 0, 0, W)]


@pytest.mark.parametrize("matrix", TURNS)
def test_a_turned_clip_is_seen_as_it_is_played(tmp_path: Path, matrix: tuple[int, ...]) -> None:
    path = turned(write(tmp_path / "a.mp4"), matrix)
    expected, _ = seen_by_opencv(path)
    assert expected.shape[1:3] == ((96, 64) if matrix[0] == 0 else (64, 96))
    np.testing.assert_array_equal(read_video(path).frames_THWC, expected)
    window = read_window(path, lambda count, fps: range(1, count, 2)).frames_THWC
    np.testing.assert_array_equal(window, expected[1::2])


def test_frames_that_come_unevenly_have_opencvs_rate(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", times=[0, 10, 30, 90, 100, 220])
    frames, fps = seen_by_opencv(path)
    video = read_video(path)
    assert len(frames) == len(video.frames_THWC) == len(FRAMES)
    assert video.fps == pytest.approx(fps, rel=1e-6)

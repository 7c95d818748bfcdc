"""Are a decoder's pictures scaled as decord scales them, and turned as the frames are?"""

from __future__ import annotations

import hashlib
from fractions import Fraction
from itertools import cycle
from pathlib import Path

import av
import numpy as np
import pytest
from vbench_checkpoints import CLIPS

from turbo_train.scaled_pictures import scale_pictures
from turbo_train.video_io import read_video, read_window, write_mp4

# sha256 of VideoReader(path, width=384, height=384, num_threads=1).get_batch(range(len)).asnumpy() of decord 0.6.0.
DECORD = {
    "a person is surfing-0.mp4": "9dce2f1ab69e2d3cdf78623fd423ffa0f09279159fd82be7680c72b906afcb62",
    "a person is surfing-1.mp4": "a337a1176a7f4c100bafdf6ba78bfbbd461da8e9455e33d80855d6d1bf439dfd",
    "a red car-0.mp4": "3f2301815de00d84600196f587cfac5f41923f9cd4bdc8e3599128ba3c07e964",
    "a red car-1.mp4": "3dee67da6d0c9766c1b714ebe3b6a23ee8ea50f3404c6e9bcc741a4ad238cdc4",
}
ONE, W = 1 << 16, 1 << 30
MATRICES = {  # of a track header: ISO/IEC 14496-12, section 8.3.2
    90: (0, ONE, 0, -ONE, 0, 0, 0, 0, W),
    180: (-ONE, 0, 0, 0, -ONE, 0, 0, 0, W),
    270: (0, -ONE, 0, ONE, 0, 0, 0, 0, W),
}


@pytest.mark.parametrize("name", DECORD)
def test_a_golden_clips_squares_are_decords(name: str) -> None:
    squares = scale_pictures(read_video(CLIPS / name).pictures, 384, 384)
    assert squares.shape[1:] == (384, 384, 3)
    assert hashlib.sha256(np.ascontiguousarray(squares).tobytes()).hexdigest() == DECORD[name]


def test_some_pictures_in_any_order_and_twice() -> None:
    pictures = read_video(CLIPS / "a red car-1.mp4").pictures
    stamps = [picture.pts for picture in pictures]
    every = scale_pictures(pictures, 40, 64)
    assert every.shape == (12, 40, 64, 3)
    np.testing.assert_array_equal(scale_pictures([pictures[n] for n in (7, 2, 2, 11)], 40, 64), every[[7, 2, 2, 11]])
    assert [picture.pts for picture in pictures] == stamps


def corners(count: int = 3) -> np.ndarray:
    frames = np.full((count, 64, 96, 3), 90, np.uint8)
    frames[:, :24, :40] = (230, 40, 40)
    frames[:, 40:, 64:] = (40, 230, 40)
    return frames


@pytest.mark.parametrize("degrees", MATRICES)
def test_a_turned_clip_comes_upright(tmp_path: Path, degrees: int) -> None:
    path = tmp_path / "turned.mp4"
    write_mp4(path, corners(), 8.0)
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 4 + 20 + 16
    data[start : start + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in MATRICES[degrees])
    path.write_bytes(data)
    video = read_video(path)
    height, width = video.frames_THWC.shape[1:3]
    assert (height, width) == ((64, 96) if degrees == 180 else (96, 64))
    scaled = scale_pictures(video.pictures, height, width).astype(int)
    assert np.abs(scaled - video.frames_THWC).mean() < 3 < np.abs(scaled[:, ::-1, ::-1] - video.frames_THWC).mean()


def write_tagged(path: Path, codec: str, formats: tuple[str, ...], colorspace: int, color_range: int) -> None:
    """Frames in these formats in turn, the first one's encoder being the stream's."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8)
        encoders = [stream.codec_context, *(av.CodecContext.create(codec, "w") for _ in formats[1:])]
        for encoder, name in zip(encoders, formats, strict=True):
            encoder.height, encoder.width, encoder.pix_fmt, encoder.time_base = 64, 96, name, Fraction(1, 8)
            encoder.colorspace, encoder.color_range = colorspace, color_range
        packets = []
        for number, (rgb, encoder) in enumerate(zip(corners(), cycle(encoders), strict=False)):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
                format=encoder.pix_fmt, dst_colorspace=colorspace, dst_color_range=color_range
            )
            frame.pts, frame.time_base = number, encoder.time_base
            packets += encoder.encode(frame)
        for packet in [*packets, *(late for encoder in encoders for late in encoder.encode(None))]:
            packet.stream = stream
            container.mux(packet)


BT709, BT601, LIMITED, FULL = 1, 5, 1, 2


@pytest.mark.parametrize(
    ("name", "codec", "formats", "colorspace", "color_range"),
    [
        ("bt709.mp4", "libx264", ("yuv444p",), BT709, LIMITED),
        ("full.mp4", "libx264", ("yuv444p",), BT709, FULL),
        ("ten-bits.mp4", "libx264", ("yuv444p10le",), BT601, LIMITED),
        ("lossless.mp4", "libx264rgb", ("rgb24",), 0, FULL),
        ("alpha.avi", "png", ("rgba",), 0, FULL),
        ("changing.avi", "mjpeg", ("yuvj444p", "yuvj420p"), BT601, FULL),
    ],
)
def test_squares_have_the_frames_colours_whatever_the_files_format(
    tmp_path: Path, name: str, codec: str, formats: tuple[str, ...], colorspace: int, color_range: int
) -> None:
    write_tagged(tmp_path / name, codec, formats, colorspace, color_range)
    video = read_video(tmp_path / name)
    scaled = scale_pictures(video.pictures, 64, 96).astype(int)
    assert np.abs(scaled - video.frames_THWC).mean() < 0.1
    assert np.abs(scaled - corners()).mean() < 1


def test_pictures_come_with_whole_clips_only_and_are_counted(tmp_path: Path) -> None:
    video = read_video(CLIPS / "a red car-1.mp4")
    assert len(video.pictures) == len(video.frames_THWC)
    assert 1.5 <= video.nbytes / video.frames_THWC.nbytes < 1.7  # 4:2:0 beside RGB, rows padded
    assert "pictures" not in repr(video)
    assert read_window(CLIPS / "a red car-1.mp4", lambda n, fps: range(3)).pictures == ()
    path = tmp_path / "a.gif"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("gif", rate=10)
        stream.height, stream.width, stream.pix_fmt = 64, 96, "rgb8"
        for frame in corners():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="rgb8")))
        container.mux(stream.encode())
    assert read_video(path).pictures == ()

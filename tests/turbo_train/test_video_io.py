"""Does a clip survive the way to a file and back, and does a broken file say so?"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from turbo_train.errors import UserError
from turbo_train.video_io import VIDEO_SUFFIXES, UnreadableVideo, read_video, write_mp4

Frames = NDArray[np.uint8]
ENCODERS = {".avi": ("mpeg4", "yuv420p"), ".gif": ("gif", "rgb8"), ".webm": ("libvpx-vp9", "yuv420p")}


def smooth_frames(frames: int = 8, height: int = 32, width: int = 48) -> Frames:
    """A grey gradient that moves: no colour edges, so chroma at half resolution loses nothing."""
    t, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    grey = (100 + 60 * np.sin((x + 2 * t) / 9) + 40 * np.cos(y / 7)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def noise_frames(frames: int, height: int, width: int) -> Frames:
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def write_other(path: Path, frames: Frames) -> Path:
    """A file of another container, by PyAV alone."""
    codec, pix_fmt = ENCODERS[path.suffix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pix_fmt
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=pix_fmt)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def psnr_db(a: Frames, b: Frames) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2)))


@pytest.mark.parametrize("frames", [1, 2, 8, 40])
def test_lossless_keeps_every_pixel(tmp_path: Path, frames: int) -> None:
    clip = noise_frames(frames, 33, 47)
    write_mp4(tmp_path / "a.mp4", clip, 8.0, lossless=True)
    video = read_video(tmp_path / "a.mp4")
    np.testing.assert_array_equal(video.frames_THWC, clip)
    assert video.fps == 8.0


def test_default_quality_is_visually_the_same(tmp_path: Path) -> None:
    clip = smooth_frames()
    write_mp4(tmp_path / "a.mp4", clip, 8.0)
    video = read_video(tmp_path / "a.mp4")
    assert video.frames_THWC.shape == clip.shape and video.frames_THWC.dtype == np.uint8
    assert psnr_db(video.frames_THWC, clip) > 40


@pytest.mark.parametrize("fps", [1.0, 8.0, 24.0, 25.0, 30000 / 1001])
def test_frame_rate_survives(tmp_path: Path, fps: float) -> None:
    write_mp4(tmp_path / "a.mp4", smooth_frames(3), fps)
    assert read_video(tmp_path / "a.mp4").fps == pytest.approx(fps, rel=1e-6)


@pytest.mark.parametrize("lossless", [False, True])
def test_same_frames_same_bytes_whatever_the_name(tmp_path: Path, lossless: bool) -> None:
    for name in ("a.mp4", "deeper/b.mp4"):
        write_mp4(tmp_path / name, smooth_frames(), 8.0, lossless=lossless)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "deeper" / "b.mp4").read_bytes()


def test_nothing_but_the_clip_is_left(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", smooth_frames(), 8.0)
    write_mp4(tmp_path / "a.mp4", smooth_frames(4), 8.0)  # in place of the first
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert len(read_video(tmp_path / "a.mp4").frames_THWC) == 4


def test_a_failed_write_leaves_the_old_clip(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", smooth_frames(), 8.0)
    before = (tmp_path / "a.mp4").read_bytes()
    with pytest.raises(ValueError, match="no-such-codec"):
        write_mp4(tmp_path / "a.mp4", smooth_frames(4), 8.0, codec="no-such-codec")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == before


def test_odd_sizes_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found frames of 33x32 px .*; expected an even width") as error:
        write_mp4(tmp_path / "a.mp4", smooth_frames(width=33), 8.0)
    assert error.value.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot be written .*; expected a folder that you may write to") as error:
        write_mp4(tmp_path / "file" / "a.mp4", smooth_frames(), 8.0)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    "frames",
    [smooth_frames().astype(np.float32), smooth_frames()[..., :1], smooth_frames()[0], smooth_frames()[:0]],
    ids=["float", "grey", "one picture", "no frames"],
)
def test_arrays_that_are_no_clip_are_refused(tmp_path: Path, frames: Frames) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        write_mp4(tmp_path / "a.mp4", frames, 8.0)


@pytest.mark.parametrize("suffix", sorted(ENCODERS))
def test_other_containers_are_read(tmp_path: Path, suffix: str) -> None:
    clip = smooth_frames()
    video = read_video(write_other(tmp_path / f"a{suffix}", clip))
    assert suffix in VIDEO_SUFFIXES
    assert video.frames_THWC.shape == clip.shape
    assert video.fps == pytest.approx(10)
    assert psnr_db(video.frames_THWC, clip) > 20  # rgb8 of the GIF keeps 3, 3 and 2 bits of a pixel


def test_clips_of_the_real_world(real_clips: dict[str, Path]) -> None:
    expected = {
        "bikes": ((250, 272, 640, 3), 25.0),
        "carphone_distorted": ((120, 144, 176, 3), 30000 / 1001),
        "carphone_pristine": ((120, 144, 176, 3), 30000 / 1001),
    }
    found = {name: read_video(real_clips[name]) for name in expected}
    assert {name: (video.frames_THWC.shape, video.fps) for name, video in found.items()} == expected
    pristine, distorted = found["carphone_pristine"].frames_THWC, found["carphone_distorted"].frames_THWC
    assert 15 < psnr_db(pristine, distorted) < 35  # the same scene, coded at 14 kbit/s


def test_sound_beside_the_pictures_does_not_matter(real_clips: dict[str, Path]) -> None:
    path = real_clips["bigbuckbunny"]
    with av.open(str(path)) as container:
        assert container.streams.audio
    assert read_video(path).frames_THWC.shape == (132, 720, 1280, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"<html>404: not found</html>" * 40, "is not a video"),
        (bytes(4096), "is not a video"),
    ],
)
def test_files_that_are_no_video(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "clip.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableVideo, match=message) as error:
        read_video(path)
    assert error.value.exit_code == 2
    assert str(path) in error.value.found
    assert error.value.expected and error.value.run_next


def test_a_folder_and_a_file_of_sound_are_no_videos(tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideo, match="is a folder"):
        read_video(tmp_path)
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        container.mux(stream.encode(silence))
        container.mux(stream.encode())
    with pytest.raises(UnreadableVideo, match="has no video stream"):
        read_video(tmp_path / "sound.mp4")


def test_a_container_without_frames(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        container.start_encoding()
    with pytest.raises(UnreadableVideo, match=r"has no frames|is cut off|is not a video"):
        read_video(tmp_path / "a.avi")


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
def test_a_cut_file_is_never_a_shorter_clip(tmp_path: Path, suffix: str) -> None:
    """Cut anywhere: either it is refused, or only an index behind the frames is lost and every frame is there."""
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".mp4":
        write_mp4(whole, smooth_frames(), 8.0)
    else:
        write_other(whole, smooth_frames())
    data, frames, refused = whole.read_bytes(), read_video(whole).frames_THWC, 0
    cuts = range(1, len(data), max(1, len(data) // 60))
    for size in cuts:
        cut = tmp_path / f"cut{suffix}"
        cut.write_bytes(data[:size])
        try:
            np.testing.assert_array_equal(read_video(cut).frames_THWC, frames)
        except UnreadableVideo:
            refused += 1
    assert refused >= 0.9 * len(cuts)


def test_a_cut_mp4_says_how_much_is_left(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", noise_frames(8, 32, 32), 8.0)
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(UnreadableVideo, match=r"is cut off or damaged: [1-7] of 8 frames decode"):
        read_video(tmp_path / "a.mp4")

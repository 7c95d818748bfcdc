"""How does a clip become a file, and a file a clip again?

Writing: H.264 in mp4 through PyAV; the same frames give the same bytes (one thread, no time stamps, no version
strings), and a file under its final name is always whole (temporary name, fsync, rename).
Reading: every frame or none. A file whose header promises more than can be decoded is an UnreadableVideo, never
a shorter clip: a score of half a clip would be a wrong number. Training wants a few frames of a long clip: a window is
decoded from the key frame before it, out of a file whose frames are all there.
Shape legend: T frames, H, W pixels, C = 3 (RGB, uint8).
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from turbo_train.errors import UserError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

VIDEO_SUFFIXES = (".avi", ".gif", ".mp4", ".webm")

GIF_IMAGE, GIF_TRAILER = 0x2C, 0x3B  # GIF89a specification, sections 20 and 27
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
MICROSECONDS_PER_S = 1_000_000  # the unit of a container's duration (AV_TIME_BASE)

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Video:
    """A decoded clip. frames_THWC: uint8 RGB, at least one frame. fps: frames per second of playing time.

    pictures: the decoder's own, one a frame, where all were read of another format than GIF (scaled_pictures.py).
    """

    frames_THWC: Frames
    fps: float
    pictures: tuple[VideoFrame, ...] = field(default=(), compare=False, repr=False)

    @property
    def nbytes(self) -> int:
        """What it holds in memory."""
        planes = (plane.buffer_size for picture in self.pictures for plane in picture.planes)
        return self.frames_THWC.nbytes + sum(planes)


class UnreadableVideo(UserError):
    """A file that cannot be decoded as a whole clip."""


def write_mp4(
    path: Path,
    frames_THWC: Frames,
    fps: float,
    *,
    crf: int = 10,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    lossless: bool = False,
) -> None:
    """Write a clip whole or not at all; missing folders are made. Arguments and errors as in `encode_mp4`.

    Raises UserError also for a place that cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            encode_mp4(partial, frames_THWC, fps, crf=crf, codec=codec, pix_fmt=pix_fmt, lossless=lossless)
            sync(partial)
            partial.replace(path)
            sync(path.parent)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        raise UserError(
            found=f"{path} cannot be written ({os.strerror(error.errno or 0)})",
            expected="a folder that you may write to",
            run_next="the same command with another output folder",
        ) from error


def encode_mp4(
    path: Path,
    frames_THWC: Frames,
    fps: float,
    *,
    crf: int = 10,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    lossless: bool = False,
) -> None:
    """Encode (T, H, W, 3) uint8 RGB frames into a file, T >= 1, fps > 0. A kill leaves half a file: see `write_mp4`.

    crf: x264's constant rate factor, 0 to 51, smaller is better. lossless: keep every pixel (libx264rgb, qp 0;
    few browsers play it); crf, codec and pix_fmt then do not apply.
    Raises UserError for odd sizes (chroma of yuv420p is shared by 2x2 pixels), ValueError for frames that are not
    such an array, OSError.
    """
    frames = np.ascontiguousarray(frames_THWC)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise ValueError(f"frames are {frames.dtype} {frames.shape}; expected uint8 (T >= 1, H, W, 3)")
    if not fps > 0:
        raise ValueError(f"fps is {fps}; expected a positive number")
    if lossless:
        codec, pix_fmt, quality = "libx264rgb", "rgb24", {"qp": "0"}
    else:
        quality = {"crf": str(crf)}
    height, width = frames.shape[1:3]
    if pix_fmt == "yuv420p" and (height % 2 or width % 2):
        raise UserError(
            found=f"frames of {width}x{height} px for {path}",
            expected="an even width and an even height (yuv420p stores colour per 2x2 pixels)",
            run_next="a size that is a multiple of 2",
        )
    _encode(path, frames, fps, codec, pix_fmt, quality)


def _encode(path: Path, frames: Frames, fps: float, codec: str, pix_fmt: str, quality: dict[str, str]) -> None:
    import av

    options = {"fflags": "+bitexact", "movflags": "+faststart"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        # One thread: x264 splits frames by thread count, so the bytes would depend on the machine.
        settings = {"threads": "1", "flags": "+bitexact", **quality}
        stream: Any = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=settings)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pix_fmt
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def sync(path: Path) -> None:
    """Wait until a file or a folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_video(path: Path) -> Video:
    """Decode every frame of the first video stream of an mp4, gif, avi or webm file.

    Raises UnreadableVideo for a file that is missing, empty, not a video, without frames, or cut off.
    """
    import av

    _check_file(path)
    try:
        with av.open(str(path)) as container:
            return _decode(path, container)
    except av.error.FFmpegError as error:
        raise _unreadable(path, f"is not a video, or is cut off ({error.strerror})") from error


def read_window(file: Path | BinaryIO, choose: Callable[[int, float], range], name: str = "") -> Video:
    """Decode some frames of a clip: of n frames at native fps those that choose(n, fps) names, in ascending order.

    name: what messages call a file without a path. The Video's fps is that of the frames taken.
    Raises UnreadableVideo as read_video does, but notices damage inside frames only where it decodes them, and a cut
    GIF not at all; and whatever `choose` raises, before anything is decoded.
    """
    import av

    if isinstance(file, Path):
        _check_file(file)
    called = name or str(file)
    try:
        with av.open(str(file) if isinstance(file, Path) else file, "r") as container:
            return _decode_window(called, container, choose)
    except av.error.FFmpegError as error:
        raise _unreadable(called, f"is not a video, or is cut off ({error.strerror})") from error


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise _unreadable(path, "is a folder" if path.is_dir() else "does not exist")
    if not path.stat().st_size:
        raise _unreadable(path, "is empty (0 bytes)")


def _decode_window(name: str, container: InputContainer, choose: Callable[[int, float], range]) -> Video:
    import av

    if not container.streams.video:
        raise _unreadable(name, "has no video stream")
    stream = container.streams.video[0]
    packets = [packet for packet in container.demux(stream) if packet.size]
    shown = [packet for packet in packets if not packet.is_discard]
    if not shown:
        raise _unreadable(name, "has no frames")
    ends = (float((p.pts + (p.duration or 0)) * p.time_base) for p in packets if p.pts is not None)
    damaged = container.format.name != "gif" and _stops_early(Path(name), container, max(ends, default=0.0))
    if damaged or len(packets) < stream.frames or any(packet.is_corrupt for packet in packets):
        of = f" of {stream.frames}" if len(packets) < stream.frames else ""
        raise _unreadable(name, f"is cut off or damaged: {len(packets)}{of} frames are there")
    fps = float(stream.average_rate or stream.guessed_rate or 0)
    wanted = choose(len(shown), fps)
    to_rgb = av.video.reformatter.VideoReformatter()
    frames = [_upright(to_rgb, frame) for frame in _frames_at(stream, packets, wanted) if not frame.is_corrupt]
    if len(frames) < len(wanted):
        raise _unreadable(name, f"is damaged: {len(frames)} of {len(wanted)} frames decode from {wanted.start} on")
    return _video(name, frames, fps / wanted.step)


def _frames_at(stream: VideoStream, packets: Sequence[Packet[VideoStream]], wanted: range) -> Iterator[VideoFrame]:
    """The frames of these numbers, in the order in which they are shown; that of the packets may be another."""
    times = [packet.pts for packet in packets if not packet.is_discard]
    known = sorted({time for time in times if time is not None})
    timed, first, number = len(known) == len(times), 0, -1  # an avi has no times: its frames are counted
    if timed:
        begin = known[wanted[0]]
        before = (i for i, p in enumerate(packets) if p.is_keyframe and p.pts is not None and p.pts <= begin)
        first = max(before, default=0)
    for packet in (*packets[first:], None):
        for frame in stream.decode(packet):
            number = bisect_left(known, frame.pts) if timed and frame.pts is not None else number + 1
            if number in wanted:
                yield frame
            if number >= wanted[-1]:
                return


def _upright(to_rgb: VideoReformatter, frame: VideoFrame) -> Frames:
    """RGB as a player shows it: turned by the container's display matrix, as OpenCV and decord turn it."""
    picture = np.asarray(to_rgb.reformat(frame, format="rgb24").to_ndarray(), np.uint8)
    return np.rot90(picture, round(frame.rotation / 90) % 4) if frame.rotation else picture


def _decode(path: Path, container: InputContainer) -> Video:
    import av

    if not container.streams.video:
        raise _unreadable(path, "has no video stream")
    stream = container.streams.video[0]
    frames: list[Frames] = []
    pictures: list[VideoFrame] = []
    to_rgb = av.video.reformatter.VideoReformatter()  # one for all frames: each would set up its own
    end_s, hidden, damaged = 0.0, 0, False  # hidden: decoded but outside the edit list, so not part of the clip
    try:
        for packet in container.demux(stream):
            hidden += packet.is_discard
            damaged |= packet.is_corrupt
            pictures += (decoded := packet.decode())
            frames += [_upright(to_rgb, picture) for picture in decoded]
            if packet.pts is not None:
                end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    except av.error.FFmpegError:
        damaged = True
    promised = stream.frames - hidden  # by the header of mp4 and avi; webm and gif have no count
    if not frames and not damaged and promised <= 0:
        raise _unreadable(path, "has no frames")
    if damaged or len(frames) < promised or _stops_early(path, container, end_s):
        of = f" of {promised}" if promised > len(frames) else ""
        raise _unreadable(path, f"is cut off or damaged: {len(frames)}{of} frames decode")
    own = () if container.format.name == "gif" else tuple(pictures)
    return _video(path, frames, float(stream.average_rate or stream.guessed_rate or 0), own)


def _video(name: Path | str, frames: list[Frames], fps: float, pictures: tuple[VideoFrame, ...] = ()) -> Video:
    if len({frame.shape for frame in frames}) > 1:
        raise _unreadable(name, "changes its frame size on the way")
    if not fps:
        raise _unreadable(name, "has no frame rate")
    return Video(np.stack(frames), fps, pictures)


def _stops_early(path: Path, container: InputContainer, end_s: float) -> bool:
    """Is a file without a frame count cut off? `end_s` is where its last frame ends."""
    if container.format.name == "gif":
        return not _gif_ends(path.read_bytes())
    rate = container.streams.video[0].average_rate
    if container.streams.video[0].frames or len(container.streams) > 1 or not container.duration or not rate:
        return False  # counted already; or the duration may be the sound's; or a live recording without one
    return end_s < container.duration / MICROSECONDS_PER_S - 0.5 / float(rate)


def _gif_ends(data: bytes) -> bool:
    """Do the blocks of a GIF lead to its trailer? GIF89a specification, sections 18 to 27."""

    def table(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    try:
        at = 13 + table(data[10])  # header, logical screen descriptor, global colour table
        while data[at] != GIF_TRAILER:
            # An image: separator, descriptor (9), local colour table, LZW code size. An extension: 0x21, label.
            at += 11 + table(data[at + 9]) if data[at] == GIF_IMAGE else 2
            while data[at]:  # sub-blocks, each behind its length; an empty one ends the block
                at += 1 + data[at]
            at += 1
    except IndexError:
        return False
    return True


def _unreadable(path: Path | str, what: str) -> UnreadableVideo:
    return UnreadableVideo(
        found=f"{path} {what}",
        expected=f"a whole video file ({', '.join(VIDEO_SUFFIXES)})",
        run_next="generate or copy this clip again",
    )

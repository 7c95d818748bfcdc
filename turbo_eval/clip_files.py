"""How does a clip become a file of a run, and what is known of it then?

    RUN/clips/<model>-<key>/<index>-<sample>-<sha256>.mp4

Named by number and hash, never by a prompt's text: the place in the suite, the sample, the start of the file's own
sha256; so two files with different bytes never meet under one name. Protocol: durable.publish, with a decode check
between fsync and rename: what is read back is what was written.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from turbo_eval.decode_ahead import DecodeAhead
from turbo_eval.durable import check_contained, publish, sha256_of, writing
from turbo_eval.records import ClipId, ClipRecord, check_name
from turbo_train.video_io import UnreadableVideo, Video, encode_mp4, read_video

SHORT = 12  # characters of a hash in a file's name; the row has all of it
FPS_TOLERANCE = 1e-3  # a container keeps a fraction


@dataclass(frozen=True)
class NewClip:
    """A clip to be published. index: of its prompt in the suite. frames_THWC: uint8 RGB."""

    clip_id: ClipId
    index: int
    frames_THWC: NDArray[np.uint8]
    fps: float


@dataclass(frozen=True)
class Published:
    """A clip that is on the disk, and its frames as they were read back."""

    record: ClipRecord
    video: Video


@dataclass(frozen=True)
class Place:
    """Where a clip belongs. index: of its prompt in the suite. key: the content key of what made it."""

    run: Path
    clip_id: ClipId
    index: int
    key: str
    suite_sha256: str

    @property
    def folder(self) -> Path:
        """The folder of the model's clips. UserError when a symbolic link leads out of the run."""
        return check_contained(self.run, self.run / "clips" / f"{self.clip_id[0]}-{self.key[:SHORT]}")

    @property
    def stem(self) -> str:
        """Place in the suite and sample."""
        return f"{self.index:05d}-{self.clip_id[2]:02d}"


def write_clip(place: Place, clip: NewClip, lossless: bool) -> Published:
    """Writes a generated clip, without its row. RuntimeError when it does not decode to what was written."""

    def write(path: Path) -> None:
        encode_mp4(path, clip.frames_THWC, clip.fps, lossless=lossless)

    def check(path: Path) -> Video:
        try:
            video = read_video(path)
        except UnreadableVideo as error:
            raise RuntimeError(f"decode check of {clip.clip_id}: {error.found}") from error
        shape = video.frames_THWC.shape
        if shape != clip.frames_THWC.shape or abs(video.fps - clip.fps) > FPS_TOLERANCE:
            wrote, read = f"{clip.frames_THWC.shape} at {clip.fps:g} fps", f"{shape} at {video.fps:g} fps"
            raise RuntimeError(f"decode check of {clip.clip_id}: wrote {wrote}, read {read}")
        if lossless and not np.array_equal(video.frames_THWC, clip.frames_THWC):
            raise RuntimeError(f"decode check of {clip.clip_id}: other pixels than were written")
        return video

    return _publish(place, ".mp4", write, check)


def copy_clip(place: Place, source: Path, ahead: DecodeAhead | None = None) -> Published:
    """Copies a user's video byte for byte, without its row. UnreadableVideo when it does not decode.

    ahead: what may have decoded the source already; it counts where the copy has the same bytes.
    """

    def write(path: Path) -> None:
        shutil.copyfile(source, path)

    def check(path: Path) -> Video:
        try:
            return read_video(path) if ahead is None else ahead.take(source, sha256_of(path), copy=path)
        except UnreadableVideo as error:
            found = error.found.replace(str(path), str(source))
            raise UnreadableVideo(found=found, expected=error.expected, run_next=error.run_next) from error

    return _publish(place, source.suffix.lower(), write, check)


def _publish(place: Place, suffix: str, write: Callable[[Path], None], check: Callable[[Path], Video]) -> Published:
    model, prompt_id, sample_index = place.clip_id

    def verify(path: Path) -> tuple[str, tuple[Video, str, int]]:
        video, sha256 = check(path), sha256_of(path)
        return f"{place.stem}-{sha256[:SHORT]}{suffix}", (video, sha256, path.stat().st_size)

    folder = place.folder
    with writing(folder):
        path, (video, sha256, size) = publish(folder / f"{place.stem}{suffix}", write, verify)
    frames, height_px, width_px = video.frames_THWC.shape[:3]
    record = ClipRecord(
        model=model,
        prompt_id=check_name("prompt_id", prompt_id),
        sample_index=sample_index,
        path=path.relative_to(place.run).as_posix(),
        sha256=sha256,
        size_bytes=size,
        frames=frames,
        height_px=height_px,
        width_px=width_px,
        fps=video.fps,
        key=place.key,
        suite_sha256=place.suite_sha256,
    )
    return Published(record, video)

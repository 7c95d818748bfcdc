"""How are clips decoded while others are being scored? By a few threads that work one micro-batch ahead.

What is expected is decoded once and kept until it is taken or forgotten, with the sha256 of the bytes that were read:
a file which has changed since is decoded again. Large files are left to be decoded in their turn: what waits in
memory is bounded by two micro-batches of ordinary clips.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from turbo_eval.durable import sha256_of
from turbo_train.video_io import Video, read_video

THREADS = 2
LARGE_BYTES = 64 * 2**20  # of a file; ordinary clips of a few seconds have one or two MiB


@dataclass(frozen=True)
class Decoded:
    """A clip and the sha256 of the file that it was decoded from."""

    video: Video
    sha256: str


class DecodeAhead:
    """Decodes files before they are asked for. As a context it ends its threads."""

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._expected: dict[Path, Future[Decoded]] = {}

    def __enter__(self) -> DecodeAhead:
        """The decoder itself."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Drop what nobody has taken."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def expect(self, paths: Iterable[Path]) -> None:
        """From now on these files are wanted, and no others."""
        wanted = dict.fromkeys(paths)
        for path in [path for path in self._expected if path not in wanted]:
            self._expected.pop(path).cancel()
        for path in wanted:
            if path not in self._expected and _is_ordinary(path):
                self._expected[path] = self._pool.submit(_decode, path)

    def take(self, path: Path, sha256: str) -> Video:
        """The clip of a file that now has this sha256. UnreadableVideo when it does not decode; OSError."""
        future = self._expected.pop(path, None)
        if future is not None and not future.cancelled() and future.exception() is None:
            decoded = future.result()
            if decoded.sha256 == sha256:
                return decoded.video
        return read_video(path)


def _is_ordinary(path: Path) -> bool:
    return path.is_file() and path.stat().st_size < LARGE_BYTES


def _decode(path: Path) -> Decoded:
    sha256 = sha256_of(path)
    return Decoded(read_video(path), sha256)

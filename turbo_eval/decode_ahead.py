"""How are clips decoded while others are being scored? By a few threads that work one micro-batch ahead.

What is expected is decoded once and kept until it is taken or forgotten, with the sha256 of the bytes that were read:
a file which has changed since, or meanwhile, is decoded again. No more than WAITING_BYTES of frames wait in memory, and
the clips that the threads are at (of files below LARGE_BYTES): everything else is decoded in its turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from turbo_eval.durable import sha256_of
from turbo_train.video_io import Video, read_video

THREADS = 2
LARGE_BYTES = 64 * 2**20  # of a file; ordinary clips of a few seconds have one or two MiB
WAITING_BYTES = 2**30  # of frames


@dataclass(frozen=True)
class Decoded:
    """A clip and the sha256 of the file that it was decoded from."""

    video: Video
    sha256: str


class DecodeAhead:
    """Decodes files before they are asked for. As a context it ends its threads."""

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._expected: dict[Path, Future[Decoded | None]] = {}

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
                self._expected[path] = self._pool.submit(self._decode, path)

    def take(self, path: Path, sha256: str, copy: Path | None = None) -> Video:
        """The clip of a file that has this sha256. UnreadableVideo when it does not decode; OSError.

        copy: another file with these bytes, which is decoded where the first has others by now.
        """
        future = self._expected.pop(path, None)
        if future is not None and not future.cancelled() and future.exception() is None:
            decoded = future.result()
            if decoded is not None and decoded.sha256 == sha256:
                return decoded.video
        return read_video(copy or path)

    def _decode(self, path: Path) -> Decoded | None:
        """None: too much is waiting already, or the file is being changed."""
        if self.waiting_bytes() >= WAITING_BYTES:
            return None
        sha256 = sha256_of(path)
        decoded = Decoded(read_video(path), sha256)
        return decoded if sha256_of(path) == sha256 else None

    def waiting_bytes(self) -> int:
        """Of the frames that nobody has taken yet."""
        done = [future for future in list(self._expected.values()) if future.done() and not future.cancelled()]
        decoded = [future.result() for future in done if future.exception() is None]
        return sum(each.video.nbytes for each in decoded if each is not None)


def _is_ordinary(path: Path) -> bool:
    with suppress(OSError):  # a file that is gone shows in its turn
        return path.is_file() and path.stat().st_size < LARGE_BYTES
    return False

"""Is a file the one that was published? Its size and sha256 against weights.lock, or against what was recorded.

Where weights.lock has no sha256 the first one seen is recorded and from then on enforced; that of a file which is
plainly none (whole.py) is not.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from turbo_train.weights.hashes import file_sha256
from turbo_train.weights.places import locate
from turbo_train.weights.recorded import record, recorded_sha256
from turbo_train.weights.table import WeightFile
from turbo_train.weights.whole import TOLD_BYTES, why_cut_off

Knowledge = Literal["known", "recorded", "unknown"]


@dataclass(frozen=True)
class Check:
    """What was found. `wrong`: why it is not the published file, "" where it is."""

    size_bytes: int
    sha256: str
    verdict: Literal["as published", "as recorded", "recorded now", "wrong"]
    wrong: str = ""


def knowledge_of(file: WeightFile) -> Knowledge:
    """Where its sha256 is known from. UserError: the records cannot be read."""
    if file.sha256:
        return "known"
    return "recorded" if recorded_sha256(file) else "unknown"


def expected_sha256(file: WeightFile) -> str:
    """Of weights.lock, else the recorded one, else "". UserError: the records cannot be read."""
    return file.sha256 or recorded_sha256(file)


def check_file(
    file: WeightFile,
    path: Path,
    before_recording: Callable[[], object] = lambda: None,
    advance: Callable[[int], object] = lambda count: None,
) -> Check:
    """Read the file whole and compare; record a sha256 that nobody knew. OSError: it cannot be read.

    before_recording: called where a sha256 is about to be recorded; what it raises keeps it from that.
    advance: told of every byte that was read.
    """
    with _Told(path, advance) as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    size, expected = path.stat().st_size, expected_sha256(file)
    wrong = _wrong(file, path, digest, expected)
    if wrong:
        return Check(size, digest, "wrong", wrong)
    if file.sha256:
        return Check(size, digest, "as published")
    if expected:
        return Check(size, digest, "as recorded")
    before_recording()
    record(file, digest)
    return Check(size, digest, "recorded now")


def altered(files: Iterable[WeightFile]) -> list[str]:
    """Names of those whose file here has another sha256 than the published one, where both are there to be known.

    UserError: the records cannot be read.
    """
    known = ((file, locate(file), expected_sha256(file)) for file in files)
    return [file.name for file, path, sha256 in known if path and sha256 and file_sha256(path) != sha256]


def _wrong(file: WeightFile, path: Path, digest: str, expected: str) -> str:
    size = path.stat().st_size
    if file.sha256 and digest == file.sha256 and file.size_bytes in (None, size):
        return ""
    broken = why_cut_off(file, path)
    if broken:
        return broken
    if expected and digest != expected:
        return f"sha256 {digest}, not {'the published' if file.sha256 else 'the recorded'} {expected}"
    if not digest.startswith(file.sha256_prefix):
        return f"sha256 {digest}, which does not begin with {file.sha256_prefix}"
    told = file.about_bytes or 0
    return f"{size} bytes, not {file.size}" if TOLD_BYTES <= told < size / 2 else ""


class _Told(io.FileIO):
    """A file that says how much was read of it."""

    def __init__(self, path: Path, advance: Callable[[int], object]) -> None:
        super().__init__(path)
        self.advance = advance

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer) or 0
        self.advance(count)
        return count

"""Is a file the one that was published? Its size and sha256 against weights.lock, or against what was recorded.

Where weights.lock has no sha256 the first one seen is recorded and from then on enforced.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from turbo_train.weights.hashes import read_sha256
from turbo_train.weights.recorded import record, recorded_sha256
from turbo_train.weights.table import WeightFile

TOLD_BYTES = 10**6  # smaller files vary, and their rounded sizes mean little
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


def check_file(file: WeightFile, path: Path, before_recording: Callable[[], object] = lambda: None) -> Check:
    """Read the file whole and compare; record a sha256 that nobody knew. OSError: it cannot be read.

    before_recording: called where a sha256 is about to be recorded; what it raises keeps it from that.
    """
    size, digest, expected = path.stat().st_size, read_sha256(path), expected_sha256(file)
    wrong = ""
    if file.size_bytes is not None and size != file.size_bytes:
        wrong = f"{size} bytes, not {file.size_bytes}"
    elif expected and digest != expected:
        wrong = f"sha256 {digest}, not {'the published' if file.sha256 else 'the recorded'} {expected}"
    elif not digest.startswith(file.sha256_prefix):
        wrong = f"sha256 {digest}, which does not begin with {file.sha256_prefix}"
    elif not _plausible(size, file):
        wrong = f"{size} bytes, not {file.size}"
    if wrong:
        return Check(size, digest, "wrong", wrong)
    if file.sha256:
        return Check(size, digest, "as published")
    if expected:
        return Check(size, digest, "as recorded")
    before_recording()
    record(file, digest)
    return Check(size, digest, "recorded now")


def _plausible(size: int, file: WeightFile) -> bool:
    """Whether a file that nobody knows may be recorded: not a page that says why there is no file."""
    told = file.about_bytes or 0
    return size > 0 if told < TOLD_BYTES else told / 2 < size < told * 2

"""What is the sha256 of a file, without reading gigabytes at every start?

Large files are hashed once; the result is kept beside their size and time of change in the user's cache
(`$XDG_CACHE_HOME/turbo-video/sha256.json`). A file whose size or time differs is read again. `weights verify` always
reads.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

LARGE_BYTES = 64 * 2**20
_CACHE = Path("turbo-video") / "sha256.json"


def read_sha256(path: Path) -> str:
    """Of the file's bytes as they are now, lower-case hexadecimal. OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_sha256(path: Path) -> str:
    """The same, remembered for large files that have not changed since."""
    path = path.resolve()
    digest = _remembered(path)
    if digest is None:
        state = path.stat()
        digest = read_sha256(path)
        if state.st_size >= LARGE_BYTES:
            _remember(_known() | {str(path): [state.st_size, state.st_mtime_ns, digest]})
    return digest


def takes_long(path: Path) -> bool:
    """Whether file_sha256 will have to read a large file."""
    path = path.resolve()
    return path.stat().st_size >= LARGE_BYTES and _remembered(path) is None


def _remembered(path: Path) -> str | None:
    state = path.stat()
    if state.st_size < LARGE_BYTES:
        return None
    known = _known().get(str(path), [])
    return str(known[2]) if known[:2] == [state.st_size, state.st_mtime_ns] else None


def cache_home() -> Path:
    """`$XDG_CACHE_HOME`, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def _known() -> dict[str, list[int | str]]:
    try:
        content = json.loads((cache_home() / _CACHE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _remember(known: dict[str, list[int | str]]) -> None:
    """A cache that cannot be written only costs time."""
    target = cache_home() / _CACHE
    with contextlib.suppress(OSError):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=target.parent, delete=False, encoding="utf-8") as file:
            json.dump(known, file)
        Path(file.name).replace(target)

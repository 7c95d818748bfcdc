"""Is a file whole, as far as a glance can tell: by its size, its first bytes and its index?

Found this way: an empty file, a web page or a pointer in its place, a download that was cut off. Not found: an old
pickle or a .gz that is cut off, and changed bytes; for those check.py reads every byte.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path, PurePosixPath

from turbo_train.weights.places import locate
from turbo_train.weights.sizes import readable
from turbo_train.weights.table import WeightFile

HEAD_BYTES = 512
HEADER_BYTES = 100 * 10**6  # the most that a safetensors header may take (its format description)
TOLD_BYTES = 10**6  # smaller files vary, and their rounded sizes mean little
PAGE = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|body|\?xml)", re.IGNORECASE)
POINTER = b"version https://git-lfs"
TORCH = (".pt", ".pth", ".ckpt", ".bin", ".tar")


def why_broken(path: Path, suffix: str | None = None) -> str | None:
    """What is wrong with a file, None where nothing is seen. suffix: of its name, where it bears another meanwhile.

    OSError: it cannot be read.
    """
    suffix = path.suffix if suffix is None else suffix
    size = path.stat().st_size
    if size == 0:
        return "it is empty"
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if PAGE.match(head):
        return "it is a web page"
    if head.startswith(POINTER):
        return "it is a pointer of Git LFS, not the file itself"
    if suffix == ".safetensors":
        return _safetensors(path, size)
    if suffix in TORCH:
        return _torch(path, head)
    if suffix in (".json", ".txt", ".yaml", ".yml"):
        return _text(path, suffix)
    if suffix == ".gz" and not head.startswith(b"\x1f\x8b"):
        return "it is not compressed by gzip"
    return None


def why_damaged(file: WeightFile, path: Path) -> str | None:
    """Why a published file may not be used, None where nothing is seen: by its exact size, then by what it holds."""
    try:
        size = path.stat().st_size
        if file.size_bytes not in (None, size):
            return f"{size} bytes, not {file.size_bytes}"
        return why_broken(path, PurePosixPath(file.file or file.member or file.url).suffix)
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"


def why_cut_off(file: WeightFile, path: Path) -> str | None:
    """The same, and a size far below the rounded one, which a stand-in may have: for pull and verify."""
    damaged = why_damaged(file, path)
    if damaged is None and file.about_bytes and file.about_bytes >= TOLD_BYTES:
        size = path.stat().st_size
        if size < file.about_bytes / 2:
            return f"{readable(size)}, not {file.size}: it is cut off"
    return damaged


def locate_whole(file: WeightFile) -> Path | None:
    """The file on this machine, None where it is missing or damaged."""
    path = locate(file)
    return path if path is not None and why_damaged(file, path) is None else None


def _text(path: Path, suffix: str) -> str | None:
    try:
        text = path.read_bytes().decode("utf-8")
        if suffix == ".json" and not isinstance(json.loads(text), dict):
            return "it holds no JSON object"
    except UnicodeDecodeError:
        return "it is no text"
    except ValueError:
        return "it is no JSON, or cut off"
    return None


def _torch(path: Path, head: bytes) -> str | None:
    """A zip archive, which ends with its index; before torch 1.6 a pickle, whose protocol 2 begins with 0x80."""
    if head.startswith(b"\x80"):
        return None
    if not head.startswith(b"PK"):
        return "it is neither a zip archive nor a pickle"
    try:
        zipfile.ZipFile(path).close()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return "it is cut off, or its archive is damaged"
    return None


def _safetensors(path: Path, size: int) -> str | None:
    """Eight bytes of length, that many bytes of JSON, then the tensors (the format's description)."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(HEADER_BYTES, size):
            return "it has no safetensors header"
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            expected = 8 + length + max(ends, default=0)
        except (ValueError, LookupError, TypeError, AttributeError):
            return "it has no safetensors header"
    return None if size == expected else f"{size} bytes, not {expected} as its header says"

"""How is a shard read so that a cut in the middle is noticed? Sample by sample, in the order of the archive.

The layout and the opening of files, URLs and pipes are WebDataset's: neighbouring members with the same name up to the
first dot are one sample. Its own reader ends quietly where an archive is cut off between two members, as Python's
tarfile does; here an archive without its end mark is damaged, and what stood before the damage is given all the same.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import IO, Any

from turbo_train.data.skipped import Unusable

_META = re.compile(r"(.*/)?__[^/]*__($|[./])")  # WebDataset keeps such names for itself
_BROKEN = tarfile.TarError, OSError, EOFError, ValueError, zlib.error


@dataclass
class Packed:
    """One sample of a shard. index: its number in the shard. parts: suffix -> bytes. cut: the shard ended within it."""

    index: int
    key: str
    parts: dict[str, bytes] = field(default_factory=dict)
    cut: bool = False


class _Strict(tarfile.TarInfo):
    """A header that must be whole; tarfile takes a broken one behind the first for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> _Strict:
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":  # the mark that ends an archive
                raise
            raise tarfile.ReadError(str(error)) from error


def read_shard(url: str, wanted: Callable[[int], bool]) -> Iterator[Packed]:
    """The samples whose index is wanted; bytes of others are passed over unread.

    Unusable, behind all that can be read: the shard cannot be opened, is cut off or damaged, or holds no sample.
    """
    from webdataset import gopen

    try:
        stream = gopen(url)
    except _BROKEN as error:
        raise Unusable(f"cannot be opened ({_line(error)})") from error
    with _quietly_closed(stream):
        yield from _samples(stream, wanted)


def _samples(stream: IO[bytes], wanted: Callable[[int], bool]) -> Iterator[Packed]:
    packed: Packed | None = None
    damage: Exception | None = None
    try:
        with tarfile.open(fileobj=stream, mode="r|*", tarinfo=_Strict) as archive:
            for key, suffix, member in _members(archive):
                if packed is None or key != packed.key:
                    if packed is not None and wanted(packed.index):
                        yield packed
                    packed = Packed(0 if packed is None else packed.index + 1, key)
                if wanted(packed.index):
                    content = archive.extractfile(member)
                    packed.parts[suffix] = content.read() if content else b""
    except _BROKEN as error:
        damage = error
    if packed is not None and wanted(packed.index):
        packed.cut = damage is not None
        yield packed
    if damage is not None:
        where = f"behind {packed.key}" if packed else "at its beginning"
        raise Unusable(f"is cut off or damaged {where} ({_line(damage)})") from damage
    if packed is None:
        raise Unusable("holds no sample")


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """Key, suffix and header of each file."""
    from webdataset.tariterators import base_plus_ext

    while (member := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # or else the headers of the whole shard stay in memory
        key, suffix = base_plus_ext(member.name)
        if member.isreg() and key is not None and not _META.match(member.name):
            yield key, suffix.lower(), member


def _quietly_closed(stream: Any) -> Any:
    class Quiet:
        def close(self) -> None:
            with suppress(OSError):  # a download that nobody wants to the end complains
                stream.close()

    return closing(Quiet())


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

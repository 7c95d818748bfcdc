"""Is there room for what is to be fetched? Asked before anything is; what earlier calls have fetched counts."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterable
from pathlib import Path

from turbo_train.weights import refusals
from turbo_train.weights.download import part_of
from turbo_train.weights.places import destination
from turbo_train.weights.table import WeightFile


def fetched_as(file: WeightFile) -> Path:
    """The name under which a file from a url is fetched: its own, or that of the archive that holds it."""
    target = destination(file)
    return target.with_name(file.url.rpartition("/")[2]) if file.member else target


def check_room(absent: Iterable[WeightFile]) -> None:
    """UserError where a disk has less room than the files still need that would come to it, or none to write to."""
    needed: dict[int, list[WeightFile]] = {}
    for file in absent:
        needed.setdefault(_existing(file).stat().st_dev, []).append(file)
    for files in needed.values():
        there, count = _existing(files[0]), sum(_still(file) for file in files)
        free = shutil.disk_usage(there).free
        if free < count:
            _check_writable(files[0])
            raise refusals.no_room(there, count, free)


def _existing(file: WeightFile) -> Path:
    folder = destination(file).absolute().parent
    return next(path for path in (folder, *folder.parents) if path.exists())


def _still(file: WeightFile) -> int:
    part = part_of(fetched_as(file))
    have = part.stat().st_size if file.url and part.is_file() else 0
    return max(0, file.bytes - have)


def _check_writable(file: WeightFile) -> None:
    """A file system that takes nothing (/proc) calls itself full."""
    folder = destination(file).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise refusals.unwritable(file, folder, error) from error

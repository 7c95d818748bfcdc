"""How does a published file get here, and is it let in? Fetched beside its place, checked, and only then moved there.

From the Hugging Face hub by hub.py, from a url by download.py, from an archive by taking the one member out. A file
that is not what weights.lock or the records say is removed, not used; a damaged one is fetched again.
"""

from __future__ import annotations

import shutil
import urllib.error
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from turbo_train.weights import refusals
from turbo_train.weights.alone import alone
from turbo_train.weights.archive import NotInArchive, take_out
from turbo_train.weights.check import Check, check_file
from turbo_train.weights.download import Cut, discard, fetch, part_of
from turbo_train.weights.hub import fetch_from_hub
from turbo_train.weights.places import destination, hub_cache, locate, root
from turbo_train.weights.room import check_room, fetched_as
from turbo_train.weights.table import WeightFile
from turbo_train.weights.whole import why_cut_off

Advance = Callable[[int], object]
Watch = Callable[[WeightFile], AbstractContextManager[Advance]]


@dataclass(frozen=True)
class Pulled:
    """A file that is here now. check: None where it was here before."""

    file: WeightFile
    path: Path
    check: Check | None


def _silent(file: WeightFile) -> AbstractContextManager[Advance]:
    return nullcontext(lambda count: None)


def pull(files: Sequence[WeightFile], watch: Watch = _silent) -> tuple[Pulled, ...]:
    """Fetch what is not here, or not whole. watch: gives for a file a context whose value is told of every byte.

    UserError: no room (asked before anything is fetched), no network, no access, no such file, another file than the
    published one, a folder that cannot be written. What was fetched before stays.
    """
    for file in files:
        path = locate(file)
        if path is not None and why_cut_off(file, path):
            _remove(file, path)
    check_room([file for file in files if locate(file) is None])
    return tuple(_pull(file, watch) for file in files)


def _pull(file: WeightFile, watch: Watch) -> Pulled:
    found = locate(file)
    if found is not None:
        return Pulled(file, found, None)
    target = destination(file)
    try:
        with watch(file) as advance:
            return _from_hub(file, target, advance) if file.repository else _from_url(file, target, advance)
    except OSError as error:
        raise refusals.unwritable(file, target.parent, error) from error


def _from_url(file: WeightFile, target: Path, advance: Advance) -> Pulled:
    fetched = fetched_as(file)
    try:
        part = fetch(file.url, fetched, advance)
    except urllib.error.HTTPError as error:
        refuse = {401: refusals.closed, 403: refusals.closed, 404: refusals.gone, 410: refusals.gone}
        raise refuse.get(error.code, refusals.unreachable)(file, error) from error
    except (urllib.error.URLError, Cut, ConnectionError, TimeoutError) as error:
        raise refusals.unreachable(file, error) from error
    if file.member:
        try:
            take_out(part, file.member, part_of(target))
        except NotInArchive as error:
            discard(fetched)
            raise refusals.not_in_archive(file, error) from error
    pulled = _admit(file, part_of(target), target)
    discard(fetched)  # an archive; of a file what is left is the note of what the part was of
    return pulled


def _from_hub(file: WeightFile, target: Path, advance: Advance) -> Pulled:
    """Into the hub's own cache, or through a folder beside the target, one process at a time."""
    if root() is None and not file.lands:
        path = fetch_from_hub(file, advance, cache=hub_cache())
        return Pulled(file, path, _checked(file, path))
    staging = target.with_name(f".{target.name}.pull")
    with alone(staging / "lock", busy=lambda: warnings.warn(f"waiting: {file.name} is being fetched", stacklevel=2)):
        found = locate(file)
        if found is not None:
            return Pulled(file, found, None)
        for left in staging.rglob("*.incomplete"):  # of a killed process: huggingface_hub does not go on with it
            left.unlink()
        pulled = _admit(file, fetch_from_hub(file, advance, folder=staging), target)
        shutil.rmtree(staging, ignore_errors=True)
    return pulled


def _admit(file: WeightFile, fetched: Path, target: Path) -> Pulled:
    """Check, then move to its place."""
    check = _checked(file, fetched)
    fetched.replace(target)
    return Pulled(file, target, check)


def _checked(file: WeightFile, path: Path) -> Check:
    """UserError, and the file is gone, where it is not the published one."""
    check = check_file(file, path)
    if check.wrong:
        _remove(file, path)
        if file.url:
            discard(fetched_as(file))
        raise refusals.differs(file, check.wrong)
    return check


def _remove(file: WeightFile, path: Path) -> None:
    """Of a link only the link, but in the hub's cache also the bytes, which would be taken for fetched."""
    content = path.resolve()
    try:
        path.unlink(missing_ok=True)
        if hub_cache().resolve() in content.parents:
            content.unlink(missing_ok=True)
    except OSError as error:
        raise refusals.unwritable(file, path.parent, error) from error

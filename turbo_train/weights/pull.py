"""How does a published file get here, and is it let in? Fetched beside its place, checked, and only then moved there.

From the Hugging Face hub through huggingface_hub (its token, mirrors and resuming), from a url by download.py, from an
archive by taking the one member out. A file that is not what weights.lock or the records say is removed, not used.
"""

from __future__ import annotations

import shutil
import urllib.error
import zipfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from turbo_train.weights import refusals
from turbo_train.weights.check import Check, check_file
from turbo_train.weights.download import Cut, discard, fetch, part_of
from turbo_train.weights.places import destination, hub_cache, locate, root
from turbo_train.weights.table import WeightFile

Watch = Callable[[WeightFile], AbstractContextManager[Callable[[int], None]]]


@dataclass(frozen=True)
class Pulled:
    """A file that is here now. check: None where it was here before."""

    file: WeightFile
    path: Path
    check: Check | None


def _silent(file: WeightFile) -> AbstractContextManager[Callable[[int], None]]:
    return nullcontext(lambda count: None)


def pull(files: Sequence[WeightFile], watch: Watch = _silent) -> tuple[Pulled, ...]:
    """Fetch what is not here. watch: gives for a file a context whose value is told of every byte from a url.

    UserError: no room (asked before anything is fetched), no network, no access, no such file, another file than the
    published one, a folder that cannot be written. What was fetched before stays.
    """
    check_room([file for file in files if locate(file) is None])
    return tuple(_pull(file, watch) for file in files)


def check_room(absent: Sequence[WeightFile]) -> None:
    """UserError where a disk has less room than the files need that would come to it."""
    needed: dict[int, tuple[Path, int]] = {}
    for file in absent:
        folder = destination(file).absolute().parent
        there = next(path for path in (folder, *folder.parents) if path.exists())
        disk = there.stat().st_dev
        needed[disk] = (there, file.bytes + needed.get(disk, (there, 0))[1])
    for there, count in needed.values():
        free = shutil.disk_usage(there).free
        if free < count:
            raise refusals.no_room(there, count, free)


def _pull(file: WeightFile, watch: Watch) -> Pulled:
    found = locate(file)
    if found is not None:
        return Pulled(file, found, None)
    target = destination(file)
    try:
        return _from_hub(file, target) if file.repository else _from_url(file, target, watch)
    except OSError as error:
        raise refusals.unwritable(file, target.parent, error) from error


def _from_url(file: WeightFile, target: Path, watch: Watch) -> Pulled:
    archive = target.with_name(file.url.rpartition("/")[2]) if file.member else target
    try:
        with watch(file) as advance:
            part = fetch(file.url, archive, advance)
    except urllib.error.HTTPError as error:
        refuse = {401: refusals.closed, 403: refusals.closed, 404: refusals.gone, 410: refusals.gone}
        raise refuse.get(error.code, refusals.unreachable)(file, error) from error
    except (urllib.error.URLError, Cut, ConnectionError, TimeoutError) as error:
        raise refusals.unreachable(file, error) from error
    if not file.member:
        pulled = _admit(file, part, target)
        discard(target)  # what is left is the note of what the part was of
        return pulled
    try:
        # Written under a name of ours, whatever names the archive holds.
        with (
            zipfile.ZipFile(part) as content,
            content.open(file.member) as source,
            part_of(target).open("wb") as copy,
        ):
            shutil.copyfileobj(source, copy)
    except (zipfile.BadZipFile, KeyError, EOFError, NotImplementedError) as error:
        raise refusals.not_in_archive(file, error) from error
    finally:
        discard(archive)
    return _admit(file, part_of(target), target)


def _from_hub(file: WeightFile, target: Path) -> Pulled:
    """Into the hub's own cache, or through a folder beside the target."""
    if root() is None and not file.lands:
        path = _hub_file(file, cache=hub_cache())
        return Pulled(file, path, _checked(file, path))
    staging = target.with_name(f".{target.name}.pull")  # the same each time: huggingface_hub goes on in it
    pulled = _admit(file, _hub_file(file, folder=staging), target)
    shutil.rmtree(staging, ignore_errors=True)
    return pulled


def _hub_file(file: WeightFile, cache: Path | None = None, folder: Path | None = None) -> Path:
    from huggingface_hub import errors, hf_hub_download

    revision = file.revision or "main"
    network = errors.HTTPError  # type: ignore[attr-defined]  # of httpx, under whatever name the hub's client has it
    try:
        return Path(hf_hub_download(file.repository, file.file, revision=revision, cache_dir=cache, local_dir=folder))
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        raise refusals.unreachable(file, error) from error
    except errors.GatedRepoError as error:
        raise refusals.closed(file, error) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise refusals.gone(file, error) from error
    except errors.HfHubHTTPError as error:
        closed = error.response.status_code in (401, 403)
        raise (refusals.closed if closed else refusals.unreachable)(file, error) from error
    except (network, ConnectionError, TimeoutError) as error:
        raise refusals.unreachable(file, error) from error


def _admit(file: WeightFile, fetched: Path, target: Path) -> Pulled:
    """Check, then move to its place."""
    check = _checked(file, fetched)
    fetched.replace(target)
    return Pulled(file, target, check)


def _checked(file: WeightFile, path: Path) -> Check:
    """UserError, and the file is gone, where it is not the published one."""
    check = check_file(file, path)
    if check.wrong:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise refusals.differs(file, check.wrong)
    return check

"""What is said about published weights: which there are, which are here, and whether they are the right ones?

Plain rows for people and documents for programs. The document of `weights list --missing --json` is what one needs to
carry files to a machine without a network: from which address, and to where below $TURBO_WEIGHTS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbo_train.errors import UserError
from turbo_train.weights.check import check_file, expected_sha256, knowledge_of
from turbo_train.weights.missing import files_wanted, wanted
from turbo_train.weights.places import ROOT, destination, hub_cache, locate, path_below_root, places, root
from turbo_train.weights.pull import Pulled
from turbo_train.weights.recorded import record_files
from turbo_train.weights.table import (
    WeightFile,
    alternatives_of,
    files_for,
    find_file,
    readable,
    weight_files,
)


def listed(users: Sequence[str], *, missing: bool) -> list[WeightFile]:
    """The rows of `weights list`, those of every alternative; with `missing` only what has to be fetched.

    UserError: an unknown name.
    """
    if not missing:
        rows = (file for user in users for choice in (alternatives_of(user) or (None,)) for file in _of(user, choice))
        return list(dict.fromkeys(rows if users else weight_files()))
    wanted_files = (file for user in users for file in files_wanted(user)) if users else weight_files()
    return [file for file in dict.fromkeys(wanted_files) if locate(file) is None]


def _of(user: str, alternative: str | None) -> tuple[WeightFile, ...]:
    return files_for(user, alternative)


def chosen(names: Sequence[str], users: Sequence[str]) -> list[WeightFile]:
    """Rows by their names and by who needs them, of alternatives the preferred one. UserError: an unknown name."""
    return list(dict.fromkeys([*map(find_file, names), *(file for user in users for file in files_for(user))]))


def row(file: WeightFile) -> dict[str, Any]:
    """For people."""
    users = ", ".join(file.needed_by)
    return {
        "name": file.name,
        "size": file.size,
        "licence": file.terms,
        "needed by": f"{users} ({file.alternative})" if file.alternative else users,
        "here": "missing" if locate(file) is None else "yes",
        "sha256": knowledge_of(file),
    }


def document(file: WeightFile) -> dict[str, Any]:
    """For programs. copy_to: below $TURBO_WEIGHTS. member: what to take out of the archive at the address."""
    path = locate(file)
    return {
        "name": file.name,
        "address": file.address,
        "member": file.member or None,
        "copy_to": str(path_below_root(file)),
        "path": None if path is None else str(path),
        "size_bytes": file.size_bytes,
        "about_bytes": file.about_bytes,
        "sha256": expected_sha256(file) or None,
        "sha256_is": knowledge_of(file),
        "repository": file.repository or None,
        "revision": (file.revision or "main") if file.repository else None,
        "licence": file.licence or None,
        "page": file.page,
        "gated": file.gated,
        "needed_by": list(file.needed_by),
        "alternative": file.alternative or None,
    }


def list_document(files: Sequence[WeightFile]) -> dict[str, Any]:
    """The document of `weights list`."""
    absent = [file for file in files if locate(file) is None]
    return {
        "turbo_weights": _text(root()),
        "files": [document(file) for file in files],
        "bytes": sum(file.bytes for file in files),
        "missing_bytes": sum(file.bytes for file in absent),
    }


def total(files: Sequence[WeightFile]) -> str:
    """`44 files, about 60 GB; 41 missing, about 58 GB`."""
    absent = [file for file in files if locate(file) is None]
    gap = f"{len(absent)} missing, {_sum(absent)}" if absent else "none missing"
    return f"{len(files)} file{'s' * (len(files) != 1)}, {_sum(files)}; {gap}"


def _sum(files: Iterable[WeightFile]) -> str:
    rows = list(files)
    exact = all(file.size_bytes is not None for file in rows)
    return f"{'' if exact else 'about '}{readable(sum(file.bytes for file in rows))}"


def forecast_row(file: WeightFile) -> dict[str, Any]:
    """What a pull would do, for people."""
    path = locate(file)
    return {
        "name": file.name,
        "size": file.size,
        "licence": file.terms,
        "to": f"here already: {path}" if path else str(destination(file)),
    }


def forecast_document(file: WeightFile) -> dict[str, Any]:
    """What a pull would do, for programs."""
    return {**document(file), "destination": str(destination(file))}


def pulled_row(pulled: Pulled) -> dict[str, Any]:
    """What a pull did."""
    return {
        "name": pulled.file.name,
        "sha256": "here already" if pulled.check is None else pulled.check.verdict,
        "path": str(pulled.path),
    }


def pulled_document(pulled: Pulled) -> dict[str, Any]:
    """What a pull did, for programs."""
    return {**document(pulled.file), "pulled": pulled.check is not None}


@dataclass(frozen=True)
class Verified:
    """What `weights verify` found of one file. verdict: check.py's, or `missing`. wrong: why it may not be used."""

    file: WeightFile
    path: Path | None
    verdict: str
    wrong: str = ""
    sha256: str = ""
    tensors: int = 0

    def row(self) -> dict[str, Any]:
        """For people."""
        held = f"{self.tensors} tensors" if self.tensors else ""
        return {
            "name": self.file.name,
            "verdict": f"{self.verdict}: {self.wrong}" if self.wrong else self.verdict,
            "holds": held,
            "path": _text(self.path) or "",
        }

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "name": self.file.name,
            "path": _text(self.path),
            "verdict": self.verdict,
            "wrong": self.wrong or None,
            "sha256": self.sha256 or None,
            "tensors": self.tensors,
        }


def verify(
    files: Sequence[WeightFile], watch: Callable[[int], AbstractContextManager[Callable[[int], None]]]
) -> list[Verified]:
    """Read every file whole: its size, its sha256, and whether it opens the safe way."""
    found = []
    with watch(len(files)) as advance:
        for file in files:
            found.append(_verify(file))
            advance(1)
    return found


def _verify(file: WeightFile) -> Verified:
    from turbo_train.nets.tensor_files import open_weight

    path = locate(file)
    if path is None:
        return Verified(file, None, "missing")
    held: list[int] = []

    def open_it() -> None:
        held.append(open_weight(file, path))

    try:
        check = check_file(file, path, before_recording=open_it)  # what does not open is not remembered as right
        if check.wrong:
            return Verified(file, path, "wrong", check.wrong, check.sha256)
        if not held:
            open_it()
    except OSError as error:
        return Verified(file, path, "wrong", f"it cannot be read ({error.strerror or error})")
    except UserError as error:
        return Verified(file, path, "wrong", error.found)
    return Verified(file, path, check.verdict, sha256=check.sha256, tensors=held[0])


def require_right(found: Sequence[Verified]) -> None:
    """UserError where a file is wrong or missing, with what to do about it."""
    wrong = [one for one in found if one.verdict == "wrong"]
    absent = [one.file for one in found if one.verdict == "missing"]
    if wrong:
        names = " ".join(one.file.name for one in wrong)
        raise UserError(
            found=f"{len(wrong)} of {len(found)} files are not the published ones: {names}",
            expected="the published bytes",
            run_next=f"remove {', '.join(str(one.path) for one in wrong)}; turbo-eval weights pull {names}"
            f"{_if_recorded(wrong)}",
        )
    if absent:
        raise UserError(
            found=f"{len(absent)} of {len(found)} files are missing: {', '.join(file.name for file in absent)}",
            expected="all of them",
            run_next=f"turbo-eval weights pull {wanted(absent, '')}",
        )


def _if_recorded(wrong: Sequence[Verified]) -> str:
    """A record may be of another file on purpose."""
    recorded = any(not one.file.sha256 and one.sha256 for one in wrong)
    return f" (or remove its entry in {record_files()[0]} to accept another file)" if recorded else ""


def place_rows() -> list[dict[str, Any]]:
    """Where is looked, in this order."""
    below, (records, *_) = root(), record_files()
    looked = [(f"${ROOT}", below), ("Hugging Face cache", hub_cache()), *places().items(), ("recorded sha256", records)]
    return [{"place": name, "path": _text(path) or "not set", "there": _there(path)} for name, path in looked]


def _there(path: Path | None) -> str:
    return "yes" if path is not None and path.exists() else "no"


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)

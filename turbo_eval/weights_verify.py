"""Are the published weights that lie here the right ones, and what is to be done about one that is not?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbo_train.errors import UserError
from turbo_train.weights.check import check_file
from turbo_train.weights.missing import wanted
from turbo_train.weights.places import locate
from turbo_train.weights.refusals import forget
from turbo_train.weights.table import WeightFile


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
            "path": str(self.path or ""),
        }

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "name": self.file.name,
            "path": str(self.path) if self.path else None,
            "verdict": self.verdict,
            "wrong": self.wrong or None,
            "sha256": self.sha256 or None,
            "tensors": self.tensors,
        }


def verify(
    files: Sequence[WeightFile], watch: Callable[[int], AbstractContextManager[Callable[[int], object]]]
) -> list[Verified]:
    """Read every file whole: its size, its sha256, and whether it opens the safe way.

    watch: gives for a number of bytes a context whose value is told of every byte that was read.
    """
    found = {file: locate(file) for file in files}
    with watch(sum(path.stat().st_size for path in found.values() if path)) as advance:
        return [_verify(file, path, advance) for file, path in found.items()]


def _verify(file: WeightFile, path: Path | None, advance: Callable[[int], object]) -> Verified:
    from turbo_train.nets.tensor_files import open_weight

    if path is None:
        return Verified(file, None, "missing")
    held: list[int] = []

    def open_it() -> None:
        held.append(open_weight(file, path))

    try:
        check = check_file(file, path, before_recording=open_it, advance=advance)  # what does not open is not recorded
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
    lines = [line for one in wrong if one.sha256 and (line := forget(one.file))]
    return "".join(f"; if the publisher has replaced {'it' if len(wrong) == 1 else 'one'}, {line}" for line in lines)

"""Which files are published, what needs them, and what is known about each? The rows of weights.lock.

A user is a name that needs files: a model, one of VBench's dimensions, a reward. A group (`vbench`, `rewards`) stands
for several users. Where one of several rows is enough, each bears the name of its alternative.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from turbo_train.errors import UserError
from turbo_train.weights.sizes import readable

LOCK = Path(__file__).with_name("weights.lock")
LISTED = 35  # more names than this are not spelled out in a message
HUB = "https://huggingface.co"
Opens = Literal["tensors", "list", "torchscript", "safetensors", "text", "amt"]


@dataclass(frozen=True)
class WeightFile:
    """One published file.

    Where from: repository, file and revision on the Hugging Face hub, or a url, with `member` for a file in an archive.
    size_bytes is exact, about_bytes rounded. sha256_prefix: its first digits, where no more is known.
    lands: `place/path`, where the official tools look, the first being where they put it; places.py knows the places.
    opens: how it is opened (nets/tensor_files.py). gated: its licence must be accepted on its page first.
    also: other names of the repository, under which the hub's cache may hold it.
    """

    name: str
    needed_by: tuple[str, ...]
    opens: Opens
    repository: str = ""
    file: str = ""
    revision: str = ""
    url: str = ""
    member: str = ""
    size_bytes: int | None = None
    about_bytes: int | None = None
    sha256: str = ""
    sha256_prefix: str = ""
    licence: str = ""
    lands: tuple[str, ...] = ()
    alternative: str = ""
    also: tuple[str, ...] = ()
    gated: bool = False

    @property
    def bytes(self) -> int:
        """Exact or rounded."""
        return self.size_bytes or self.about_bytes or 0

    @property
    def address(self) -> str:
        """From where a browser or curl fetches it; an archive is fetched whole."""
        return self.url or f"{HUB}/{self.repository}/resolve/{self.revision or 'main'}/{self.file}"

    @property
    def page(self) -> str:
        """Where a person reads about it, its licence included."""
        return f"{HUB}/{self.repository}" if self.repository else self.url

    @property
    def source(self) -> str:
        """What a recorded sha256 belongs to: another revision is another file."""
        return self.address + (f"#{self.member}" if self.member else "")

    @property
    def size(self) -> str:
        """`7.4 GB`, `about 7.4 GB`."""
        return size_of([self])

    @property
    def terms(self) -> str:
        """Its licence, for people."""
        return (self.licence or "licence: see its page") + (", to be accepted on its page" if self.gated else "")


@dataclass(frozen=True)
class _Table:
    files: tuple[WeightFile, ...]
    groups: dict[str, tuple[str, ...]]
    alternatives: dict[str, tuple[str, ...]]


@cache
def _table() -> _Table:
    content = tomllib.loads(LOCK.read_text(encoding="utf-8"))
    return _Table(
        tuple(_row(row) for row in content["file"]),
        {name: tuple(users) for name, users in content["groups"].items()},
        {name: tuple(names) for name, names in content["alternatives"].items()},
    )


def _row(row: dict[str, Any]) -> WeightFile:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return WeightFile(**fields)


def weight_files() -> tuple[WeightFile, ...]:
    """Every row, in the order of weights.lock."""
    return _table().files


def find_file(name: str) -> WeightFile:
    """The row of that name. UserError: there is none."""
    by_name = {file.name: file for file in weight_files()}
    if name not in by_name:
        raise _unknown(f"no published file is called {name!r}", name, by_name, "turbo-eval weights list")
    return by_name[name]


def users() -> tuple[str, ...]:
    """Every name that `files_for` takes: groups, models, dimensions, rewards; also those that need no file."""
    table = _table()
    names = [*table.groups, *(user for file in table.files for user in file.needed_by)]
    return tuple(dict.fromkeys(names + [user for group in table.groups.values() for user in group]))


def alternatives_of(user: str) -> tuple[str, ...]:
    """The names of a user's alternatives, the preferred one first; () where there is no choice."""
    return _table().alternatives.get(user, ())


def files_for(user: str, alternative: str | None = None) -> tuple[WeightFile, ...]:
    """What a user needs: the common rows, then those of an alternative, by default the preferred one.

    UserError: no such user, or no such alternative.
    """
    if user not in users():
        raise _unknown(f"no weights are listed for {user!r}", user, users(), "turbo-eval weights list --for NAME")
    if user in _table().groups:
        return tuple(dict.fromkeys(file for member in _table().groups[user] for file in files_for(member)))
    names = alternatives_of(user)
    if alternative is not None and alternative not in names:
        raise _unknown(
            f"{user} has no alternative {alternative!r}", alternative, names or ("none",), "turbo-eval weights list"
        )
    chosen = alternative or next(iter(names), "")
    needed = [file for file in weight_files() if user in file.needed_by]
    return tuple(
        [file for file in needed if not file.alternative] + [f for f in needed if chosen and f.alternative == chosen]
    )


def _unknown(found: str, name: str, known: Iterable[str], run_next: str) -> UserError:
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return UserError(
        found=found + (f" (did you mean {close[0]}?)" if close else ""),
        expected=f"one of {', '.join(names)}" if len(names) < LISTED else "",
        run_next=run_next,
    )


def size_of(files: Iterable[WeightFile]) -> str:
    """What files weigh together: `7.4 GB`, or `about 7.4 GB` where one of the sizes is rounded."""
    rows = list(files)
    exact = all(file.size_bytes is not None for file in rows)
    return f"{'' if exact else 'about '}{readable(sum(file.bytes for file in rows))}"


def beside(file: WeightFile) -> tuple[WeightFile, ...]:
    """The rows that are used as one folder with this one, itself included: of one repository, for the same users.

    A row that the official tools look for at a place of its own stands alone, and so does one that is not in the table.
    """
    rows = [row for row in weight_files() if _folder(row) == _folder(file)]
    return tuple(rows) if file in rows and file.repository and not file.lands else (file,)


def _folder(file: WeightFile) -> tuple[object, ...]:
    return file.repository, file.revision, file.needed_by, file.alternative, file.lands

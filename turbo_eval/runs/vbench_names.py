"""Under which name does VBench look for a clip, and can a disk hold that name?

    {prompt}-{sample_index}.mp4      (VBench, vbench/__init__.py, build_full_info_json)

The prompt is the name, so a prompt can make a name that no file system takes, that only some take, or that one disk
does not tell from another. Differs from our own runs, where a prompt never becomes a file name.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from turbo_eval.durable import writer, writing
from turbo_train.errors import UserError

LONGEST_BYTES = 255  # NAME_MAX of ext4, APFS, XFS and others, of the UTF-8 text; NTFS counts 255 UTF-16 units
# learn.microsoft.com, "Naming Files": illegal characters, and devices whatever follows the first dot.
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*\\]|^(con|prn|aux|nul|com[0-9]|lpt[0-9]) *\.', re.IGNORECASE)


def vbench_name(prompt: str, sample_index: int, suffix: str = ".mp4") -> str:
    """The name of a clip's file."""
    return f"{prompt}-{sample_index}{suffix}"


def why_impossible(name: str) -> str:
    """Why no file can have that name here; empty when one can."""
    if "/" in name or os.sep in name:
        return "a path separator"
    if any(unicodedata.category(character) == "Cc" for character in name):
        return "a control character"
    size = len(name.encode())
    if size > LONGEST_BYTES:
        return f"{size} bytes, a file's name has at most {LONGEST_BYTES}"
    return "refused by Windows" if os.name == "nt" and refused_by_windows(name) else ""


def refused_by_windows(name: str) -> bool:
    """Whether Windows cannot store a file of that name."""
    return _NOT_ON_WINDOWS.search(name) is not None


@dataclass(frozen=True)
class Disk:
    """Which names a disk takes for one: those that differ in case, and those that are equal in Unicode NFC."""

    ignores_case: bool
    ignores_form: bool

    def folded(self, name: str) -> str:
        """Equal for two names that are one file there."""
        if self.ignores_form:
            name = unicodedata.normalize("NFC", name)
        if self.ignores_case:
            name = name.casefold()
        return unicodedata.normalize("NFC", name) if self.ignores_form else name

    def collisions(self, names: Iterable[str]) -> list[list[str]]:
        """Groups of names that are one file there; two equal names are one on every disk."""
        groups: dict[str, list[str]] = {}
        for name in names:
            groups.setdefault(self.folded(name), []).append(name)
        return [sorted(group) for group in groups.values() if len(group) > 1]


STRICTEST = Disk(ignores_case=True, ignores_form=True)


def probe(folder: Path) -> Disk:
    """How the disk of an existing folder compares names, tried out with a temporary file."""
    path = folder / f".Caf\u00e9.{writer()}.tmp"
    with writing(folder):
        path.touch()
        try:
            decomposed = folder / unicodedata.normalize("NFD", path.name)
            return Disk(path.with_name(path.name.swapcase()).exists(), decomposed.exists())
        finally:
            path.unlink(missing_ok=True)


def name_warnings(names: Sequence[str]) -> Iterator[str]:
    """What VBench or another disk would stumble over."""
    prompts = dict.fromkeys(name.rpartition("-")[0] for name in names)
    for group in STRICTEST.collisions(prompts):
        yield f"one name on a disk that ignores case (Windows, macOS): {' and '.join(map(repr, group))}"
    if refused := [name for name in names if refused_by_windows(name)]:
        yield f"{len(refused)} names that Windows refuses: {first_few(map(repr, refused))}"
    if others := [name for name in names if not name.endswith(".mp4")]:
        yield (
            f"{len(others)} clips are no .mp4: {first_few(map(repr, others))}. VBench expects one suffix for all "
            "clips of a folder, reads .gif in most dimensions and other formats in none"
        )


def check_distinct(folder: Path, groups: Sequence[Sequence[str]]) -> None:
    """UserError when two names of a group would be one file on the disk of a folder, which need not exist yet.

    Writes nothing that stays, and nothing at all where no names are near.
    """
    if not any(STRICTEST.collisions(names) for names in groups):
        return
    place = folder.resolve()
    while not place.is_dir():
        place = place.parent
    disk = probe(place)
    if found := [group for names in groups for group in disk.collisions(names)]:
        raise UserError(
            found=f"clips that would be one file in {folder}: {first_few(' and '.join(map(repr, g)) for g in found)}",
            expected="a disk that tells such names apart, and prompts that differ in more than their id",
            run_next="the same command with a folder on another disk; nothing was written",
        )


def first_few(items: Iterable[str], shown: int = 3) -> str:
    """`a, b, c, ...`"""
    every = list(items)
    return ", ".join(every[:shown]) + (", ..." if len(every) > shown else "")

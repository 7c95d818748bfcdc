"""A run folder whose parts are symbolic links to elsewhere: is anything there written, cut, swept or read as a run?"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from drill import Drill

Make = Callable[..., Drill]


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file and folder below, with its times and bytes."""
    found = {}
    for path in sorted([folder, *folder.rglob("*")]):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path)] = (status.st_mtime_ns, status.st_mode, data)
    return found


def link_of(run: Path, part: str) -> Path:
    """The part of the run that is to be replaced by a link."""
    if part == "a model's clips":
        return next(path for path in (run / "clips").iterdir() if path.is_dir())
    if part == "a clip":
        return sorted((run / "clips").rglob("*.mp4"))[0]
    if part in ("a ledger", "a session"):
        return next((run / ("ledger" if part == "a ledger" else "sessions")).iterdir())
    return run / part


REFUSED = (
    "clips",
    "a model's clips",
    "a clip",
    "ledger",
    "a ledger",
    "leases",
    "sessions",
    "manifest.json",
    "suite.jsonl",
)
REPLACED = ("scores.jsonl", "results.json", "table.md", "contact_sheet.png", "a session")


@pytest.mark.parametrize("part", [*REFUSED, *REPLACED])
def test_nothing_outside_is_touched(new_drill: Make, tmp_path: Path, part: str) -> None:
    """The part was moved out and linked, and there is work to do: half of a ledger line, a stale file, a clip to make.

    Links that would be read or written through are refused; a report's file is replaced, the link and not its target.
    """
    drill = new_drill("links")
    assert drill.run(request={"limit": 2}).code == 0
    (ledger,) = (drill.out / "ledger").iterdir()
    with ledger.open("ab") as stream:
        stream.write(b'{"kind": "clip", "half')
    for folder in (drill.out / "clips", *(drill.out / "clips").iterdir()):
        (folder / ".00003-00.mp4.gone-1-abcd.tmp").write_bytes(b"half")
    outside = tmp_path / "outside"
    outside.mkdir()
    link = link_of(drill.out, part)
    target = outside / link.name
    link.rename(target)
    link.symlink_to(target)
    before = snapshot(outside)
    done = drill.run()
    assert snapshot(outside) == before
    assert done.code == (2 if part in REFUSED else 0), done.log
    if part in REFUSED:
        assert f"leads outside of {drill.out}" in done.log
        assert "Traceback" not in done.log
    elif part != "a session":
        assert not link.is_symlink()


@pytest.mark.parametrize("part", ["clips", "ledger", "leases", "sessions", "manifest.json", "suite.jsonl"])
def test_links_to_what_is_not_there_make_nothing_there(new_drill: Make, tmp_path: Path, part: str) -> None:
    """In a new folder, before the first command."""
    drill = new_drill("dangling")
    drill.out.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    if part != "manifest.json":  # without one the folder is refused as another's
        other = new_drill("other")
        assert other.run().code == 0
        os.rename(other.out / "manifest.json", drill.out / "manifest.json")  # noqa: PTH104
        os.rename(other.out / "suite.jsonl", drill.out / "suite.jsonl")  # noqa: PTH104
        (drill.out / part).unlink(missing_ok=True)
    (drill.out / part).symlink_to(outside / "nothing")
    done = drill.run()
    assert done.code == 2, done.log
    assert list(outside.iterdir()) == []


def test_a_lease_that_is_a_link_is_not_read(
    new_drill: Make, tmp_path: Path, undisturbed: Callable[[int], bytes]
) -> None:
    """Nobody holds it; when it has lapsed, the unit is taken and the link goes, not its target."""
    drill = new_drill("lease")
    assert drill.run(request={"shard": "0/2"}).code == 0
    target = tmp_path / "secret"
    target.write_text("../../secret", encoding="ascii")
    ((model, key),) = {(row["model"], row["key"]) for row in drill.rows("clip")}
    lease = drill.out / "leases" / f"{model}-{key[:12]}-00-00002.1"
    lease.symlink_to(target)
    os.utime(lease, (0, 0), follow_symlinks=False)
    before = snapshot(target)
    assert drill.run().code == 0
    assert snapshot(target) == before
    drill.check(undisturbed(4), 2)


def test_the_run_folder_itself_may_be_a_link(
    new_drill: Make, tmp_path: Path, undisturbed: Callable[[int], bytes]
) -> None:
    """That is the user's own choice of a disk."""
    drill = new_drill("itself")
    (tmp_path / "big-disk").mkdir()
    drill.out.symlink_to(tmp_path / "big-disk")
    assert drill.run().code == 0
    drill.check(undisturbed(4), 2)

"""What happens when the disk is full, or is going to be? The command stops, says so, and keeps everything."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from drill import Drill, Worker, check_folder, ledger_rows
from drill_faults import NO_MOUNT

Make = Callable[..., Drill]
Reference = Callable[[int], bytes]
ROOMY = {"disk": {"free_bytes": 10**12, "after": 0}}  # the guard sees nothing coming


def check_stopped(done: Worker, folder: Path) -> None:
    """Exit code 4, one message, no failure recorded, no half line, no half file."""
    assert done.code == 4, done.log
    assert "error: found" in done.log
    assert "Traceback" not in done.log
    assert "attempt" not in done.log
    assert all(row["kind"] != "failed" for row in ledger_rows(folder))
    assert list(folder.rglob("*.tmp")) == []


@pytest.mark.parametrize("size_kb", [4, 16, 28, 36, 60, 92])
def test_a_full_disk_stops_cleanly(new_drill: Make, undisturbed: Reference, size_kb: int) -> None:
    """A real one, of a few pages: it is full at another step each time. What it holds goes on elsewhere."""
    drill = new_drill(f"{size_kb}", 8)
    kept = drill.folder / "kept"
    small = {"path": str(drill.out), "size_bytes": size_kb * 1024, "copy": str(kept)}
    done = drill.run(patches={"small_disk": small, **ROOMY})
    if done.code == NO_MOUNT:
        pytest.skip("this machine lets nobody mount a small disk")
    check_stopped(done, kept)
    clips = {row["prompt_id"] for row in ledger_rows(kept) if row["kind"] == "clip"}
    drill.out.rmdir()
    shutil.copytree(kept, drill.out)
    drill.kills = 1  # the batch in hand
    again = drill.run()
    assert again.code == 0, again.log
    assert clips <= {row["prompt_id"] for row in drill.rows("clip")}
    drill.check(undisturbed(8), 4)


@pytest.mark.parametrize("size_bytes", [1000, 2500, 5000])
def test_a_limit_on_files_stops_cleanly(new_drill: Make, undisturbed: Reference, size_bytes: int) -> None:
    """RLIMIT_FSIZE, as batch systems set it: the suite's file, a clip, or a ledger grows too big."""
    drill = new_drill("limit", 8)
    done = drill.run(patches={"file_limit": {"size_bytes": size_bytes}})
    check_stopped(done, drill.out)
    drill.kills = 1
    assert drill.run().code == 0
    drill.check(undisturbed(8), 4)


@pytest.mark.parametrize(
    ("call", "part", "at"),
    [
        ("write", "/ledger/", 0),
        ("write", "/ledger/", 1),
        ("write", "/ledger/", 4),
        ("fsync", "/ledger/", 1),
        ("fsync", "/clips/", 3),
        ("fsync", "/clips/", 2),
        ("fsync", "/sessions/", 0),
        ("replace", "/clips/", 5),
        ("replace", "manifest.json", 0),
        ("link", "/leases/", 1),
        ("fsync", "/leases", 1),
        ("fsync", "scores.jsonl", 0),
    ],
)
def test_a_refused_call_stops_cleanly(new_drill: Make, undisturbed: Reference, call: str, part: str, at: int) -> None:
    """A write leaves half of its bytes first; fsync is where a network drive tells of a quota."""
    drill = new_drill("refused", 8)
    code = errno.EDQUOT if call == "fsync" else errno.ENOSPC
    done = drill.run(patches={"refuse": {"call": call, "code": code, "at": at, "part": part}})
    if call == "link":  # a disk without hard links says no as well: the lease is then made in another way
        assert done.code == 0, done.log
    else:
        check_stopped(done, drill.out)
    drill.kills = 1
    assert drill.run().code == 0
    drill.check(undisturbed(8), 4)


def test_a_run_that_would_not_fit_does_not_begin(new_drill: Make) -> None:
    drill = new_drill("guard", 16)
    done = drill.run(patches={"disk": {"free_bytes": 20_000, "after": 0}})
    assert done.code == 4
    assert "20.0 kB free on the disk" in done.log
    assert drill.rows("clip") == []
    check_folder_is_free(drill)


def test_a_disk_that_fills_up_meanwhile_stops_before_the_next_batch(new_drill: Make, undisturbed: Reference) -> None:
    drill = new_drill("meanwhile", 16)
    done = drill.run(patches={"disk": {"free_bytes": 100, "after": 3}})
    assert done.code == 4, done.log
    assert "for the next micro-batch" in done.log
    assert len(drill.rows("clip")) == 6
    check_folder(drill.out)
    assert drill.run().code == 0
    drill.check(undisturbed(16), 8)


def check_folder_is_free(drill: Drill) -> None:
    """No lease and no temporary file is left."""
    assert list((drill.out / "leases").iterdir()) == []
    assert list(drill.out.rglob("*.tmp")) == []

"""Processes of another machine, of which only files are seen: who is at work, and when is a lease lapsed?"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from turbo_eval import durable
from turbo_eval.durable import Swept, publish, stale_temporaries, write_atomically, writer
from turbo_eval.leases import Lease, Session, Sessions

HOUR_S = 3600.0
PATIENCE_S = 60.0


def forge(run: Path, name: str, beat_s_ago: float, **content: object) -> Path:
    """A session file of a process on another machine with its last heartbeat so long ago."""
    path = run / "sessions" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"boot_id": "another machine", "ended_at": None, **content}), encoding="utf-8")
    beat(path, beat_s_ago)
    return path


def beat(path: Path, s_ago: float) -> None:
    os.utime(path, (time.time() - s_ago,) * 2)


def hold(run: Path, unit: str, number: int, content: str | bytes) -> Path:
    path = run / "leases" / f"{unit}.{number}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def soon(condition: Callable[[], object]) -> bool:
    """Whether it becomes true while one waits."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


@pytest.mark.parametrize(("beat_s_ago", "is_alive"), [(0, True), (100, True), (301, False), (HOUR_S, False)])
def test_a_heartbeat_of_another_machine_counts_for_five_minutes(
    tmp_path: Path, beat_s_ago: float, is_alive: bool
) -> None:
    forge(tmp_path, "far-1-ab", beat_s_ago)
    hold(tmp_path, "unit", 1, "far-1-ab")
    with Session(tmp_path, {}) as session:
        assert session.alive("far-1-ab") == is_alive
        assert session.acquire("unit") == (None if is_alive else Lease("unit", 2))


def test_a_process_that_has_ended_holds_nothing(tmp_path: Path) -> None:
    forge(tmp_path, "far-1-ab", 0, ended_at=1.0)
    hold(tmp_path, "unit", 1, "far-1-ab")
    with Session(tmp_path, {}) as session:
        assert session.acquire("unit") == Lease("unit", 2)


def test_the_clocks_of_two_machines_are_never_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's clock is an hour ahead and then behind: the file system stamps both heartbeats."""
    now = time.time()
    forge(tmp_path, "far-1-ab", 10)
    forge(tmp_path, "far-2-cd", 400)
    for wrong_s in (HOUR_S, -HOUR_S):
        monkeypatch.setattr(time, "time", lambda wrong_s=wrong_s: now + wrong_s)
        seen = Sessions(tmp_path)
        assert (seen.alive("far-1-ab"), seen.alive("far-2-cd")) == (True, False)


def test_a_clock_that_went_backwards_keeps_nobody_alive(tmp_path: Path) -> None:
    """A heartbeat of the future, that nothing follows, lapses after having been watched for as long as any other."""
    dead = forge(tmp_path, "far-1-ab", -HOUR_S)
    living = forge(tmp_path, "far-2-cd", -HOUR_S)
    hold(tmp_path, "dead", 1, "far-1-ab")
    hold(tmp_path, "living", 1, "far-2-cd")
    with Session(tmp_path, {}, expiry_s=0.5) as session:
        assert session.acquire("dead") is None
        later_s = iter(range(1, 100_000))

        def taken() -> bool:
            beat(living, -HOUR_S - next(later_s))
            assert session.acquire("living") is None
            return session.acquire("dead") == Lease("dead", 2)

        assert soon(taken)
    assert dead.exists()


def test_a_heartbeat_beats(tmp_path: Path) -> None:
    with Session(tmp_path, {}, expiry_s=0.25) as session:
        path = tmp_path / "sessions" / f"{writer()}.json"
        beat(path, HOUR_S)
        assert soon(lambda: path.stat().st_mtime > time.time() - HOUR_S / 2)
        assert session.alive(writer())
    assert json.loads(path.read_text(encoding="utf-8"))["ended_by"] == "finished"


def test_who_was_paused_for_too_long_holds_nothing_any_more(tmp_path: Path) -> None:
    """A laptop that slept: another machine has taken the unit over, has perhaps finished it."""
    with Session(tmp_path, {}) as session:
        lease = session.acquire("unit")
        assert lease == Lease("unit", 1)
        assert session.holds(lease)
        other = hold(tmp_path, "unit", 2, "far-1-ab")
        assert not session.holds(lease)
        session.release(lease)
        assert [path.name for path in (tmp_path / "leases").iterdir()] == [other.name]
        other.unlink()
        assert not session.holds(lease)


def test_two_that_take_over_at_once_do_not_both_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both saw the dead holder; the file system lets one of them link the next number."""
    hold(tmp_path, "unit", 1, "gone-1-ab")
    with Session(tmp_path, {}) as session:
        seen = session.holders()
        forge(tmp_path, "far-1-ab", 0)
        hold(tmp_path, "unit", 2, "far-1-ab")
        monkeypatch.setattr(session, "holders", lambda unit=None: seen)
        assert session.acquire("unit") is None


@pytest.mark.parametrize(
    "content", [b"", b"../../outside", b"/etc/passwd", b"\xff\xfe\x00", b"x" * 5000, b"two\nlines"]
)
def test_a_lease_without_a_proper_name_lapses_by_its_age(tmp_path: Path, content: bytes) -> None:
    """It may be getting its name just now (made where there are no hard links); later nobody will write it."""
    lease = hold(tmp_path, "unit", 1, content)
    with Session(tmp_path, {}) as session:
        assert session.acquire("unit") is None
        beat(lease, HOUR_S)
        assert session.acquire("unit") == Lease("unit", 2)
        session.release(Lease("unit", 2))
    assert list((tmp_path / "leases").iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "null", '"text"', '{"boot_id"', "\x00"])
def test_a_session_file_that_says_nothing_is_nobodys(tmp_path: Path, content: str) -> None:
    forge(tmp_path, "far-1-ab", 0).write_text(content, encoding="utf-8")
    hold(tmp_path, "unit", 1, "far-1-ab")
    with Session(tmp_path, {}) as session:
        assert not session.alive("far-1-ab")
        assert session.acquire("unit") == Lease("unit", 2)


def test_a_disk_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """exFAT, some network drives: the lease is made by exclusive creation."""

    def no_links(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    with Session(tmp_path, {}) as session:
        lease = session.acquire("unit")
        assert lease == Lease("unit", 1)
        assert session.holds(lease)
        assert session.acquire("unit") is None
    assert list((tmp_path / "leases").iterdir()) == []


def test_lapsed_leases_of_what_is_done_are_cleared_and_no_others(tmp_path: Path) -> None:
    forge(tmp_path, "far-1-ab", 0)
    for unit, holder in (("done", "gone-1-ab"), ("other", "gone-1-ab"), ("held", "far-1-ab")):
        hold(tmp_path, unit, 1, holder)
    with Session(tmp_path, {}) as session:
        session.clear({"done", "held"})
    assert {path.name for path in (tmp_path / "leases").iterdir()} == {"other.1", "held.1"}


# ------------------------------------------------------------------------------------------ swept by somebody else


def sweep(folder: Path) -> None:
    """What another process does that opens the run and takes this one for dead."""
    for path in folder.glob(".*.tmp"):
        path.unlink()


def test_a_small_file_that_is_swept_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two sessions a process counts as dead, and yet may be writing its results."""
    sync, times = durable.sync_file, [2]

    def swept_meanwhile(path: Path) -> None:
        if times[0] and path.name.endswith(".tmp"):
            times[0] -= 1
            sweep(tmp_path)
        sync(path)

    monkeypatch.setattr(durable, "sync_file", swept_meanwhile)
    write_atomically(tmp_path / "scores.jsonl", b"whole")
    assert times == [0]
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("scores.jsonl", b"whole")]


def test_a_clip_that_is_swept_is_made_again(tmp_path: Path) -> None:
    """That is an attempt that failed (worker.py makes three), not a folder that cannot be written."""

    def check(path: Path) -> tuple[str, None]:
        sweep(tmp_path)
        return "clip.mp4", None

    with pytest.raises(Swept):
        publish(tmp_path / "clip.mp4", lambda path: path.touch(), check)
    assert list(tmp_path.iterdir()) == []


def test_only_temporary_files_of_dead_processes_are_stale(tmp_path: Path) -> None:
    names = (".a.mp4.dead-1-ab.tmp", ".a.mp4.alive-1-ab.tmp", ".lease.dead-1-ab.tmp", f".a.mp4.{writer()}.tmp")
    others = (".mine.tmp", "a.mp4.dead-1-ab.tmp", ".a.mp4.dead-1-ab.tmp.mp4")
    for name in (*names, *others):
        (tmp_path / name).touch()
    (tmp_path / ".b.mp4.dead-1-ab.tmp").symlink_to(tmp_path / ".mine.tmp")
    stale = stale_temporaries(tmp_path, lambda name: name == "alive-1-ab")
    assert {path.name for path in stale} == {names[0], names[2]}

"""Who works on which micro-batch, when any number of processes share a folder and may be killed at any moment?

    RUN/sessions/<process>.json   what the process is (environment, command); touched as its heartbeat
    RUN/leases/<unit>.<n>         the n-th lease of a unit: the name of the process that holds it

A lease is taken by linking a finished file to the next free number, which the file system lets one process do. The
highest number holds. It lapses when its process is gone: on the same machine the lock on the session file says so
at once, from elsewhere a heartbeat that is older than `expiry_s`. Heartbeats are compared by the file system's
clock, never by the clocks of two machines. A lease saves work; that nothing is harmed without one is the ledger's
doing. Differs: no collectives, no coordinator (VBench splits by torch.distributed and hangs with a lost rank).
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from turbo_eval.durable import check_contained, sync_folder, write_atomically, writer, writing
from turbo_train.errors import UserError

BEAT_S = 30.0
EXPIRY_S = 300.0
_LEASE = re.compile(r"(?P<unit>.+)\.(?P<number>\d+)")
_WRITER = re.compile(r"[A-Za-z0-9-]{1,100}")


@dataclass(frozen=True)
class Lease:
    """A unit that this process holds."""

    unit: str
    number: int


@dataclass(frozen=True)
class SessionInfo:
    """A process that works or worked on a run. age_s: since its last heartbeat, by the file system's clock."""

    writer: str
    alive: bool
    ended: bool
    age_s: float
    content: Mapping[str, Any]


class Sessions:
    """The processes of a run, as this one sees them. Reads only."""

    def __init__(self, folder: Path, expiry_s: float = EXPIRY_S) -> None:
        self.folder = folder / "sessions"
        self.expiry_s = expiry_s
        self._beats: dict[str, tuple[float, float]] = {}  # process -> its last heartbeat, and when it was seen here
        check_contained(folder, self.folder)
        check_contained(folder, folder / "leases")

    def names(self) -> list[str]:
        """Every process that has ever worked here."""
        return sorted(path.stem for path in self.folder.glob("*.json")) if self.folder.is_dir() else []

    def alive(self, name: str) -> bool:
        """Whether a process may still be at work. One that never said so (a copied ledger) is not."""
        return name == writer() or self.info(name).alive

    def info(self, name: str) -> SessionInfo:
        """What is known of a process. A file that is no session, or a symbolic link, is nobody's."""
        path = self.folder / f"{name}.json"
        try:
            content = None if path.is_symlink() or not path.is_file() else json.loads(path.read_text(encoding="utf-8"))
            age_s = self._age_s(name, path.stat().st_mtime)
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict):
            return SessionInfo(name, False, False, float("inf"), {})
        ended = content.get("ended_at") is not None
        locked = _is_locked(path) if content.get("boot_id") == boot_id() else None
        said = content.get("expiry_s")
        expiry_s = max(self.expiry_s, said if isinstance(said, int | float) else 0.0)  # it beats for its own
        alive = not ended and (age_s < expiry_s if locked is None else locked)
        return SessionInfo(name, alive, ended, age_s, content)

    def _age_s(self, name: str, beat: float) -> float:
        """How old a heartbeat is: by the file system's clock, but at least as long as it was watched from here.

        The second counts when the clock went backwards, and every file seems to be of the future.
        """
        now = time.monotonic()
        seen, since = self._beats.get(name, (beat, now))
        since = now if seen != beat else since
        self._beats[name] = (beat, since)
        return max(self.clock() - beat, now - since)

    def clock(self) -> float:
        """Now, in s, as the file system stamps files; as this machine does where no file can be made."""
        try:
            with tempfile.TemporaryFile(dir=self.folder) as stream:
                return os.fstat(stream.fileno()).st_mtime
        except OSError:
            return time.time()

    def holders(self, unit: str | None = None) -> dict[str, tuple[int, str]]:
        """unit -> (number, process) of the highest lease of each unit, or of one."""
        found: dict[str, tuple[int, str]] = {}
        folder = self.folder.parent / "leases"
        for path in folder.iterdir() if folder.is_dir() else ():
            match = _LEASE.fullmatch(path.name)
            if match and unit not in (None, match["unit"]):
                continue
            if match and (number := int(match["number"])) > found.get(match["unit"], (0, ""))[0]:
                holder = _holder(path)
                if holder is not None:
                    found[match["unit"]] = (number, holder)
        return found


class Session(Sessions):
    """This process at work on a run: a heartbeat and leases. Use it as a context manager."""

    def __init__(
        self, folder: Path, content: Mapping[str, Any], *, expiry_s: float = EXPIRY_S, beat_s: float | None = None
    ) -> None:
        super().__init__(folder, expiry_s)
        self._leases = folder / "leases"
        self._path = self.folder / f"{writer()}.json"
        started_at = self.info(writer()).content.get("started_at", time.time())  # an earlier part of this command
        own = {"writer": writer(), "boot_id": boot_id(), "started_at": started_at, "expiry_s": expiry_s}
        self._content = {**content, **own}
        self._beat_s = min(BEAT_S, expiry_s / 5) if beat_s is None else beat_s
        self._stop = threading.Event()
        self._lock: int | None = None

    def __enter__(self) -> Session:
        self._write({"ended_at": None})
        self._lock = _lock(self._path)
        with writing(self._leases):
            self._leases.mkdir(exist_ok=True)
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for unit, (number, holder) in self.holders().items():
            if holder == writer():
                self.release(Lease(unit, number))
        try:
            self._write({"ended_at": time.time(), "ended_by": kind.__name__ if kind else "finished"})
        except UserError:  # a full disk; the end of the lock, or of the heartbeat, says as much
            if kind is None:
                raise
        finally:
            if self._lock is not None:
                os.close(self._lock)

    def _write(self, more: Mapping[str, Any]) -> None:
        write_atomically(self._path, (json.dumps({**self._content, **more}, indent=1) + "\n").encode())

    def _beat(self) -> None:
        while not self._stop.wait(self._beat_s):
            try:
                os.utime(self._path)
            except OSError:  # a full disk or a lost mount: the work itself will say so
                continue

    def clock(self) -> float:
        """Now, as the file system stamps this session's own heartbeat."""
        os.utime(self._path)
        return self._path.stat().st_mtime

    def acquire(self, unit: str) -> Lease | None:
        """The lease of a unit, or None while another living process holds it."""
        number, holder = self.holders(unit).get(unit, (0, ""))
        if number and self._is_held(unit, number, holder):
            return None
        with writing(self._leases):
            return Lease(unit, number + 1) if self._link(self._leases / f"{unit}.{number + 1}") else None

    def _is_held(self, unit: str, number: int, holder: str) -> bool:
        """By a living process. A lease without a name (made without hard links) may still be getting it."""
        if holder:
            return self.alive(holder)
        try:
            return self.clock() - (self._leases / f"{unit}.{number}").lstat().st_mtime < self.expiry_s
        except OSError:  # released meanwhile
            return True

    def _link(self, path: Path) -> bool:
        """Creates a lease with its content in one step; False when somebody else was faster."""
        partial = path.with_name(f".lease.{writer()}.tmp")
        try:
            partial.write_text(writer(), encoding="ascii")
            os.link(partial, path)
        except FileExistsError:
            return False
        except OSError:  # no hard links here (exFAT, some network drives): content follows a moment later
            try:
                with path.open("x", encoding="ascii") as stream:
                    stream.write(writer())
            except FileExistsError:
                return False
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(self._leases)
        return True

    def holds(self, lease: Lease) -> bool:
        """Whether the lease is still this process's: after a long pause another may have taken the unit over."""
        return self.holders(lease.unit).get(lease.unit) == (lease.number, writer())

    def release(self, lease: Lease) -> None:
        """Gives a unit back, with the lapsed leases below it."""
        for path in self._leases.glob(f"{lease.unit}.*"):
            match = _LEASE.fullmatch(path.name)
            if match and match["unit"] == lease.unit and int(match["number"]) <= lease.number:
                with writing(path):
                    path.unlink(missing_ok=True)

    def clear(self, units: Collection[str]) -> None:
        """Removes lapsed leases of units that are done: somebody was killed between the last row and the release."""
        for unit, (number, holder) in self.holders().items():
            if unit in units and not self._is_held(unit, number, holder):
                self.release(Lease(unit, number))


def _holder(path: Path) -> str | None:
    """Who holds a lease; empty when the file does not say, None when it was released. No link is followed."""
    try:
        name = "" if path.is_symlink() else path.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None
    except OSError:
        return ""
    return name if _WRITER.fullmatch(name) else ""


def boot_id() -> str | None:
    """The running kernel, if it says which: processes with the same one see each other's locks."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text(encoding="ascii").strip() if path.exists() else None


def _lock(path: Path) -> int | None:
    """Locks a file for as long as this process lives; None where there are no such locks."""
    if sys.platform == "win32":
        return None
    import fcntl

    handle = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # waits for those that are just asking whether it is locked
    except OSError:  # a file system without locks: the heartbeat alone decides
        os.close(handle)
        return None
    return handle


def _is_locked(path: Path) -> bool | None:
    """Whether a process of this machine holds the lock of its session file; None where locks do not say."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(handle)
    return False

"""How does a drill start workers, kill them and look at what they left? The fork server is drill_child.py."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

PATIENCE_S = 120.0
METRICS = ("temporal_flickering", "motion_smoothness", "oracle_colour")  # no networks: a drill is about files
BATCH = 2


class Server:
    """The fork server's other end; may be used from several threads."""

    def __init__(self, repository: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("drill_child.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=repository,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(repository)},
        )
        self.lock = threading.Lock()

    def ask(self, **command: Any) -> Any:
        """The answer to one command."""
        assert self.process.stdin and self.process.stdout
        with self.lock:
            self.process.stdin.write(json.dumps(command) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        assert answer, "the fork server has ended; see its stderr"
        return json.loads(answer)

    def close(self) -> None:
        """Ends the server and its children."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(PATIENCE_S)


@dataclass
class Worker:
    """A process at work. code: how it ended; None while it runs."""

    server: Server
    pid: int
    log_path: Path
    code: int | None = None

    def is_running(self) -> bool:
        if self.code is None:
            self.code = self.server.ask(poll=self.pid)
        return self.code is None

    def wait(self) -> int:
        """The exit code; negative for a signal."""
        deadline = time.monotonic() + PATIENCE_S
        while self.is_running():
            assert time.monotonic() < deadline, f"still running:\n{self.log}"
            time.sleep(0.002)
        assert self.code is not None
        return self.code

    def send(self, number: int) -> None:
        """A signal, if it still runs."""
        if self.is_running():
            os.kill(self.pid, number)  # not reaped before it is polled: the id is still its own

    def kill(self) -> bool:
        """SIGKILL. Whether that ended it: it may have been faster."""
        self.send(signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    @property
    def log(self) -> str:
        """What it said."""
        return self.log_path.read_text(encoding="utf-8") if self.log_path.exists() else ""


@dataclass
class Drill:
    """One run folder with its workers. kills: how many workers were killed so far."""

    server: Server
    model: Path
    folder: Path
    suite: Path
    request: dict[str, Any] = field(default_factory=dict)
    kills: int = 0
    workers: int = 0

    @property
    def out(self) -> Path:
        """The run's folder."""
        return self.folder / "run"

    def fields(self, **more: Any) -> dict[str, Any]:
        """A Request's fields."""
        common = {"model": str(self.model), "suite": str(self.suite), "samples": 1, "batch": BATCH, "threads": 1}
        rest = {"num_steps": 1, "latency": False, "dimensions": METRICS, "out": str(self.out), "encoders": "embedded"}
        return {**common, **rest, **self.request, **more}

    def start(self, *, request: dict[str, Any] | None = None, **plan: Any) -> Worker:
        """A new worker on the run."""
        self.workers += 1
        log = self.folder / f"log-{self.workers}"
        whole = {"request": self.fields(**(request or {})), "log": str(log), "starts": str(self.starts_path), **plan}
        return Worker(self.server, self.server.ask(start=whole), log)

    def run(self, **plan: Any) -> Worker:
        """A worker that has ended."""
        worker = self.start(**plan)
        worker.wait()
        return worker

    def kill(self, worker: Worker) -> None:
        """SIGKILL, counted if it was in time."""
        self.kills += worker.kill()

    # ------------------------------------------------------------------------------------------ what was left

    @property
    def starts_path(self) -> Path:
        return self.folder / "starts"

    def starts(self) -> Counter[str]:
        """micro-batch -> how often it was begun."""
        lines = self.starts_path.read_text(encoding="utf-8").splitlines() if self.starts_path.exists() else []
        return Counter(line.rsplit(" ", 1)[0] for line in lines)

    def scores(self) -> bytes:
        return (self.out / "scores.jsonl").read_bytes()

    def rows(self, kind: str) -> list[dict[str, Any]]:
        """The ledger's rows of a kind, as they stand in its files."""
        return [row for row in ledger_rows(self.out) if row["kind"] == kind]

    def check(self, reference: bytes, units: int) -> None:
        """Nothing lost, nothing twice, nothing left over, and the same bytes as a run that nobody disturbed."""
        assert self.scores() == reference
        starts = self.starts()
        assert len(starts) == units
        assert sum(starts.values()) <= units + self.kills, starts
        check_folder(self.out)


def ledger_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Every row of a run's ledger; each line must be whole."""
    for path in sorted((folder / "ledger").glob("*.jsonl")):
        data = path.read_bytes()
        assert not data or data.endswith(b"\n"), f"{path} has an unfinished line"
        for line in data.splitlines():
            yield json.loads(line)


def check_folder(folder: Path) -> None:
    """Each clip has one row and each row its file, each score one row; no temporary file and no lease is left."""
    rows = list(ledger_rows(folder))
    clips = [row for row in rows if row["kind"] == "clip"]
    names = Counter((r["model"], r["prompt_id"], r["sample_index"], r["key"]) for r in clips)
    assert set(names.values()) == {1}, names
    files = {path for path in (folder / "clips").rglob("*") if path.is_file()}
    assert files == {folder / row["path"] for row in clips}
    for row in clips:
        data = (folder / row["path"]).read_bytes()
        assert (sha256(data).hexdigest(), len(data)) == (row["sha256"], row["size_bytes"])
    scores = Counter((r["clip_sha256"], r["metric"], r["scorer"]) for r in rows if r["kind"] == "score")
    assert set(scores.values()) == {1}, scores
    assert list(folder.rglob("*.tmp")) == []
    assert list((folder / "leases").iterdir()) == []


def moments(seed: int, count: int, duration_s: float) -> list[float]:
    """Random moments of a run, evenly spread over its duration."""
    chance = random.Random(seed)
    return [chance.uniform(0, duration_s) for _ in range(count)]


def write_suite(path: Path, source: Path, count: int) -> Path:
    """The first prompts of a suite file."""
    lines = source.read_text(encoding="utf-8").splitlines()[:count]
    if not path.exists():
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path

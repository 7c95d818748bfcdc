"""Which clips and scores of a run are done? The rows of its ledger say; a file that merely exists proves nothing.

    RUN/manifest.json, suite.jsonl            what the run is (manifest.py)
    RUN/ledger/<process>.jsonl                a row per clip, per (clip, its sha256, metric, scorer), per failure
    RUN/clips/<model>-<key>/<index>-<sample>-<sha256>.mp4

A clip's file is published first (clip_files.py); the rows of a micro-batch follow in one write (ledger.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from turbo_eval.clip_files import NewClip, Place, Published, copy_clip, write_clip
from turbo_eval.decode_ahead import DecodeAhead
from turbo_eval.durable import alone, check_contained, sha256_of, stale_temporaries, sync_folder, writing
from turbo_eval.leases import EXPIRY_S, Sessions
from turbo_eval.ledger import Ledger, Line
from turbo_eval.manifest import Manifest, begin, check_same, is_new, read_manifest, read_suite
from turbo_eval.prompt_suite import Suite
from turbo_eval.records import ClipId, ClipRecord, ScoreRecord, check_name

DAMAGED = "its file was changed or removed"


@dataclass(frozen=True)
class Failure:
    """Why a clip (stage `generate` or `import`) or its scores (`score`) could not be made. metrics: the missing ones.

    at: when, in s of UTC; 0 until it is recorded.
    """

    clip_id: ClipId
    key: str
    stage: str
    metrics: tuple[str, ...]
    error: str
    traceback: str
    attempts: int
    at: float = 0.0


class Run:
    """An open run. `notes` says what was repaired or swept when it was opened, for stderr."""

    def __init__(self, folder: Path, *, repair: bool = True, expiry_s: float = EXPIRY_S) -> None:
        self.folder = folder
        self.manifest: Manifest = read_manifest(folder)
        self.suite: Suite = read_suite(folder, self.manifest)
        self.keys: Mapping[str, str] = self.manifest.keys
        self.sessions = Sessions(folder, expiry_s)
        self.notes: list[str] = []
        self.reliefs: list[tuple[str, str]] = []  # (unit, what was done for want of memory) from there on
        self._failures: dict[tuple[ClipId, str], Failure] = {}
        self._clips: dict[tuple[ClipId, str], dict[str, ClipRecord]] = {}  # (clip, key) -> sha256 -> row
        self._scores: dict[tuple[ClipId, str], dict[tuple[str, str], ScoreRecord]] = {}  # (clip, sha256) -> metric
        self._there: dict[str, bool] = {}  # path -> a file of the right size lies there
        self._rooted: set[Path] = set()  # folders whose own names are on the disk
        self._hashed: set[str] = set()  # paths whose file was seen to have the row's sha256
        for name in ("clips", "ledger"):
            check_contained(folder, folder / name)
        self.ledger = Ledger(folder / "ledger", self.sessions.alive, repair=repair)
        self.refresh()
        for path, size in self.ledger.repaired:
            self.notes.append(f"{path.name}: {'cut off' if repair else 'has'} an unfinished last line ({size} bytes)")
        if repair:
            self._sweep()

    def _sweep(self) -> None:
        stale = stale_temporaries(self.folder, self.sessions.alive)
        for path in stale:
            with writing(path):
                path.unlink(missing_ok=True)
        if stale:
            self.notes.append(f"swept {len(stale)} unfinished files that an earlier process has left")

    def refresh(self) -> int:
        """Reads the rows that were written since the last call, by whomever. Returns how many."""
        count = 0
        for line in self.ledger.read_new():
            try:
                self._take(line)
            except (ValueError, KeyError, TypeError) as error:
                raise line.broken(f"{type(error).__name__}: {error}") from error
            count += 1
        return count

    def _take(self, line: Line) -> None:
        kind = line.data["kind"]
        if kind == "clip":
            clip = ClipRecord.from_json(line.data)
            self._check_suite(clip.suite_sha256)
            self._clips.setdefault((clip.clip_id, clip.key), {})[clip.sha256] = clip
            self._there.pop(clip.path, None)  # another process has made a file again that was missing
        elif kind == "score":
            score = ScoreRecord.from_json(line.data)
            self._check_suite(score.suite_sha256)
            self._remember(score, str(line.data["clip_sha256"]))
        elif kind == "failed":
            row = {name: line.data[name] for name in ("key", "stage", "error", "traceback", "attempts")}
            clip_id = (line.data["model"], line.data["prompt_id"], line.data["sample_index"])
            failure = Failure(clip_id, metrics=tuple(line.data["metrics"]), **row)
            failure = replace(failure, at=float(line.data["at"]))
            before = self._failures.get((clip_id, failure.key))
            if before is None or failure.at >= before.at:  # ledgers are read by name, not by time
                self._failures[clip_id, failure.key] = failure
        elif kind == "relief":
            self.reliefs.append((str(line.data["unit"]), str(line.data["what"])))
        else:
            raise ValueError(f"a row of kind {kind!r}")

    def _check_suite(self, sha256: str | None) -> None:
        if sha256 != self.suite.sha256:
            raise ValueError(f"a row of another suite ({(sha256 or 'none')[:12]})")

    def _remember(self, score: ScoreRecord, clip_sha256: str) -> None:
        self._scores.setdefault((score.clip_id, clip_sha256), {})[score.metric, score.scorer] = score

    # ----------------------------------------------------------------------------------------------- reading

    def clip_path(self, clip: ClipRecord) -> Path:
        """Where the clip's file lies. UserError when a symbolic link leads out of the run."""
        return check_contained(self.folder, self.folder / clip.path)

    def clip(self, clip_id: ClipId, key: str | None = None) -> ClipRecord | None:
        """The clip if it is done: it has a row of this content key (default: the model's), and its file is there.

        Of two rows with different bytes the one whose file is there counts, then the one with the smaller sha256.
        """
        rows = self._clips.get((clip_id, key or self.keys.get(clip_id[0], "")), {})
        return next((rows[sha256] for sha256 in sorted(rows) if self._is_there(rows[sha256])), None)

    def _is_there(self, clip: ClipRecord) -> bool:
        if clip.path not in self._there:
            path = self.clip_path(clip)
            self._there[clip.path] = path.is_file() and path.stat().st_size == clip.size_bytes
        return self._there[clip.path]

    def is_damaged(self, clip: ClipRecord) -> bool:
        """Whether the file's bytes are not the row's; each file is hashed once. A damaged clip is no longer done."""
        if clip.path not in self._hashed:
            path = self.clip_path(clip)
            if not path.is_file() or sha256_of(path) != clip.sha256:
                self._there[clip.path] = False
                return True
            self._hashed.add(clip.path)
        return False

    def rows(self) -> list[ClipRecord]:
        """Every clip that ever got a row, of any key, whether its file is there or not."""
        return [clip for rows in self._clips.values() for clip in rows.values()]

    def clips(self) -> list[ClipRecord]:
        """Every clip of the models' present keys that is done, in the order of clip_id."""
        ids = sorted({clip_id for clip_id, key in self._clips if self.keys.get(clip_id[0]) == key})
        return [clip for clip_id in ids if (clip := self.clip(clip_id)) is not None]

    def score(self, clip: ClipRecord, metric: str, scorer: str) -> ScoreRecord | None:
        """What this scorer said of this very file, if it was asked before."""
        return self._scores.get((clip.clip_id, clip.sha256), {}).get((metric, scorer))

    def scores(self, wanted: Iterable[tuple[str, str]] | None = None) -> list[ScoreRecord]:
        """Scores of the clips that are done, in canonical order; `wanted` limits them to (metric, scorer) pairs."""
        limits = None if wanted is None else set(wanted)
        kept = [
            score
            for clip in self.clips()
            for name, score in self._scores.get((clip.clip_id, clip.sha256), {}).items()
            if limits is None or name in limits
        ]
        return sorted(kept, key=lambda score: score.sort_key)

    def failure(self, clip_id: ClipId) -> Failure | None:
        """The last failure of a clip of the model's present key, if what failed is still missing."""
        failure = self._failures.get((clip_id, self.keys.get(clip_id[0], "")))
        clip = self.clip(clip_id)
        if failure is None or clip is None:
            return failure
        scored = {metric for metric, _ in self._scores.get((clip_id, clip.sha256), {})}
        return failure if set(failure.metrics) - scored else None

    def failures(self) -> list[Failure]:
        """The open failures of the present keys."""
        ids = sorted(clip_id for clip_id, key in self._failures if self.keys.get(clip_id[0]) == key)
        return [failure for clip_id in ids if (failure := self.failure(clip_id))]

    # ----------------------------------------------------------------------------------------------- writing

    def publish(self, clips: Sequence[NewClip]) -> list[Published]:
        """Writes the clips of a micro-batch and then their rows: all of them are done, or none.

        OutOfSpace or UserError when the folder refuses. RuntimeError: a file does not decode to what was written.
        """
        lossless = self.manifest.identity.lossless
        return self._commit([write_clip(self._place(clip.clip_id, clip.index), clip, lossless) for clip in clips])

    def import_clip(self, clip_id: ClipId, index: int, source: Path, ahead: DecodeAhead | None = None) -> Published:
        """Copies a user's video in, byte for byte, and writes its row. UnreadableVideo when it does not decode."""
        return self._commit([copy_clip(self._place(clip_id, index), source, ahead)])[0]

    def _place(self, clip_id: ClipId, index: int) -> Place:
        return Place(self.folder, clip_id, index, self.keys[check_name("model", clip_id[0])], self.suite.sha256)

    def _commit(self, placed: Sequence[Published]) -> list[Published]:
        for folder in sorted({(self.folder / p.record.path).parent for p in placed}):
            with writing(folder):
                sync_folder(folder)
                if folder not in self._rooted:  # the names of the folder itself and of the one around it
                    sync_folder(folder.parent)
                    sync_folder(self.folder)
                    self._rooted.add(folder)
        self._append("clip", [p.record.to_json() for p in placed])
        for p in placed:
            self._clips.setdefault((p.record.clip_id, p.record.key), {})[p.record.sha256] = p.record
            self._there[p.record.path] = True
        return list(placed)

    def add_scores(self, scored: Sequence[tuple[ClipRecord, Sequence[ScoreRecord]]]) -> None:
        """Records the scores of a micro-batch: one write. What is known already is left out."""
        new: list[tuple[ScoreRecord, str]] = []
        for clip, scores in scored:
            for score in scores:
                if score.clip_id != clip.clip_id:
                    raise ValueError(f"a score of another clip than {clip.clip_id}")
                if self.score(clip, score.metric, score.scorer) is None:
                    new.append((replace(score, suite_sha256=self.suite.sha256), clip.sha256))
        self._append("score", [{**score.to_json(), "clip_sha256": sha256} for score, sha256 in new])
        for score, sha256 in new:  # not before they are on the disk
            self._remember(score, sha256)

    def add_failures(self, failures: Sequence[Failure]) -> None:
        """Records what could not be made, with the traceback."""
        rows = []
        for failure in failures:
            model, prompt_id, sample_index = failure.clip_id
            fields = {name: value for name, value in failure.__dict__.items() if name != "clip_id"}
            rows.append({"model": model, "prompt_id": prompt_id, "sample_index": sample_index, **fields})
        now = self._append("failed", rows)
        self._failures |= {(failure.clip_id, failure.key): replace(failure, at=now) for failure in failures}

    def add_relief(self, model: str, unit: str, what: str) -> None:
        """Records that, from this unit on, this process made clips in another way for want of memory."""
        self.reliefs.append((unit, what))
        self._append("relief", [{"model": model, "unit": unit, "what": what}])

    def _append(self, kind: str, rows: Sequence[Mapping[str, Any]]) -> float:
        """Returns when, in s of UTC."""
        now = round(time.time(), 3)
        if rows:
            self.ledger.append([{**row, "kind": kind, "at": now} for row in rows])
        return now

    def forget_hashes(self) -> None:
        """From here on every file is hashed again when somebody asks whether it is damaged."""
        self._hashed.clear()


def open_run(folder: Path, manifest: Manifest, suite: Suite, *, expiry_s: float = EXPIRY_S) -> Run:
    """Creates a run folder or opens it to go on. Each line of the ledger is read once.

    UserError: the folder is another run's, holds something else, cannot be written, or has a broken ledger.
    """
    is_new(folder, suite, locked=False)  # refuses another's folder before a lock file is left in it
    with alone(folder):  # of two commands that begin one run at once, the second sees what the first has written
        notes = begin(folder, manifest, suite)
    run = Run(folder, expiry_s=expiry_s)
    check_same(folder, manifest)  # again, for file systems without locks
    # Other processes may have written their own settings since: what counts here is this command.
    run.manifest = replace(run.manifest, scope=manifest.scope, models=manifest.models)
    run.keys = manifest.keys
    run.notes[:0] = notes
    return run

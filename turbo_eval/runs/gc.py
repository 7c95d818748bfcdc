"""What in a run's folder is of no use any more? Found first, then removed; nothing while anybody is at work.

Removed: former clips, files in clips/ that no row names, unfinished files, leases. A clip is former when the manifest
knows its model by another content key, and no process that is at work, or was within the last day, used its key: a
clip takes minutes to make, and a manifest that has lost a model is restored more easily than its clips.
The ledgers become one file, ledger/compact-<sha256>.jsonl, without rows of removed clips, rows that stand twice and
failures that were made good. It is on the disk before the old ones go: a kill in between leaves rows twice, which
harms nothing. Sessions are kept, as provenance. What status, verify and the table say stays the same.

Whether somebody is at work is asked twice, before the search and before the first removal. A command that only
prints (status, verify, explain, a finished vbench) holds no session: gc may run beneath it, and it reads what is left.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from turbo_eval.clip_files import SHORT
from turbo_eval.durable import check_contained, stale_temporaries, sync_folder, write_atomically, writing
from turbo_eval.records import ClipRecord, ScoreRecord, canonical_json
from turbo_eval.runs.checks import unlisted_files
from turbo_eval.runs.reading import Reading, refuse_broken, refuse_living
from turbo_eval.runs.scan import Row, ledgers
from turbo_eval.store import Failure
from turbo_train.weights.sizes import readable

RECENT_S = 24 * 3600.0


class Uses:
    """Which clips of a run are of use to somebody."""

    def __init__(self, run: Reading) -> None:
        self._run = run

    @cached_property
    def _recent(self) -> set[tuple[str, str]]:
        """(model, content key) of every process that is at work, or gave its last sign within the last day."""
        found = set[tuple[str, str]]()
        for info in self._run.workers():
            keys = info.content.get("keys")
            if isinstance(keys, dict) and (info.alive or info.age_s < RECENT_S):
                found |= {(str(model), str(key)) for model, key in keys.items()}
        return found

    def is_former(self, clip: ClipRecord) -> bool:
        """Whether a clip may go. One of a model that the manifest does not know stays."""
        is_known = clip.model in self._run.keys
        return is_known and not self._run.is_present(clip) and (clip.model, clip.key) not in self._recent

    def kept_beside(self) -> dict[str, int]:
        """Why clips stay though no model has their key now -> how many."""
        beside = [clip for clip in self._run.rows() if not self._run.is_present(clip) and not self.is_former(clip)]
        return dict(
            Counter(
                "made by a process of the last day"
                if clip.model in self._run.keys
                else f"the manifest knows no model {clip.model}"
                for clip in beside
            )
        )


@dataclass(frozen=True)
class Garbage:
    """What would go. compact: the new ledger's file and bytes, None when the ledger is compact already.

    kept_beside: why clips stay though no model has their key now -> how many.
    """

    run: Reading
    former_clips: tuple[Path, ...]
    unlisted_files: tuple[Path, ...]
    stale_temporaries: tuple[Path, ...]
    leases: tuple[Path, ...]
    ledgers: tuple[Path, ...]
    compact: tuple[Path, bytes] | None
    rows_before: int
    rows_after: int
    sizes: dict[Path, int]
    kept_beside: dict[str, int]

    @property
    def kinds(self) -> dict[str, tuple[Path, ...]]:
        """What goes, by kind."""
        return {
            "former_clips": self.former_clips,
            "unlisted_files": self.unlisted_files,
            "stale_temporaries": self.stale_temporaries,
            "leases": self.leases,
            "ledgers": self.ledgers,
        }

    @property
    def freed_bytes(self) -> int:
        """What goes, less the new ledger."""
        return sum(self.sizes.values()) - (len(self.compact[1]) if self.compact else 0)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        folder = self.run.folder
        return {
            "run": str(folder),
            "freed_bytes": self.freed_bytes,
            "rows_before": self.rows_before,
            "rows_after": self.rows_after,
            "compact": self.compact[0].relative_to(folder).as_posix() if self.compact else None,
            "kept_beside": self.kept_beside,
            "removed": {
                kind: {
                    "count": len(paths),
                    "size_bytes": sum(self.sizes[path] for path in paths),
                    "paths": [path.relative_to(folder).as_posix() for path in paths],
                }
                for kind, paths in self.kinds.items()
            },
        }

    def rows(self) -> list[dict[str, Any]]:
        """For people."""
        return [
            {"what": kind.replace("_", " "), "count": len(paths), "size": readable(sum(self.sizes[p] for p in paths))}
            for kind, paths in self.kinds.items()
        ]

    def remarks(self) -> list[str]:
        """What stays though one may have expected it to go, for people."""
        return [f"{count} clips stay: {why}" for why, count in self.kept_beside.items()]

    def summary(self, *, dry_run: bool) -> str:
        """One line."""
        ledger = f"{self.rows_before} rows become {self.rows_after} in {self.compact[0].name}" if self.compact else ""
        would = f"{'would free' if dry_run else 'freed'} {readable(max(self.freed_bytes, 0))}"
        return f"{would}; {ledger}" if ledger else would


def find_garbage(folder: Path) -> Garbage:
    """Looks for what may go; writes nothing. UserError: no run, somebody works on it, or a line of it is broken."""
    run = Reading(folder)
    refuse_living(run, "anything is removed")
    refuse_broken(run, "anything is removed")
    uses = Uses(run)
    former = {clip.path for clip in run.rows() if uses.is_former(clip)}
    former -= {clip.path for clip in run.rows() if not uses.is_former(clip)}
    kept = kept_rows(run, uses)
    old = ledgers(folder)
    data = "".join(f"{canonical_json(row.data)}\n" for row in kept).encode()
    compact = folder / "ledger" / f"compact-{hashlib.sha256(data).hexdigest()[:SHORT]}.jsonl"
    done = not old or old == [compact]
    clips = [check_contained(folder, (folder / path).parent) / Path(path).name for path in sorted(former)]
    kinds: dict[str, Sequence[Path]] = {
        "former_clips": [path for path in clips if path.is_symlink() or path.is_file()],
        "unlisted_files": unlisted_files(folder, run.scan),
        "stale_temporaries": stale_temporaries(folder, run.sessions.alive),
        "leases": _leases(folder),
        "ledgers": [] if done else [path for path in old if path != compact],
    }
    return Garbage(
        run=run,
        **{kind: tuple(paths) for kind, paths in kinds.items()},
        compact=None if done or not data else (compact, data),
        rows_before=len(run.scan.rows),
        rows_after=len(kept),
        sizes={path: path.lstat().st_size for paths in kinds.values() for path in paths},
        kept_beside=uses.kept_beside(),
    )


def _leases(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "leases").glob("*") if path.name[0] != ".")


def kept_rows(run: Reading, uses: Uses) -> list[Row]:
    """The rows that say something still, in the order of reading; of equal ones the last, for it is what counts."""
    present = {(c.clip_id, c.sha256) for _, c in run.scan.clips() if not uses.is_former(c)}
    former = {(c.clip_id, c.sha256) for _, c in run.scan.clips()} - present
    kept: dict[str, Row] = {}
    for row in run.scan.rows:
        record = row.record
        if isinstance(record, ClipRecord) and uses.is_former(record):
            continue
        if isinstance(record, ScoreRecord) and (record.clip_id, row.data["clip_sha256"]) in former:
            continue
        if isinstance(record, Failure) and run.failure(record.clip_id) != record:
            continue
        said = canonical_json({name: value for name, value in row.data.items() if name != "at"})
        kept.pop(said, None)
        kept[said] = row
    return list(kept.values())


def collect(garbage: Garbage) -> None:
    """Removes it. UserError when somebody has begun to work meanwhile, or the folder cannot be written."""
    run = garbage.run
    refuse_living(run, "anything is removed")
    if garbage.compact is not None:
        write_atomically(*garbage.compact)
    folders = set[Path]()
    for paths in garbage.kinds.values():
        for path in paths:
            with writing(path):
                path.unlink(missing_ok=True)
            folders.add(path.parent)
    for folder in sorted(folders):
        with writing(folder):
            sync_folder(folder)
    for folder in sorted((run.folder / "clips").glob("*")):
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()

"""Which clips and scores of a run are done? A folder with a manifest and two ledgers; re-running resumes.

    RUN/manifest.json                            the identity of the configuration; another one is refused
    RUN/clips.jsonl                              one row per clip made
    RUN/ledger.jsonl                             one row per (clip, its sha256, metric, scorer)
    RUN/videos/<model>/<prompt_id>-<sample>.mp4  published whole: temporary name, fsync, rename

The row, not the file, means done, and only while the file still has the row's sha256. Practice: inspect_ai and
MLPerf resume by repeating the command; a file that merely exists proves nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from turbo_eval.ledger import Ledger, write_atomically, writing
from turbo_eval.records import SCHEMA_VERSION, ClipId, ClipRecord, ScoreRecord, check_name
from turbo_train.errors import UserError


@dataclass(frozen=True)
class ModelIdentity:
    """What makes one model's clips: fields that are not known (a folder of videos) are None."""

    name: str
    num_steps: int | None = None
    guidance_scale: float | None = None
    weights_sha256: str | None = None


@dataclass(frozen=True)
class RunIdentity:
    """The fields that must match before two commands may share a run folder. Sizes are None for a user's videos."""

    suite: str
    suite_sha256: str
    models: tuple[ModelIdentity, ...]
    samples: int
    seed: int
    frames: int | None = None
    height_px: int | None = None
    width_px: int | None = None
    fps: float | None = None
    lossless: bool = True
    schema_version: int = SCHEMA_VERSION

    def to_json(self) -> dict[str, Any]:
        """Nested plain data, models in their order."""
        return asdict(self) | {"models": [asdict(model) for model in self.models]}


def differences(there: Any, here: Any, name: str = "") -> list[str]:
    """What differs between two identities, one line a field: `models[0].num_steps: 4 there, 8 here`."""
    if isinstance(there, dict) and isinstance(here, dict):
        keys = [*here, *(key for key in there if key not in here)]
        nested = [differences(there.get(key), here.get(key), f"{name}.{key}".lstrip(".")) for key in keys]
        return [line for lines in nested for line in lines]
    if isinstance(there, list) and isinstance(here, list):
        pairs = enumerate(zip_longest(there, here))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{name}[{i}]")]
    return [] if there == here else [f"{name}: {json.dumps(there)} there, {json.dumps(here)} here"]


def sha256_of(path: Path) -> str:
    """The sha256 of a file, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class Run:
    """An open run folder. `notes` says what was repaired when it was opened, for stderr."""

    def __init__(self, folder: Path, identity: RunIdentity) -> None:
        self.folder = folder
        self.identity = identity
        self.notes: list[str] = []
        self._clip_ledger = Ledger(folder / "clips.jsonl")
        self._score_ledger = Ledger(folder / "ledger.jsonl")
        self._clips: dict[ClipId, ClipRecord] = {}
        self._scores: dict[tuple[ClipId, str, str, str], ScoreRecord] = {}
        self._verified: dict[str, bool] = {}  # path -> the file has its row's sha256; each file is hashed once
        for number, row in enumerate(self._clip_ledger.read(), start=1):
            try:
                clip = ClipRecord.from_json(row)
            except ValueError as error:
                raise self._clip_ledger.broken(number, str(error)) from error
            self._clips[clip.clip_id] = clip
        for number, row in enumerate(self._score_ledger.read(), start=1):
            try:
                self._remember(ScoreRecord.from_json(row), str(row["clip_sha256"]))
            except (ValueError, KeyError) as error:
                raise self._score_ledger.broken(number, str(error)) from error
        for ledger in (self._clip_ledger, self._score_ledger):
            if ledger.repaired_bytes:
                self.notes.append(
                    f"{ledger.path.name}: cut off an unfinished last line ({ledger.repaired_bytes} bytes)"
                )

    def _remember(self, score: ScoreRecord, clip_sha256: str) -> None:
        self._scores[score.clip_id, clip_sha256, score.metric, score.scorer] = score

    def clip_path(self, clip: ClipRecord) -> Path:
        """Where the clip's file lies."""
        return self.folder / clip.path

    def clip(self, clip_id: ClipId) -> ClipRecord | None:
        """The clip if it is done: it has a row, and its file has the row's sha256."""
        record = self._clips.get(clip_id)
        if record is None:
            return None
        if record.path not in self._verified:
            path = self.clip_path(record)
            self._verified[record.path] = path.is_file() and sha256_of(path) == record.sha256
        return record if self._verified[record.path] else None

    def clips(self) -> list[ClipRecord]:
        """Every clip that is done, in the order of clip_id."""
        done = (self.clip(clip_id) for clip_id in sorted(self._clips))
        return [clip for clip in done if clip is not None]

    def publish_clip(self, clip_id: ClipId, frames_THWC: NDArray[np.uint8], fps: float) -> ClipRecord:
        """Writes a generated clip (uint8 RGB) as mp4 and then its row. UserError when the folder refuses."""
        from turbo_train.video_io import write_mp4

        path = self._place(clip_id, ".mp4")
        with writing(path):
            write_mp4(path, frames_THWC, fps, lossless=self.identity.lossless)
        frames, height_px, width_px = frames_THWC.shape[:3]
        return self._record(clip_id, path, frames, height_px, width_px, fps)

    def import_clip(
        self, clip_id: ClipId, source: Path, *, frames: int, height_px: int, width_px: int, fps: float
    ) -> ClipRecord:
        """Copies a user's video in, byte for byte, and writes its row (0 frames: it cannot be decoded)."""
        path = write_atomically(self._place(clip_id, source.suffix.lower()), source.read_bytes())
        return self._record(clip_id, path, frames, height_px, width_px, fps)

    def _place(self, clip_id: ClipId, suffix: str) -> Path:
        model, prompt_id, sample_index = clip_id
        name = f"{check_name('prompt_id', prompt_id)}-{sample_index}{suffix}"
        path = self.folder / "videos" / check_name("model", model) / name
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _record(
        self, clip_id: ClipId, path: Path, frames: int, height_px: int, width_px: int, fps: float
    ) -> ClipRecord:
        relative = path.relative_to(self.folder).as_posix()
        clip = ClipRecord(*clip_id, relative, sha256_of(path), int(frames), int(height_px), int(width_px), float(fps))
        self._clip_ledger.append([clip.to_json()])
        self._clips[clip_id] = clip
        self._verified[relative] = True
        return clip

    def score(self, clip: ClipRecord, metric: str, scorer: str) -> ScoreRecord | None:
        """What this scorer said of this very file, if it was asked before."""
        return self._scores.get((clip.clip_id, clip.sha256, metric, scorer))

    def add_scores(self, clip: ClipRecord, scores: Sequence[ScoreRecord]) -> None:
        """Records scores of one clip: one append, one fsync. ValueError if a score is of another clip."""
        if any(score.clip_id != clip.clip_id for score in scores):
            raise ValueError(f"scores of another clip than {clip.clip_id}")
        if scores:
            self._score_ledger.append([{**score.to_json(), "clip_sha256": clip.sha256} for score in scores])
        for score in scores:
            self._remember(score, clip.sha256)

    def scores(self, wanted: Iterable[tuple[str, str]] | None = None) -> list[ScoreRecord]:
        """Scores of the clips that are done, in canonical order; `wanted` limits them to (metric, scorer) pairs."""
        limits = None if wanted is None else set(wanted)
        current = {(clip.clip_id, clip.sha256) for clip in self.clips()}
        kept = [
            score
            for (clip_id, sha256, metric, scorer), score in self._scores.items()
            if (clip_id, sha256) in current and (limits is None or (metric, scorer) in limits)
        ]
        return sorted(kept, key=lambda score: score.sort_key)


def open_run(folder: Path, identity: RunIdentity) -> Run:
    """Creates a run folder or opens it to go on. The ledgers are each read once.

    UserError: the folder was made by another configuration, holds something else, cannot be written, or has a
    broken ledger.
    """
    manifest = folder / "manifest.json"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        fresh = not manifest.exists()
        if fresh and any(folder.iterdir()):
            raise UserError(
                found=f"{folder} holds files but no manifest.json",
                expected="a new or empty folder, or one that turbo-eval made",
                run_next="the same command with --out FOLDER, another folder",
            )
    if fresh:
        write_atomically(manifest, (json.dumps({"identity": identity.to_json()}, indent=2) + "\n").encode())
    else:
        _check_identity(manifest, identity)
        write_atomically(manifest, manifest.read_bytes())  # proves, before any work is done, that writing works
    return Run(folder, identity)


def _check_identity(manifest: Path, identity: RunIdentity) -> None:
    try:
        there = json.loads(manifest.read_text(encoding="utf-8"))["identity"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            found=f"{manifest} cannot be read as a manifest ({error})",
            expected="the manifest that turbo-eval wrote",
            run_next="the same command with --out FOLDER, another folder",
        ) from error
    changed = differences(there, json.loads(json.dumps(identity.to_json())))
    if changed:
        raise UserError(
            found=f"{manifest.parent} was made by another configuration ({'; '.join(changed)})",
            expected="the configuration that made the folder",
            run_next="the same command with --out FOLDER, another folder",
        )

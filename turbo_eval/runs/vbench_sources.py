"""Which file of a folder is which clip of the suite? By the export's record where there is one, else by its name."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from turbo_eval.durable import sha256_of
from turbo_eval.generators.folder import open_folder
from turbo_eval.records import ClipId
from turbo_eval.runs.export_record import ExportRecord, record_path
from turbo_eval.units import Plan
from turbo_train.errors import UserError
from turbo_train.video_io import VIDEO_SUFFIXES


@dataclass(frozen=True)
class Sources:
    """The files of the clips. strays: videos in the folder that are no clip of the suite."""

    folder: Path
    paths: Mapping[ClipId, Path]
    strays: tuple[str, ...]

    def by_sha256(self, sha256: str) -> ClipId | None:
        """The one clip whose file has these bytes, or None."""
        found = self._by_sha256.get(sha256, [])
        return found[0] if len(found) == 1 else None

    @cached_property
    def _by_sha256(self) -> dict[str, list[ClipId]]:
        found: dict[str, list[ClipId]] = {}
        for clip_id, path in self.paths.items():
            found.setdefault(sha256_of(path), []).append(clip_id)
        return found


def find_sources(folder: Path, model: str, plan: Plan, record: ExportRecord | None) -> Sources:
    """The files of the plan's clips. UserError: no folder, none of its clips, one file for two of them, or another
    file than the one that was exported."""
    paths = _by_name(folder, model, plan) if record is None else _by_record(folder, model, plan, record)
    used = {unicodedata.normalize("NFC", path.name) for path in paths.values()}
    names = (path.name for path in _videos(folder))
    return Sources(folder, paths, tuple(name for name in names if unicodedata.normalize("NFC", name) not in used))


def _videos(folder: Path) -> Iterable[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES)


def _by_name(folder: Path, model: str, plan: Plan) -> dict[ClipId, Path]:
    most = max(plan.samples_of(index) for index in range(len(plan.suite.prompts)))
    videos = open_folder(folder, plan.prompts(), most)
    paths: dict[ClipId, Path] = {}
    owners: dict[Path, ClipId] = {}
    for clip_id, prompt in plan.clip_ids(model):
        if (path := videos.find(prompt, clip_id[2])) is None:
            continue
        other = owners.setdefault(path, clip_id)
        if other != clip_id:
            raise UserError(
                found=f"{path} may be of prompt {other[1]} or of {clip_id[1]}, whose names are the same",
                expected="one clip for each file",
                run_next="files named {prompt_id}-{index}.mp4, or the folder beside its *.vbench_export.json",
            )
        paths[clip_id] = path
    return paths


def _by_record(folder: Path, model: str, plan: Plan, record: ExportRecord) -> dict[ClipId, Path]:
    if not folder.is_dir():
        raise UserError(found=f"{folder} is not a folder", expected="a folder of clips")
    paths: dict[ClipId, Path] = {}
    for clip_id, _ in plan.clip_ids(model):
        entry = record.clips.get(clip_id[1:])
        if entry is None or entry.file is None or not (path := folder / entry.file).is_file():
            continue
        if sha256_of(path) != entry.sha256:
            raise UserError(
                found=f"{path} is not the file that was exported under this name (sha256 {entry.sha256[:12]})",
                expected="the exported clips, unchanged; a disk that ignores case keeps one of two such names",
                run_next=f"export them again; or move {record_path(folder)} away to import by names alone",
            )
        paths[clip_id] = path
    if not paths:
        raise UserError(
            found=f"none of the clips that {record_path(folder)} lists is in {folder}",
            expected="the exported clips",
            run_next="export them again; or move that file away to import by names alone",
        )
    return paths

"""How do a run's clips become a folder that VBench itself can score? Byte copies under VBench's names.

    FOLDER/{prompt}-{sample_index}.mp4    one model;   FOLDER/MODEL/...   a run of several
    FOLDER.vbench_export.json             which clip each file is (export_record.py)

Nothing is encoded anew: VBench's readers, decord 0.6.0 and OpenCV, decode our lossless H.264 (libx264rgb) to the very
pixels that were generated (measured, as RGB and as BGR; the tests keep OpenCV to it).
Everything is checked before the first write; each file is published with its sha256 (durable.publish), so a killed
export is gone on with by the same command. No file that is there is ever overwritten.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from turbo_eval.disk import MARGIN, check_room
from turbo_eval.durable import check_contained, publish, sha256_of, stale_temporaries, sync_folder, writer, writing
from turbo_eval.records import ClipRecord, check_name
from turbo_eval.runs.export_record import SUFFIX, ExportedClip, ExportRecord, read_record, record_path, write_record
from turbo_eval.runs.reading import Reading
from turbo_eval.runs.vbench_matches import spell
from turbo_eval.runs.vbench_names import check_distinct, first_few, name_warnings, vbench_name, why_impossible
from turbo_eval.screen import say, stage
from turbo_eval.store import DAMAGED, Run
from turbo_train.errors import Incomplete, UserError
from turbo_train.exits import finishing

NOT_MADE = "not made yet"
ANOTHER = "a new or empty folder, or an earlier export of the same run"


class _Changed(Exception):
    """The copy has not the sha256 of the clip's row."""


@dataclass(frozen=True)
class ModelExport:
    """One model's clips. copied and kept: files that were written, and that were there already.

    missing: (clip, why) of the scope; unnameable: (name, why) of clips that exist but for which no file can be made.
    """

    model: str
    folder: Path
    copied: int
    kept: int
    missing: tuple[tuple[str, str], ...]
    unnameable: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**self.__dict__, "folder": str(self.folder)}


@dataclass(frozen=True)
class Export:
    """What an export did. warnings: lines for stderr on what VBench or another disk would stumble over."""

    models: tuple[ModelExport, ...]
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """For people."""
        lines = []
        for model in self.models:
            kept = f", {model.kept} were there" if model.kept else ""
            lines.append(f"{model.model}: {model.copied} clips copied{kept}: {model.folder}")
            lines += [f"  not exported: {name!r} ({why})" for name, why in model.unnameable]
        return lines

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"models": [model.to_json() for model in self.models], "warnings": list(self.warnings)}


def require_whole(export: Export) -> None:
    """Incomplete (exit code 3) when a clip of the scope is not in the folder."""
    missing = [f"{clip}: {why}" for model in export.models for clip, why in model.missing]
    unnameable = [f"{name[:60]!r}: {why}" for model in export.models for name, why in model.unnameable]
    if not missing and not unnameable:
        return
    found, run_next = [], []
    if missing:
        found.append(f"missing clips of the run: {len(missing)} ({first_few(missing)})")
        run_next.append("the command that made the run, which makes what is missing, and then this one again")
    if unnameable:
        found.append(f"clips whose names in VBench no file can have: {len(unnameable)} ({first_few(unnameable)})")
        run_next.append("turbo-eval vbench for those clips, which needs no names; or VBench's custom_input mode")
    raise Incomplete(
        found="; ".join(found),
        expected="every clip of the run (all others are exported)",
        run_next="; ".join(run_next) + "; --allow-missing accepts it",
    )


def export_vbench(run_folder: Path, folder: Path, *, model: str | None = None) -> Export:
    """Exports all clips that are there of a run's models, or of one.

    UserError: no such model; two clips that the folder's disk cannot tell apart; a folder or a file of something else.
    KeyboardInterrupt after a signal: what was copied is kept.
    """
    run = Run(run_folder, repair=False)
    names = _models(run, model)
    if folder.resolve().is_relative_to(run_folder.resolve()):
        raise UserError(found=f"{folder} lies in the run's own folder", expected=ANOTHER)
    if len(names) > 1:
        _check_parent(folder, names)
    jobs = [_Job(run, name, folder if len(names) == 1 else folder / name) for name in names]
    warnings = [line for job in jobs for line in name_warnings([name for name, _ in job.named])]
    check_distinct(folder, [*([name for name, _ in job.named] for job in jobs), names])
    for job in jobs:
        job.look_at_folder(folder)
    needed = sum(clip.size_bytes for job in jobs for _, clip in job.to_copy)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if needed:
        check_room(folder, needed, "the copies", MARGIN)
    exports = tuple(job.export() for job in jobs)
    strays = [
        f"{job.folder} also holds {first_few(job.strays)}: VBench looks at them too" for job in jobs if job.strays
    ]
    return Export(exports, (*warnings, *strays))


def _models(run: Run, model: str | None) -> list[str]:
    """The models to export. UserError for one that is not in the run, or whose name may not be a folder's."""
    names = list(run.manifest.models)
    if model is not None and model not in names:
        raise UserError(
            found=f"no model {model!r} in {run.folder}",
            expected=f"one of {', '.join(names)}",
            run_next=f"turbo-eval runs status {run.folder}",
        )
    try:
        return [check_name("model", name) for name in names if model in (None, name)]
    except ValueError as error:
        raise UserError(found=f"{run.folder}: {error}", expected="a run as turbo-eval wrote it") from error


class _Job:
    """The export of one model."""

    def __init__(self, run: Run, model: str, folder: Path) -> None:
        self.run, self.model, self.folder = run, model, folder
        prompts = {prompt.prompt_id: prompt.prompt for prompt in run.suite.prompts}
        self.missing: list[tuple[str, str]] = []
        for clip_id, _ in Reading(run.folder).wanted_of(model):
            if run.clip(clip_id) is None:
                failure = run.failure(clip_id)
                self.missing.append((spell(clip_id), failure.error if failure else NOT_MADE))
        self.unnameable: list[tuple[str, str]] = []
        self.named: list[tuple[str, ClipRecord]] = []
        recorded = {}
        for clip in run.clips():
            if clip.model != model or clip.prompt_id not in prompts:
                continue
            name = vbench_name(prompts[clip.prompt_id], clip.sample_index, Path(clip.path).suffix)
            why = why_impossible(name)
            if why:
                self.unnameable.append((name, why))
            else:
                self.named.append((name, clip))
            place = (clip.prompt_id, clip.sample_index)
            recorded[place] = ExportedClip(prompts[place[0]], *place, clip.sha256, None if why else name)
        self.record = ExportRecord(run.suite.name, run.suite.sha256, model, run.keys[model], recorded)
        self.to_copy: list[tuple[str, ClipRecord]] = []
        self.strays: list[str] = []

    def look_at_folder(self, top: Path) -> None:
        """What is there already. UserError for a folder or a file that is not this export's. Reads only."""
        check_contained(top, self.folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(found=f"{self.folder} is not a folder", expected=ANOTHER)
        there = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()
        earlier = read_record(self.folder)
        if earlier is None and there:
            raise UserError(
                found=f"{self.folder} holds files but no export is known of it (no {record_path(self.folder).name})",
                expected=ANOTHER,
                run_next="the same command with another folder",
            )
        if earlier is not None and earlier.identity != self.record.identity:
            raise UserError(
                found=f"{record_path(self.folder)} is of an export of {earlier.model} on {earlier.suite}"
                + (" made in another setting" if earlier.model == self.model else ""),
                expected=ANOTHER,
                run_next="the same command with another folder",
            )
        if earlier is not None:
            self.record = replace(self.record, clips={**earlier.clips, **self.record.clips})
        self.to_copy = [(name, clip) for name, clip in self.named if not self._is_there(name, clip)]
        known = {clip.file for clip in self.record.clips.values()}
        self.strays = sorted(name for name in there - known if not name.endswith(".tmp"))

    def _is_there(self, name: str, clip: ClipRecord) -> bool:
        path = self.folder / name
        if not os.path.lexists(path):
            return False
        check_contained(self.folder, path)
        if not path.is_file() or path.stat().st_size != clip.size_bytes or sha256_of(path) != clip.sha256:
            raise UserError(
                found=f"{path} is there and is not the run's clip (sha256 {clip.sha256[:12]})",
                expected="no file of that name, or the same one; nothing was overwritten",
                run_next="move that file away, or the same command with another folder",
            )
        return True

    def export(self) -> ModelExport:
        """Copies what is not there."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in stale_temporaries(self.folder, _may_be_alive):
                path.unlink(missing_ok=True)
            # Before the first clip: with it, a killed export is known for what it is.
            write_record(self.folder, self.record)
        kept, copied = len(self.named) - len(self.to_copy), 0
        with finishing(say) as stop, stage(f"clips of {self.model} copied", len(self.named), kept) as advance:
            for number, (name, clip) in enumerate(self.to_copy):
                if stop.requested:
                    raise KeyboardInterrupt
                if self._copy(number, name, clip):
                    copied += 1
                else:
                    self.missing.append((spell(clip.clip_id), DAMAGED))
                advance(1)
            with writing(self.folder):
                sync_folder(self.folder)
        return ModelExport(self.model, self.folder, copied, kept, tuple(self.missing), tuple(self.unnameable))

    def _copy(self, number: int, name: str, clip: ClipRecord) -> bool:
        """Whether the clip's file had the bytes of its row."""
        source = self.run.clip_path(clip)

        def check(path: Path) -> tuple[str, None]:
            if sha256_of(path) != clip.sha256:
                raise _Changed
            return name, None

        try:
            with writing(self.folder / name):
                # The temporary name is longer than the one it is made from: made from a number it always fits.
                publish(self.folder / f"{number}.mp4", lambda path: _copy_bytes(source, path), check)
        except _Changed:
            return False
        return True


def _copy_bytes(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise _Changed from error


def _may_be_alive(name: str) -> bool:
    """Whether the writer of a temporary file may still be at work: on another machine it may, here its process says."""
    host, pid, _ = name.rsplit("-", 2)
    if host != writer().rsplit("-", 2)[0] or not pid.isdigit() or os.name != "posix":
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _check_parent(folder: Path, names: list[str]) -> None:
    """The folder of several models' folders holds nothing else. UserError if it does."""
    expected = {*names, *(f"{name}{SUFFIX}" for name in names)}
    others = sorted(path.name for path in folder.iterdir() if path.name not in expected) if folder.is_dir() else []
    if others:
        raise UserError(
            found=f"{folder} holds {first_few(others)}, and the run has {len(names)} models, with a folder for each",
            expected=ANOTHER,
            run_next="the same command with another folder, or with --model NAME",
        )

"""How do runs become one that were made on machines without a shared disk?

    check everything -> manifest and suite -> clips -> ledgers -> sessions, imported.json

Nothing is written before all runs are found to agree. Each clip is copied as it was published (temporary name, fsync,
sha256 of the row, rename), and a ledger only after the clips of all its rows, whole and under its own name. So a
merge that is killed leaves a sound run that lacks something, and the same command again finishes it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any

from turbo_eval.disk import check_room
from turbo_eval.durable import check_contained, publish, sha256_of, sync_folder, write_atomically, writing
from turbo_eval.leases import Sessions
from turbo_eval.manifest import MANIFEST, Manifest, begin
from turbo_eval.provenance import environment
from turbo_eval.records import ClipRecord
from turbo_eval.runs.agreement import check_agreement, merged_models, merged_scope
from turbo_eval.runs.checks import name_of
from turbo_eval.runs.imported import IMPORTED, ImportedFile, read_imported, write_imported
from turbo_eval.runs.reading import Reading, refuse_broken, refuse_living
from turbo_eval.runs.scan import ledgers
from turbo_train.errors import Incomplete, UserError
from turbo_train.weights.sizes import readable

Stage = Callable[[int], AbstractContextManager[Callable[[int], None]]]
SHOWN = 3


class _Damaged(Exception):
    """A file that has not the bytes of its row."""


@dataclass
class Merged:
    """What a merge did. damaged: clips that no run had as their rows say."""

    out: str
    runs: tuple[str, ...]
    models: tuple[str, ...]
    clips_copied: int = 0
    clips_there: int = 0
    copied_bytes: int = 0
    ledgers_copied: int = 0
    ledgers_there: int = 0
    sessions_copied: int = 0
    damaged: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{self.out}: {len(self.runs)} runs merged, models {', '.join(self.models)}",
            f"clips: {self.clips_copied} copied ({readable(self.copied_bytes)}), {self.clips_there} were there",
            f"ledgers: {self.ledgers_copied} copied, {self.ledgers_there} were there",
            f"the command that made the runs with --out {self.out}, on the same kind of machine, makes what is missing "
            "and prints the table",
        ]


def merge_runs(out: Path, sources: Sequence[Path], stage: Stage) -> Merged:
    """Merges runs into a new folder or into a run of the same identity. stage(total): shows the progress of copying.

    UserError, before anything is copied: identities or content keys differ, two values for one thing, someone works.
    """
    _check_names(out, sources)
    runs = [_opened(folder) for folder in sources]
    there = [_opened(out)] if (out / MANIFEST).is_file() else []
    everything = [*there, *runs]
    check_agreement(everything)
    texts = _ledgers_to_copy(out, runs)
    imported = _united_imports([run.folder for run in everything])
    manifest = Manifest(
        runs[0].manifest.identity,
        merged_scope([run.manifest.scope for run in everything]),
        merged_models(everything),
        environment().to_json(),
        runs[0].suite.samples,
        dict(runs[0].suite.samples_by_dimension),
    )
    begin(out, manifest, runs[0].suite)
    merged = Merged(str(out), tuple(map(str, sources)), tuple(manifest.models))
    _copy_clips(out, runs, manifest.keys, merged, stage)
    for name, data in texts.items():
        write_atomically(check_contained(out, out / "ledger" / name), data)
    merged.ledgers_copied = len(texts)
    merged.ledgers_there = len({path.name for run in runs for path in ledgers(run.folder)} - set(texts))
    merged.sessions_copied = _copy_sessions(out, runs)
    if imported != read_imported(out):
        write_imported(out, imported)
    sync_folder(out)
    return merged


def require_whole(merged: Merged) -> None:
    """Incomplete (exit code 3) when a clip of the runs could not be copied."""
    if merged.damaged:
        more = ", ..." if len(merged.damaged) > SHOWN else ""
        raise Incomplete(
            found=f"{len(merged.damaged)} clips whose files are missing or changed in every run that has them: "
            f"{', '.join(merged.damaged[:SHOWN])}{more}",
            expected="the files that the ledgers name; all the others were merged",
            run_next=f"the command that made the runs, with --out {merged.out}, makes them anew",
        )


def _check_names(out: Path, sources: Sequence[Path]) -> None:
    resolved = [path.resolve() for path in (out, *sources)]
    pairs = permutations(zip((out, *sources), resolved, strict=True), 2)
    nested = next(((a, b) for (a, inner), (b, outer) in pairs if inner.is_relative_to(outer)), None)
    if nested is not None:
        raise UserError(
            found=f"{nested[0]} is, or lies in, {nested[1]}",
            expected="OUT and runs that are all different, none inside another",
            run_next="turbo-eval runs merge OUT RUN1 RUN2, OUT a new folder beside them",
        )


def _opened(folder: Path) -> Reading:
    run = Reading(folder)
    refuse_living(run, "it is merged")
    refuse_broken(run, "it is merged")
    return run


def _ledgers_to_copy(out: Path, runs: Iterable[Reading]) -> dict[str, bytes]:
    """name -> complete lines of the ledgers that OUT lacks, or of which it has only the beginning."""
    found: dict[str, bytes] = {}
    for run in runs:
        for path in ledgers(run.folder):
            data = path.read_bytes()
            data = data[: data.rfind(b"\n") + 1]
            target = out / "ledger" / path.name
            there = found.get(path.name, target.read_bytes() if target.is_file() else b"")
            if data.startswith(there) and (len(data) > len(there) or not target.is_file()):
                found[path.name] = data
            elif not there.startswith(data):
                raise UserError(
                    found=f"{path} goes on otherwise than the ledger of that name that is merged already",
                    expected="ledgers as the processes wrote them",
                    run_next="turbo-eval runs merge OUT RUN1 RUN2 with OUT a new folder",
                )
    return found


def _united_imports(folders: Iterable[Path]) -> dict[str, dict[str, ImportedFile]]:
    """What was imported into any of the runs. UserError when two of them say different things of one file."""
    united: dict[str, dict[str, ImportedFile]] = {}
    for folder in folders:
        for model, files in read_imported(folder).items():
            for sha256, file in files.items():
                there = united.setdefault(model, {}).setdefault(sha256, file)
                if there.reported != file.reported:
                    raise UserError(
                        found=f"{folder / IMPORTED} reports other scores of {file.file} ({model}) than an earlier run",
                        expected="one report of each results file",
                        run_next="import the results again into the run that is wrong",
                    )
    return united


def _copy_clips(out: Path, runs: Sequence[Reading], keys: Mapping[str, str], merged: Merged, stage: Stage) -> None:
    rows = [(run, clip) for run in runs for clip in run.rows() if keys.get(clip.model) == clip.key]
    missing = [clip.size_bytes for _, clip in rows if not (out / clip.path).is_file()]
    check_room(out, sum(missing), f"{len(missing)} clips")
    whole = set[tuple[Any, ...]]()
    folders = set[Path]()
    with stage(len(rows)) as advance:
        for run, clip in rows:
            if _copy(out, run, clip, merged):
                whole.add(clip.clip_id)
                folders.add((out / clip.path).parent)
            advance(1)
    for folder in sorted(folders | ({out / "clips"} if folders else set())):
        with writing(folder):
            sync_folder(folder)
    merged.damaged = sorted({name_of(clip.clip_id) for _, clip in rows if clip.clip_id not in whole})


def _copy(out: Path, run: Reading, clip: ClipRecord, merged: Merged) -> bool:
    """Whether the clip is in OUT now, with the bytes of its row."""
    target = check_contained(out, out / clip.path)
    if target.is_file() and target.stat().st_size == clip.size_bytes and sha256_of(target) == clip.sha256:
        merged.clips_there += 1
        return True
    source = run.folder / clip.path
    if not source.is_file() or not source.resolve().is_relative_to(run.folder.resolve()):
        return False

    def check(path: Path) -> tuple[str, None]:
        if sha256_of(path) != clip.sha256:
            raise _Damaged
        return target.name, None

    try:
        with writing(target):
            publish(target, partial(_copy_file, source), check)
    except _Damaged:
        return False
    merged.clips_copied += 1
    merged.copied_bytes += clip.size_bytes
    return True


def _copy_file(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def _copy_sessions(out: Path, runs: Iterable[Reading]) -> int:
    """Copies what is known of the processes, as ended: one that was lost ended with its last heartbeat."""
    count = 0
    for run in runs:
        for info in run.workers():
            path = run.sessions.folder / f"{info.writer}.json"
            content = {"ended_at": None, **info.content}
            if content["ended_at"] is None:
                content |= {"ended_at": path.stat().st_mtime, "ended_by": "lost"}
            data = (json.dumps(content, indent=1) + "\n").encode()
            target = Sessions(out).folder / path.name
            if not target.is_file() or target.read_bytes() != data:
                write_atomically(target, data)
                count += 1
    return count

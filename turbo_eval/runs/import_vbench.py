"""How do clips and scores that VBench has made come into a run of ours?

Clips: a folder in VBench's naming (generators/folder.py), or one that export_vbench has made, by its record.
Scores: VBench's results files (vbench_results.py), one row per clip and dimension, by the scorer `vbench/reported`.

No scorer of ours has that id: theirs end with @ and a version of our formula. It is one id for all results files, so
that imported models can be compared and a dimension may come in parts; hence two numbers for one clip and dimension
are an error, whether of two files or of a file and the run: they were measured in two ways, and no mean of both is
either. A file says nothing of VBench's version or machine; RUN/imported.json keeps its sha256 and the scores
that it reports.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from turbo_eval.disk import MARGIN, check_room
from turbo_eval.durable import sha256_of
from turbo_eval.keys import FOLDER, ModelIdentity, key_fields
from turbo_eval.leases import Session
from turbo_eval.manifest import MANIFEST, Manifest, RunIdentity, Scope
from turbo_eval.prompt_suite import Suite
from turbo_eval.provenance import environment
from turbo_eval.records import ClipId, ClipRecord, ScoreRecord, check_name
from turbo_eval.runs.export_record import ExportRecord, read_record
from turbo_eval.runs.imported import SCORER, ImportedFile, LeftOut, Outcome, outcome, read_imported, write_imported
from turbo_eval.runs.vbench_matches import ClipNames, Matches, check_scores, match, spell
from turbo_eval.runs.vbench_results import PATTERN, ResultsFile, read_results
from turbo_eval.runs.vbench_sources import Sources, find_sources
from turbo_eval.scorers.vbench.spec import NAMES
from turbo_eval.screen import say, stage
from turbo_eval.store import Run, open_run
from turbo_eval.suite_files import legal_stem
from turbo_eval.suites import VBENCH, load_suite
from turbo_eval.units import Plan
from turbo_train.errors import UserError
from turbo_train.exits import StopRequest, finishing
from turbo_train.video_io import UnreadableVideo

BATCH, THREADS = 4, 1  # of a run that nobody has made clips in yet; a run that is there keeps its own
LEASE = "import"
WAIT_S = 0.2  # between two looks at who else imports into the run
NOT_A_CLIP = "its file is no clip"


@dataclass(frozen=True)
class ImportRequest:
    """What to import. results: files beside those in the folder. None: model and suite as the export's record says,
    else the folder's name and VBench's suite; samples as the suite says."""

    folder: Path
    out: Path
    results: tuple[Path, ...] = ()
    model: str | None = None
    suite: str | None = None
    samples: int | None = None


def import_vbench(request: ImportRequest) -> Outcome:
    """Makes the run or goes on with it; what is there is skipped. All mistakes show before the first write.

    The run may be the one that the clips were exported from: then it gets the scores, and no clip.
    UserError: wrong folder, model, suite or results; two different files or numbers for one clip.
    KeyboardInterrupt after a signal: what was imported is kept.
    """
    record = read_record(request.folder)
    suite = _suite(request, record)
    if record is not None and record.suite_sha256 != suite.sha256:
        record = None  # its ids are of other prompts
    model = _model(request, record)
    plan = Plan(suite, Scope((model,), request.samples, None, ()), BATCH)
    sources = find_sources(request.folder, model, plan, record)
    files = [read_results(path) for path in _results(request)]
    there = _there(request.out, suite)
    if there is not None:
        _check_kept(there, model, sources)
    known = [pair for pair in plan.clip_ids(model) if pair[0] in sources.paths or (there and there.clip(pair[0]))]
    matches, left_out = match(files, ClipNames(known), sources)
    if there is not None:
        check_scores(there, matches)
    run = _open(request, suite, model, files, there)
    unreadable = _take_in(run, model, sources, matches, files)
    left_out += [LeftOut(name, spell(clip_id), NOT_A_CLIP) for name, clip_id in matches if run.clip(clip_id) is None]
    return outcome(run, plan, model, unreadable=unreadable, left_out=left_out, strays=sources.strays)


# ------------------------------------------------------------------------------------------------------- what and where


def _suite(request: ImportRequest, record: ExportRecord | None) -> Suite:
    if request.suite is not None or record is None:
        return load_suite(request.suite or VBENCH)
    try:
        suite = load_suite(record.suite)
    except UserError:
        suite = None
    if suite is None or suite.sha256 != record.suite_sha256:
        raise UserError(
            found=f"{request.folder} was exported from a run of suite {record.suite!r} "
            f"(sha256 {record.suite_sha256[:12]}), which is not a built-in one",
            expected="the file of the suite",
            run_next="the same command with --suite FILE",
        )
    return suite


def _model(request: ImportRequest, record: ExportRecord | None) -> str:
    name = request.model or (record.model if record else legal_stem(request.folder.resolve().name))
    try:
        return check_name("--model", name)
    except ValueError as error:
        raise UserError(found=str(error), expected="a name for the clips in the table") from error


def _results(request: ImportRequest) -> list[Path]:
    """The files that are named, and those in the folder; each once."""
    found = [*request.results, *sorted(request.folder.glob(PATTERN))]
    return list({path.resolve(): path for path in found}.values())


def _there(folder: Path, suite: Suite) -> Run | None:
    """The run that is there, read only. UserError when it is of other prompts."""
    if not (folder / MANIFEST).is_file():
        return None
    run = Run(folder, repair=False)
    if run.suite.sha256 != suite.sha256:
        raise UserError(
            found=f"{folder} is a run of suite {run.suite.name} (sha256 {run.suite.sha256[:12]}), the clips are of "
            f"{suite.name} ({suite.sha256[:12]})",
            expected="one suite",
            run_next="the same command with another --out, or with --suite",
        )
    return run


def _is_made_here(run: Run, model: str) -> bool:
    """Whether the clips of that name were generated in this run, and not brought in as finished files."""
    return bool(run.manifest.models.get(model, {}).get("kind", FOLDER) != FOLDER)


def _open(request: ImportRequest, suite: Suite, model: str, files: Sequence[ResultsFile], there: Run | None) -> Run:
    """Makes the run, or notes in it what is imported."""
    if there is not None and _is_made_here(there, model):
        run = open_run(request.out, there.manifest, suite)  # its scope is that of the command that makes its clips
    else:
        default = RunIdentity(suite.name, suite.sha256, BATCH, THREADS)
        identity = replace(there.manifest.identity if there else default, suite=suite.name)
        fields = key_fields(
            ModelIdentity(model), seed=0, batch=identity.batch, threads=identity.threads, lossless=True, device=""
        )
        earlier = read_imported(request.out).get(model, {})
        scored = {n for f in earlier.values() for n in f.reported} | {n for f in files for n in f.reported}
        scope = Scope((model,), request.samples, None, tuple(name for name in NAMES if name in scored))
        samples = dict(suite.samples_by_dimension)
        manifest = Manifest(identity, scope, {model: fields}, environment().to_json(), suite.samples, samples)
        run = open_run(request.out, manifest, suite)
    for note in run.notes:
        say(note)
    return run


# --------------------------------------------------------------------------------------------------------------- checks


def _check_kept(run: Run, model: str, sources: Sources) -> None:
    """UserError for a file with other bytes than the run's clip of that name, or that its model has not made."""
    for clip_id, path in sources.paths.items():
        kept = run.clip(clip_id)
        if kept is None and not _is_made_here(run, model):
            continue
        if kept is None or sha256_of(path) != kept.sha256:
            raise UserError(
                found=f"{path} is not the file that {run.folder} has as {spell(clip_id)} of {model}",
                expected="unchanged clips; other clips are another model",
                run_next="the same command with another --model or another --out",
            )


# --------------------------------------------------------------------------------------------------------------- writes


def _take_in(
    run: Run, model: str, sources: Sources, matches: Matches, files: Sequence[ResultsFile]
) -> tuple[LeftOut, ...]:
    """Takes in what the run does not have, one process at a time. Returns the files that cannot be read as clips."""
    known = read_imported(run.folder).get(model, {})
    if not _missing(run, sources) and not _new_rows(run, matches) and all(file.sha256 in known for file in files):
        return ()
    content = {**environment().to_json(), "scope": run.manifest.to_json()["scope"], "keys": run.keys}
    with Session(run.folder, content) as session, finishing(say) as stop:
        while (lease := session.acquire(LEASE)) is None:
            if stop.requested:
                raise KeyboardInterrupt
            time.sleep(WAIT_S)
        run.refresh()
        check_scores(run, matches)
        unreadable = _import_clips(run, sources, stop)
        run.add_scores(_new_rows(run, matches))
        imported = read_imported(run.folder)
        imported[model] = {**imported.get(model, {}), **{file.sha256: ImportedFile.of(file) for file in files}}
        write_imported(run.folder, imported)
        session.release(lease)
    return unreadable


def _missing(run: Run, sources: Sources) -> dict[ClipId, Path]:
    return {clip_id: path for clip_id, path in sources.paths.items() if run.clip(clip_id) is None}


def _new_rows(run: Run, matches: Matches) -> list[tuple[ClipRecord, list[ScoreRecord]]]:
    """The scores of clips that are there which have no row yet."""
    rows = []
    for (dimension, clip_id), result in matches.items():
        clip = run.clip(clip_id)
        if clip is not None and run.score(clip, dimension, SCORER) is None:
            rows.append((clip, [ScoreRecord(*clip_id, metric=dimension, scorer=SCORER, value=result.value)]))
    return rows


def _import_clips(run: Run, sources: Sources, stop: StopRequest) -> tuple[LeftOut, ...]:
    index = {prompt.prompt_id: i for i, prompt in enumerate(run.suite.prompts)}
    missing, unreadable = _missing(run, sources), []
    if not missing:
        return ()
    check_room(run.folder, sum(path.stat().st_size for path in missing.values()), "the clips", MARGIN)
    with stage("clips imported", len(sources.paths), len(sources.paths) - len(missing)) as advance:
        for clip_id, path in missing.items():
            if stop.requested:
                raise KeyboardInterrupt
            try:
                run.import_clip(clip_id, index[clip_id[1]], path)
            except UnreadableVideo as error:
                unreadable.append(LeftOut("", path.name, error.found.removeprefix(str(path)).strip()))
            advance(1)
    return tuple(unreadable)

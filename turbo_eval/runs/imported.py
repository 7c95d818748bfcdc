"""What has been imported into a run, and what do VBench's own scores say? RUN/imported.json, and the table of it.

    {"schema_version": 1, "models": {MODEL: [{"file": ..., "sha256": ..., "reported": {dimension: score}}, ...]}}

A dimension's score is reported by VBench and recomputed here from its clips (scorers/vbench/aggregate.py). The two
differ where VBench averages otherwise on several GPUs, or where the file speaks of other clips than the run has.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from turbo_eval.durable import check_contained, write_atomically
from turbo_eval.records import ClipId, Prompt, ScoreRecord, take
from turbo_eval.runs.vbench_names import first_few
from turbo_eval.runs.vbench_results import ResultsFile
from turbo_eval.scorers.vbench import spec
from turbo_eval.scorers.vbench.aggregate import aggregate, dimension_score
from turbo_eval.scorers.vbench.total import Totals
from turbo_eval.store import Run
from turbo_eval.table_text import NOTHING
from turbo_eval.tables import Table
from turbo_eval.units import Plan
from turbo_eval.vbench_table import vbench_table
from turbo_train.errors import Incomplete, UserError

SCORER = "vbench/reported"
NOTE = "VBench's own scores, imported"
IMPORTED = "imported.json"
SCHEMA_VERSION = 1
NO_CLIP = "no clip"
NO_NUMBER = "no number in VBench's results"
NO_RESULT = "no results of VBench's"
# Here a clip without a number is no gap: what VBench itself passes over.
PASSED_OVER = {
    spec.COLOR: "VBench counts no clip in which it never sees the object",
    spec.TEMPORAL_FLICKERING: "VBench counts the clips that its static filter keeps",
}
AGREES = 1e-6  # a reported and a recomputed score that differ by more are worth a remark


@dataclass(frozen=True)
class LeftOut:
    """Something that was not imported. dimension: empty for a clip."""

    dimension: str
    name: str
    why: str

    def __str__(self) -> str:
        """`color a red car-0.mp4: no such clip`"""
        return f"{self.dimension} {self.name}: {self.why}".strip()


@dataclass(frozen=True)
class ImportedFile:
    """A results file: its name, its sha256 and what it reports of each dimension."""

    file: str
    sha256: str
    reported: Mapping[str, float]

    @classmethod
    def of(cls, results: ResultsFile) -> ImportedFile:
        """What is kept of a file."""
        return cls(results.path.name, results.sha256, results.reported)


Imported = Mapping[str, Mapping[str, ImportedFile]]  # model -> sha256 -> file


def write_imported(folder: Path, imported: Imported) -> None:
    """Writes RUN/imported.json, sorted; nothing when no file of results was ever imported."""
    models = {name: [asdict(files[key]) for key in sorted(files)] for name, files in sorted(imported.items()) if files}
    if models:
        text = json.dumps({"schema_version": SCHEMA_VERSION, "models": models}, indent=1, ensure_ascii=False)
        write_atomically(check_contained(folder, folder / IMPORTED), f"{text}\n".encode())


def read_imported(folder: Path) -> dict[str, dict[str, ImportedFile]]:
    """What was imported so far. UserError when the file is not what `write_imported` writes."""
    path = folder / IMPORTED
    if not path.is_file():
        return {}
    check_contained(folder, path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if take(data, "schema_version", int) != SCHEMA_VERSION:
            raise ValueError(f"schema_version {data['schema_version']}")
        return {
            model: {entry["sha256"]: ImportedFile(entry["file"], entry["sha256"], entry["reported"]) for entry in files}
            for model, files in take(data, "models", dict).items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            found=f"{path} cannot be read ({error})",
            expected="the file that turbo-eval runs import-vbench writes",
            run_next="move it away and import the results again",
        ) from error


@dataclass(frozen=True)
class Reported:
    """One dimension. reported: None where several files report different parts; recomputed: None without clips."""

    dimension: str
    clips: int
    reported: float | None
    recomputed: float | None

    @property
    def difference(self) -> float | None:
        """Reported minus recomputed."""
        return None if self.reported is None or self.recomputed is None else self.reported - self.recomputed


@dataclass(frozen=True)
class Outcome:
    """The run after an import. clips of wanted: what the suite asks for.

    table: None without scores; totals: also where a clip or a result is missing.
    unreadable: files that are no clips; left_out: results without a clip; strays: videos of no prompt.
    """

    folder: Path
    model: str
    clips: int
    wanted: int
    table: Table | None
    totals: Totals | None
    dimensions: tuple[Reported, ...]
    unreadable: tuple[LeftOut, ...]
    left_out: tuple[LeftOut, ...]
    strays: tuple[str, ...]

    def rows(self) -> list[dict[str, str]]:
        """Reported and recomputed scores, for a printed table."""
        return [
            {
                "dimension": d.dimension,
                "clips": str(d.clips),
                "reported": _number(d.reported),
                "recomputed": _number(d.recomputed),
                "difference": NOTHING if d.difference is None else f"{d.difference:+.1e}",
            }
            for d in self.dimensions
        ]

    def lines(self) -> list[str]:
        """What else is to be said, for people."""
        lines = [f"{self.model}: {self.clips} of {self.wanted} clips of the suite are in {self.folder}"]
        if self.totals is not None and self.table is not None:
            if self.totals.missing:
                absent = ", ".join(self.totals.missing)
                lines.append(f"no total: {len(self.totals.missing)} of 16 dimensions are missing ({absent})")
            else:
                named = (
                    ("quality", self.totals.quality),
                    ("semantic", self.totals.semantic),
                    ("total", self.totals.total),
                )
                lines.append(", ".join(f"{name} {_number(value)}" for name, value in named))
        elif self.table is not None:
            lines.append(f"no total: {self.table.partial}")
        if any(d.difference is not None and abs(d.difference) > AGREES for d in self.dimensions):
            lines.append(
                "reported and recomputed differ where the results speak of other clips than these, or where VBench ran "
                "on several GPUs: then it weighs all clips alike and takes the last frame only of a style"
            )
        if self.strays:
            lines.append(f"videos of no prompt of the suite: {len(self.strays)} ({first_few(self.strays)})")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "run": str(self.folder),
            "model": self.model,
            "clips": self.clips,
            "wanted": self.wanted,
            "partial": self.table.partial if self.table else "",
            "table": self.table.to_json() if self.table else None,
            "totals": asdict(self.totals) if self.totals else None,
            "dimensions": [{**asdict(d), "difference": d.difference} for d in self.dimensions],
            "unreadable": [asdict(item) for item in self.unreadable],
            "left_out": [asdict(item) for item in self.left_out],
            "strays": list(self.strays),
        }


def require_everything(outcome: Outcome) -> None:
    """Incomplete (exit code 3) when something given could not be taken, or a score lacks clips."""
    found = []
    if outcome.table is not None and outcome.table.partial:
        found.append(f"{outcome.table.partial} that VBench's results are asked of")
    if outcome.unreadable:
        found.append(f"files that are no clips: {len(outcome.unreadable)} ({first_few(map(str, outcome.unreadable))})")
    if outcome.left_out:
        found.append(f"results without a clip here: {len(outcome.left_out)} ({first_few(map(str, outcome.left_out))})")
    if found:
        raise Incomplete(
            found="; ".join(found),
            expected="every clip of each dimension with its result, for a mean over others would be another number "
            "(what could be taken is imported)",
            run_next="the same command with the clips and results that are missing; --allow-missing prints what there "
            "is, stamped PARTIAL",
        )


def outcome(
    run: Run,
    plan: Plan,
    model: str,
    *,
    unreadable: tuple[LeftOut, ...],
    left_out: list[LeftOut],
    strays: tuple[str, ...],
) -> Outcome:
    """Everything that the run and its imports say of a model."""
    wanted = dict(plan.clip_ids(model))
    clips = {clip.clip_id: clip for clip in run.clips() if clip.clip_id in wanted}
    scores = [s for s in run.scores((name, SCORER) for name in spec.NAMES) if s.clip_id in clips]
    frames = {clip_id[1:]: clip.frames for clip_id, clip in clips.items()}
    files = read_imported(run.folder).get(model, {}).values()
    dimensions = []
    for name in spec.NAMES:
        of_clips = [score for score in scores if score.metric == name]
        told = {file.reported[name] for file in files if name in file.reported}
        if of_clips or told:
            reported = told.pop() if len(told) == 1 else None
            mean = dimension_score(name, of_clips, frames).mean
            dimensions.append(Reported(name, len(of_clips), reported, mean))
    table = totals = None
    if scores:
        gaps = list(_gaps(plan, model, wanted, set(clips), scores))
        beside = _beside(run.folder, plan, model)
        everything = sorted([*scores, *gaps, *beside], key=lambda score: score.sort_key)
        missing = {s.clip_id for s in everything if s.unscored is not None and s.unscored != PASSED_OVER.get(s.metric)}
        needed = {s.clip_id for s in everything}
        table = vbench_table(
            everything,
            models=[model, *sorted({score.model for score in beside})],
            suite=plan.suite.name,
            groups={d.name: str(d.group) for d in spec.DIMENSIONS},
            frames={clip.clip_id: clip.frames for clip in Run(run.folder, repair=False).clips()},
            unscored={name: NO_RESULT for name in spec.NAMES if name not in {score.metric for score in scores}},
            note=NOTE,
            partial=f"PARTIAL: {len(needed) - len(missing)} of {len(needed)} clips" if missing else "",
        )
        totals = None if missing else aggregate(scores, frames=frames, unscored={}).totals
    return Outcome(
        run.folder,
        model,
        len(clips),
        len(wanted),
        table,
        totals,
        tuple(dimensions),
        unreadable,
        tuple(left_out),
        strays,
    )


def _beside(folder: Path, plan: Plan, model: str) -> list[ScoreRecord]:
    """Scores and gaps of the other model in the run that was imported, to set beside this one; of two others, none."""
    others = [name for name in read_imported(folder) if name != model]
    if len(others) != 1:
        return []
    run = Run(folder, repair=False)  # with the content keys of every model, not of this one alone
    wanted = dict(plan.clip_ids(others[0]))
    there = {clip.clip_id for clip in run.clips() if clip.clip_id in wanted}
    scores = [s for s in run.scores((name, SCORER) for name in spec.NAMES) if s.clip_id in there]
    return [*scores, *_gaps(plan, others[0], wanted, there, scores)]


def _gaps(
    plan: Plan, model: str, wanted: Mapping[ClipId, Prompt], there: set[ClipId], scores: list[ScoreRecord]
) -> Iterator[ScoreRecord]:
    """A record without a number for each clip that a scored dimension asks for and has not.

    VBench's program looks at as many samples of a prompt in every dimension (5); what else the suite makes of some
    prompts (25 for temporal flickering) goes through its static filter.
    """
    samples = plan.scope.samples or plan.suite.samples
    known = {(score.metric, score.clip_id) for score in scores}
    for name in dict.fromkeys(score.metric for score in scores):
        for clip_id, prompt in wanted.items():
            asked = clip_id[2] < samples and (not prompt.dimensions or name in prompt.dimensions)
            if asked and (name, clip_id) not in known:
                why = PASSED_OVER.get(name, NO_NUMBER) if clip_id in there else NO_CLIP
                yield ScoreRecord(model, clip_id[1], clip_id[2], name, SCORER, unscored=why)


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.6f}"

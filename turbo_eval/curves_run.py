"""What does `turbo-eval curves` leave behind? The checkpoints of a training run as contestants of one run, and curves.

    TRAINING/config.json                          the recipe: the teacher's name or path, the rewards
    TRAINING/checkpoints/step-000100/student/     a student's folder
    TRAINING/curves/<suite>/                      this run: resumed by the same command, joined by later checkpoints

Nothing of turbo_train's training code is imported: a checkpoint is a student's folder like any other.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from turbo_eval.collect import excess_of
from turbo_eval.completeness import Shortfall, merged, unscored_records
from turbo_eval.contestants import Contestant, Request, contestants_of, output_folder, suite_name
from turbo_eval.curves import Curves, curves_of
from turbo_eval.curves_figure import draw
from turbo_eval.lineup_numbers import Scored
from turbo_eval.lineup_run import columns_of, without_number
from turbo_eval.lineup_text import bounded, grid
from turbo_eval.models import kind_of, read_record
from turbo_eval.outcome import Outcome, scored_run
from turbo_eval.pipeline import Job
from turbo_eval.prompt_suite import select
from turbo_eval.report import write_lines, write_stamped, write_texts
from turbo_eval.scorers.oracle import ORACLE_METRICS
from turbo_eval.suites import load_suite
from turbo_train.errors import UserError
from turbo_train.rewards.table import REWARDS

CHECKPOINTS, STUDENT, CONFIG = "checkpoints", "student", "config.json"
CURVES_FILE, FIGURE_FILE = "curves.jsonl", "curves.png"
STEP = re.compile(r"step-(\d+)")


def run_curves(training: Path, request: Request) -> Outcome:
    """Generate, score and draw. UserError: `checkpoints_of`, `contestant_of`; otherwise see scored_run."""
    found = checkpoints_of(training)
    contestants = tuple(contestant_of(path, training, request) for path in found.values())
    suite = load_suite(suite_name(request, contestants))
    usual = output_folder(request, (), suite, len(select(suite, limit=request.limit).prompts))
    steps = "" if request.num_steps is None else f"-{request.num_steps}steps"
    out = request.out or training / "curves" / f"{usual.parent.name}{steps}"
    dimensions = request.dimensions or ORACLE_METRICS
    asked = replace(request, out=out, lineup=contestants, num_steps=None, dimensions=dimensions)
    by_name = dict(zip((contestant.name for contestant in contestants), found, strict=True))
    return scored_run(asked, lambda job, short: _report(job, short, training, by_name))


def checkpoints_of(training: Path) -> dict[int, Path]:
    """Step -> checkpoint, by rising step. UserError: no such folder, no checkpoint, or one without a student."""
    folder = training / CHECKPOINTS
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    found = {int(match[1]): path for path in paths if (match := STEP.fullmatch(path.name))}
    if not found:
        raise UserError(
            found=f"no {CHECKPOINTS}/step-000100 or the like in {training}",
            expected="the folder of a training run that has saved a checkpoint",
            run_next="turbo-train run makes one; its path is printed at the end",
        )
    if bare := [str(path) for path in found.values() if kind_of(path / STUDENT) != "student"]:
        raise UserError(
            found=f"no {STUDENT}/ with config.json and adapter.safetensors in {', '.join(bare)}",
            expected="whole checkpoints",
            run_next="remove or rename what is not whole, then the same command again",
        )
    return dict(sorted(found.items()))


def contestant_of(checkpoint: Path, training: Path, request: Request) -> Contestant:
    """A checkpoint's student under the checkpoint's name. UserError: its teacher is not the one of the training."""
    from turbo_train.nets.base import teacher_sha256

    student = checkpoint / STUDENT
    (found,) = contestants_of(replace(request, model=str(student), against=None, videos=None, lineup=()))
    assert found.entry is not None and found.entry.source is not None
    recipe, source = read_record(training / CONFIG), found.entry.source
    stated = str(read_record(student / CONFIG).get("teacher_sha256", ""))
    if source.base is not None and (sha256 := teacher_sha256(source.base.path)) != stated:
        raise UserError(
            found=f"{checkpoint}, a student of a teacher with weights {stated[:12]}",
            expected=f"the teacher in {source.base.path}, with weights {sha256[:12]}",
            run_next="take the checkpoint of another training out of the folder, or put its own teacher there",
        )
    if source.base is None:
        raise UserError(
            found=f"no teacher of {checkpoint}",
            expected=f"a teacher with weights {stated[:12]}",
            run_next=f"name its path as `teacher` in {training / CONFIG}; or turbo-eval weights pull",
        )
    rewards = _rewards_of(recipe) if found.rewards is None else found.rewards
    return Contestant(checkpoint.name, found.entry, rewards)


def _rewards_of(recipe: dict[str, object]) -> tuple[str, ...] | None:
    """The names of the recipe's rewards; None where it does not say."""
    terms = recipe.get("rewards")
    return tuple(str(term["name"]) for term in terms) if isinstance(terms, list) else None


def _report(job: Job, short: Shortfall, training: Path, steps: dict[str, int]) -> Outcome:
    scores = merged(job.scores(), unscored_records(job, short))
    scored = Scored(scores)
    trained = {contestant.rewards for contestant in job.contestants}
    curves = curves_of(
        scored,
        steps,
        columns_of(job, scored),
        frozenset(prompt.prompt_id for prompt in job.plan.prompts()),
        trained.pop() if len(trained) == 1 else None,
        {entry.name: entry.lineage for entry in REWARDS},
    )
    folder, partial = job.run.folder, bool(short.missing)
    name = training.resolve().name
    title = f"{name}: {len(steps)} checkpoints on {job.plan.suite.name}, {len(job.plan.prompts())} prompts"
    title = f"{short.stamp}: {title}" if short.stamp else title
    unscored = without_number(job, scored, scores)
    markdown = to_markdown(curves, title, unscored)
    lines = [point.to_json() for point in curves.points]
    files = write_texts(
        folder,
        scores,
        job.run.manifest,
        job.environment,
        {},
        short.to_json() if partial else None,
        {"table.md": markdown},
        {
            "curves": lines,
            "changes": [change.to_json() for change in curves.changes],
            "trained_on": curves.trained_on,
            "unscored": unscored,
            "warnings": list(curves.warnings),
        },
    )
    records = write_lines(folder, CURVES_FILE, lines, partial=partial)
    figure = write_stamped(folder, FIGURE_FILE, partial, draw(curves, title))
    return Outcome(folder, None, (*files, records, figure), tuple(markdown.splitlines()), excess_of(job, short))


def to_markdown(curves: Curves, title: str, unscored: dict[str, str]) -> str:
    """Steps down, metrics across; warnings first."""
    heads = [c.metric + (" (in_loop)" if c.metric in (curves.trained_on or ()) else "") for c in curves.columns]
    own = {(point.step, point.mean.metric): point.mean for point in curves.points}
    lines = [
        [str(step), *(bounded(m.mean, m.low, m.high) for m in (own[step, c.metric] for c in curves.columns))]
        for step in curves.steps
    ]
    blocks = [f"## {title}", *(f"- warning: {text}" for text in curves.warnings), grid(["step", *heads], lines)]
    if unscored:
        blocks.append("Unscored:\n\n" + "\n".join(f"- {metric}: {why}" for metric, why in unscored.items()))
    return "\n\n".join([*blocks, "\n".join(f"- {note}" for note in curves.notes)]) + "\n"

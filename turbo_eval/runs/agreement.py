"""May these runs become one? Only if nothing that decides pixels differs, and no two of them contradict each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from turbo_eval.manifest import Manifest, Scope, differences
from turbo_eval.records import ClipId
from turbo_eval.runs.checks import name_of
from turbo_eval.runs.reading import Reading
from turbo_train.errors import UserError

SHOWN = 3


@dataclass(frozen=True)
class _Told:
    """What a run says of something, and which run it is."""

    value: str
    run: str


def check_agreement(runs: Sequence[Reading]) -> None:
    """UserError names the fields, clips or scores in which the runs differ."""
    for run in runs[1:]:
        _check_identity(runs[0], run)
    seen: dict[str, tuple[Mapping[str, Any], Reading]] = {}
    for run in runs:
        for name, fields in run.manifest.models.items():
            first, owner = seen.setdefault(name, (fields, run))
            if changed := differences(first, fields, f"models.{name}"):
                raise _refusal(owner, run, changed)
    contradictions = _contradictions(runs)
    if contradictions:
        more = f" and {len(contradictions) - SHOWN} more" if len(contradictions) > SHOWN else ""
        raise UserError(
            found=f"runs that contradict each other: {'; '.join(contradictions[:SHOWN])}{more}",
            expected="one file of each clip and content key, and one value of each clip, metric and scorer",
            run_next="turbo-eval runs verify each of them, and leave out the one that is wrong",
        )


def _check_identity(a: Reading, b: Reading) -> None:
    if changed := differences(_identity(a.manifest), _identity(b.manifest)):
        raise _refusal(a, b, changed)


def _identity(manifest: Manifest) -> dict[str, Any]:
    return {
        **manifest.identity.to_json(),
        "suite_samples": manifest.suite_samples,
        "suite_samples_by_dimension": manifest.suite_samples_by_dimension or {},
    }


def _refusal(a: Reading, b: Reading, changed: Sequence[tuple[str, Any, Any]]) -> UserError:
    listed = "; ".join(f"{name}: {json.dumps(x)} and {json.dumps(y)}" for name, x, y in changed)
    return UserError(
        found=f"{a.folder} and {b.folder} were made by different configurations ({listed})",
        expected="runs of one identity, with the same content key of every model that they share",
        run_next=f"turbo-eval runs explain {a.folder} {b.folder}",
    )


def _contradictions(runs: Sequence[Reading]) -> list[str]:
    """Clips with two files, scores with two values. A row without its file, or of a former key, contradicts nobody."""
    clips: dict[tuple[ClipId, str], _Told] = {}
    scores: dict[tuple[ClipId, str, str, str], _Told] = {}
    found = []
    for run in runs:
        where = str(run.folder)
        for clip in run.rows():
            if not (run.is_present(clip) and run.has_file(clip)):
                continue
            told = clips.setdefault((clip.clip_id, clip.key), _Told(clip.sha256, where))
            if told.value != clip.sha256:
                found.append(f"{name_of(clip.clip_id)} has other bytes in {told.run} than in {where}")
        for _, score, digest in run.scan.scores():
            value = json.dumps(score.value) if score.unscored is None else f"unscored ({score.unscored})"
            other = scores.setdefault((score.clip_id, digest, score.metric, score.scorer), _Told(value, where))
            if other.value != value:
                name = f"{name_of(score.clip_id)} {score.metric}"
                found.append(f"{name} is {other.value} in {other.run}, {value} in {where}")
    return found


def merged_models(runs: Sequence[Reading]) -> dict[str, Mapping[str, Any]]:
    """Every model of the runs."""
    return {name: fields for run in runs for name, fields in run.manifest.models.items()}


def merged_scope(scopes: Sequence[Scope]) -> Scope:
    """All that any of them wanted: the most samples and prompts (None is more than any number), every dimension.

    encoders: of the first that was scored.
    """
    samples, limits = [scope.samples for scope in scopes], [scope.limit for scope in scopes]
    dimensions = [scope.dimensions for scope in scopes]
    return Scope(
        models=tuple(dict.fromkeys(name for scope in scopes for name in scope.models)),
        samples=_most(samples),
        limit=_most(limits),
        dimensions=tuple(dict.fromkeys(d for some in dimensions for d in some)) if all(dimensions) else (),
        score=any(scope.score for scope in scopes),
        encoders=next((scope.encoders for scope in scopes if scope.score), Scope.encoders),
    )


def _most(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return max(known) if len(known) == len(counts) else None

"""What can be wrong with a run? One function per question; each returns findings and stops at none.

A finding is harmless when no number rests on it: a row that stands twice, a file that no row names, or damage to a
clip of a former content key or to one that was made again meanwhile.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from turbo_eval.clip_files import FPS_TOLERANCE, SHORT
from turbo_eval.durable import check_contained, sha256_of, stale_temporaries
from turbo_eval.manifest import MANIFEST, Manifest
from turbo_eval.records import ClipId, ClipRecord, ScoreRecord, canonical_line
from turbo_eval.runs.reading import Reading
from turbo_eval.runs.scan import Scan
from turbo_train.errors import UserError
from turbo_train.video_io import UnreadableVideo, read_video

ClipKey = tuple[ClipId, str]  # (clip_id, content key)
AGAIN = "the command that made the run (vbench, rewards, generate, runs import-vbench), again"
REPAIR = "turbo-eval runs verify --repair moves it aside"
COLLECT = "turbo-eval runs gc removes it"
# kind -> (what it means, what to do)
KINDS = {
    "manifest": ("the manifest's keys are not those of its fields", "restore manifest.json from a copy"),
    "suite": ("the suite is not the manifest's", "restore suite.jsonl from a copy"),
    "broken_line": ("a complete line of the ledger that is no row", REPAIR),
    "torn_line": ("an unfinished last line of a process that is gone", "cut off when the run is opened again"),
    "foreign_row": ("a row of another suite", "delete the line; its work is then done again"),
    "outside": ("a symbolic link leads out of the run", "replace the link by the file, by hand"),
    "missing_file": ("a row without its file", AGAIN),
    "changed_file": ("the file has not the row's bytes", AGAIN),
    "unreadable_clip": ("the file does not decode to what its row says", AGAIN),
    "conflict": ("one clip, two files with different bytes", "delete the one that is wrong"),
    "duplicate_row": ("the same row twice", COLLECT),
    "score_conflict": ("one clip, metric and scorer, two values", "find out which is right; delete the other line"),
    "orphan_score": ("a score of a clip that has no row", AGAIN),
    "missing_clip": ("a wanted clip", AGAIN),
    "missing_score": ("a wanted score", AGAIN),
    "unlisted_file": ("a file in clips/ that no row names", COLLECT),
    "stale_temporary": ("an unfinished file of a process that is gone", "swept when the run is opened again"),
    "results": (
        "scores.jsonl is not what the ledger says",
        "the same command writes it again",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One thing that was found. where: a file, a line, or a clip."""

    kind: str
    where: str
    detail: str = ""
    harmless: bool = False


def check_manifest(folder: Path, manifest: Manifest) -> Iterator[Finding]:
    """The keys that stand in the manifest are those of its fields."""
    stored = json.loads((folder / MANIFEST).read_text(encoding="utf-8")).get("keys")
    if stored != manifest.keys:
        yield Finding("manifest", MANIFEST, "keys")


def check_lines(scan: Scan) -> Iterator[Finding]:
    """Every line is a row."""
    for fault in scan.faults:
        kind = "torn_line" if fault.torn else "broken_line"
        yield Finding(kind, f"{fault.path.name} line {fault.number}", fault.reason)


def check_rows(scan: Scan, manifest: Manifest) -> Iterator[Finding]:
    """No row stands twice or is another suite's; no score is of an unknown clip, or differs from another."""
    sha256 = manifest.identity.suite_sha256
    seen = set[ClipRecord]()
    values: dict[tuple[ClipId, str, str, str], set[tuple[float | None, str | None]]] = defaultdict(set)
    for row, clip in scan.clips():
        where = f"{row.path.name} line {row.number}"
        if clip.suite_sha256 != sha256:
            yield Finding("foreign_row", where, f"suite {clip.suite_sha256[:SHORT]}")
        if clip in seen:
            yield Finding("duplicate_row", where, name_of(clip.clip_id), harmless=True)
        seen.add(clip)
    known = {(clip.clip_id, clip.sha256) for clip in seen}
    for row, score, digest in scan.scores():
        where = f"{row.path.name} line {row.number}"
        if score.suite_sha256 != sha256:
            yield Finding("foreign_row", where, f"suite {str(score.suite_sha256)[:SHORT]}")
        if (score.clip_id, digest) not in known:
            yield Finding("orphan_score", where, f"{name_of(score.clip_id)} {score.metric}")
        earlier = values[score.clip_id, digest, score.metric, score.scorer]
        value = (score.value, score.unscored)
        if value in earlier:
            yield Finding("duplicate_row", where, f"{name_of(score.clip_id)} {score.metric}", harmless=True)
        elif earlier:
            yield Finding("score_conflict", where, f"{name_of(score.clip_id)} {score.metric}")
        earlier.add(value)


@dataclass(frozen=True)
class CheckedClips:
    """The clips whose files are as their rows say, and what is wrong with the others. size_bytes: read in all."""

    good: dict[ClipKey, list[ClipRecord]]
    damaged: set[ClipKey]
    findings: list[Finding]
    size_bytes: int


def check_clips(
    folder: Path, clips: Iterable[ClipRecord], manifest: Manifest, advance: Callable[[int], None]
) -> CheckedClips:
    """Every file is there, inside the run, has its row's bytes, and decodes to its row's frames, size and fps."""
    good: dict[ClipKey, list[ClipRecord]] = defaultdict(list)
    wrong: list[tuple[ClipRecord, str, str]] = []
    for clip in clips:
        if problem := _problem(folder, clip):
            wrong.append((clip, *problem))
        else:
            good[clip.clip_id, clip.key].append(clip)
        advance(1)
    findings = [
        Finding(kind, clip.path, detail, harmless=_is_former(clip, manifest) or (clip.clip_id, clip.key) in good)
        for clip, kind, detail in wrong
    ]
    for (clip_id, key), twins in good.items():
        digests = sorted({clip.sha256[:SHORT] for clip in twins})
        if len(digests) > 1:
            detail = f"{name_of(clip_id)}: {', '.join(digests)}"
            former = manifest.keys.get(clip_id[0]) != key
            findings.append(Finding("conflict", twins[0].path, detail, harmless=former))
    damaged = {(clip.clip_id, clip.key) for clip, _, _ in wrong} - set(good)
    return CheckedClips(good, damaged, findings, sum(c.size_bytes for twins in good.values() for c in twins))


def _is_former(clip: ClipRecord, manifest: Manifest) -> bool:
    return manifest.keys.get(clip.model) != clip.key


def _problem(folder: Path, clip: ClipRecord) -> tuple[str, str] | None:
    path = folder / clip.path
    try:
        check_contained(folder, path)
        if not path.is_file():
            return "missing_file", name_of(clip.clip_id)
        if path.stat().st_size != clip.size_bytes:
            return "changed_file", f"{path.stat().st_size} bytes, {clip.size_bytes} in the row"
        if sha256_of(path) != clip.sha256:
            return "changed_file", "another sha256"
        video = read_video(path)
    except UnreadableVideo as error:
        return "unreadable_clip", error.found
    except UserError as error:
        return "outside", error.found
    except OSError as error:
        return "changed_file", f"cannot be read ({error.strerror or error})"
    frames, height_px, width_px = video.frames_THWC.shape[:3]
    if (frames, height_px, width_px) != (clip.frames, clip.height_px, clip.width_px):
        row = f"{clip.frames} of {clip.width_px}x{clip.height_px} px"
        return "unreadable_clip", f"{frames} frames of {width_px}x{height_px} px, {row} in the row"
    if abs(video.fps - clip.fps) > FPS_TOLERANCE:
        return "unreadable_clip", f"{video.fps:g} fps, {clip.fps:g} in the row"
    return None


def check_wanted(run: Reading, checked: CheckedClips) -> Iterator[Finding]:
    """Every clip and every score of the newest command is there. Damaged clips were named before."""
    for clip_id, prompt in run.wanted():
        key = (clip_id, run.keys.get(clip_id[0], ""))
        failure = run.failure(clip_id)
        if key in checked.good:
            clip = min(checked.good[key], key=lambda clip: clip.sha256)
            if missing := run.missing_metrics(clip, prompt):
                why = f" ({failure.error})" if failure else ""
                yield Finding("missing_score", name_of(clip_id), ", ".join(missing) + why)
        elif key not in checked.damaged:
            yield Finding("missing_clip", name_of(clip_id), failure.error if failure else "not made yet")


def check_files(folder: Path, scan: Scan, alive: Callable[[str], bool]) -> Iterator[Finding]:
    """Nothing lies about that no row names and nobody is writing."""
    for path in stale_temporaries(folder, alive):
        yield Finding("stale_temporary", path.relative_to(folder).as_posix(), harmless=True)
    for path in unlisted_files(folder, scan):
        yield Finding("unlisted_file", path.relative_to(folder).as_posix(), harmless=True)


def unlisted_files(folder: Path, scan: Scan) -> list[Path]:
    """Files in clips/ that no row names, unfinished ones left aside."""
    listed = {clip.path for _, clip in scan.clips()}
    files = (path for path in sorted((folder / "clips").rglob("*")) if path.is_symlink() or path.is_file())
    return [
        path
        for path in files
        if path.relative_to(folder).as_posix() not in listed and not (path.name[0] == "." and path.suffix == ".tmp")
    ]


def check_results(run: Reading) -> Iterator[Finding]:
    """scores.jsonl is, byte for byte, what the ledger says of the wanted clips. Only of a run that is complete.

    Results of an earlier command that wanted something else are left alone.
    """
    path, results = run.folder / "scores.jsonl", run.folder / "results.json"
    if not (path.is_file() and results.is_file()):
        return
    try:
        document = json.loads(results.read_bytes())
        scope = json.loads(json.dumps(asdict(run.manifest.scope)))
        keys = {name: run.keys.get(name) for name in run.models}
        same_command = document["scope"] == scope and {n: document["keys"].get(n) for n in run.models} == keys
    except (ValueError, KeyError, TypeError, AttributeError):
        yield Finding("results", results.name, "not readable as results")
        return
    written = path.read_bytes()
    if same_command and written != "".join(f"{canonical_line(s)}\n" for s in _final_scores(run, written)).encode():
        yield Finding("results", path.name, "other scores than the ledger's")


def _final_scores(run: Reading, written: bytes) -> list[ScoreRecord]:
    """The scores that the newest command prints; by the scorers that `written` names, else by the newest ones."""
    pairs = {name: scorer for name, scorer in run.scorers.items() if scorer is not None}
    spoken = {(score.metric, score.scorer) for _, score, _ in run.scan.scores()}
    for line in written.splitlines():
        try:
            row = json.loads(line)
            pair = row["metric"], row["scorer"]
        except (ValueError, KeyError, TypeError):
            continue
        if pair in spoken and pair[0] in pairs:
            pairs[pair[0]] = pair[1]
    wanted = {clip_id for clip_id, _ in run.wanted()}
    kept = run.scores(pairs.items())
    return [s for s in kept if s.clip_id in wanted and run.plan.metric_wants(s.metric, s.sample_index)]


def name_of(clip_id: ClipId) -> str:
    """`model prompt-sample`."""
    return "{} {}-{}".format(*clip_id)

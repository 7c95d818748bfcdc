"""Is every row of a run true, and every clip as it was written? All that is wrong is found in one go (checks.py)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from turbo_eval.manifest import read_manifest, read_suite
from turbo_eval.runs.checks import (
    KINDS,
    Finding,
    check_clips,
    check_files,
    check_lines,
    check_manifest,
    check_results,
    check_rows,
    check_wanted,
)
from turbo_eval.runs.imported import IMPORTED
from turbo_eval.runs.reading import Reading, SessionFiles
from turbo_eval.runs.scan import scan
from turbo_train.errors import Incomplete, UserError
from turbo_train.weights.sizes import readable

Stage = Callable[[int], AbstractContextManager[Callable[[int], None]]]
SHOWN = 3


@dataclass(frozen=True)
class Verified:
    """What was looked at and what was found. wanted None: unknown, for the suite is damaged."""

    run: str
    lines: int
    clips: int
    clips_bytes: int
    wanted: int | None
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Nothing is missing or damaged."""
        return all(finding.harmless for finding in self.findings)

    @property
    def groups(self) -> dict[tuple[str, bool], list[Finding]]:
        """Findings by (kind, harmless), in the order of KINDS, harmful ones first."""
        order = [(kind, harmless) for harmless in (False, True) for kind in KINDS]
        found = {group: [f for f in self.findings if (f.kind, f.harmless) == group] for group in order}
        return {group: items for group, items in found.items() if items}

    def to_json(self) -> dict[str, Any]:
        """Plain data, with every finding."""
        counts = [
            {
                "kind": kind,
                "harmless": harmless,
                "count": len(items),
                "meaning": KINDS[kind][0],
                "advice": KINDS[kind][1],
            }
            for (kind, harmless), items in self.groups.items()
        ]
        return {**asdict(self), "sound": self.sound, "counts": counts}

    def rows(self) -> list[dict[str, Any]]:
        """For people: a row per kind, with the first few."""
        return [
            {
                "found": kind,
                "count": len(items),
                "harm": "none" if harmless else "yes",
                "meaning": KINDS[kind][0],
                "first": "\n".join(_short(finding) for finding in items[:SHOWN]),
                "what to do": KINDS[kind][1],
            }
            for (kind, harmless), items in self.groups.items()
        ]

    def summary(self) -> str:
        """One line."""
        checked = f"{self.lines} rows and {self.clips} clips ({readable(self.clips_bytes)}) checked"
        if self.sound:
            return f"{checked}: all {self.wanted} wanted clips and their scores are there and as they were written"
        return f"{checked}: {sum(not finding.harmless for finding in self.findings)} things are missing or damaged"


def _short(finding: Finding) -> str:
    return f"{finding.where}: {finding.detail}" if finding.detail else finding.where


def verify_run(folder: Path, stage: Stage) -> Verified:
    """Looks at everything; writes nothing. stage(total): shows the progress through the clips, which are decoded.

    UserError: not a run's folder, or its manifest cannot be read.
    """
    manifest = read_manifest(folder)
    sessions = SessionFiles(folder)
    findings = list(check_manifest(folder, manifest))
    try:
        read_suite(folder, manifest)
    except UserError as error:
        findings.append(Finding("suite", "suite.jsonl", error.found))
        run = None
    else:
        run = Reading(folder)
    seen = run.scan if run else scan(folder, sessions.alive)
    findings += [*check_lines(seen), *check_rows(seen, manifest)]
    clips = dict.fromkeys(clip for _, clip in seen.clips())
    with stage(len(clips)) as advance:
        checked = check_clips(folder, clips, manifest, advance)
    findings += checked.findings
    if run:
        findings += check_wanted(run, checked)
        if all(finding.harmless for finding in findings):
            findings += check_results(run)
    findings += check_files(folder, seen, sessions.alive)
    wanted = sum(1 for _ in run.wanted()) if run else None
    return Verified(str(folder), len(seen.rows), len(clips), checked.size_bytes, wanted, tuple(findings))


def require_sound(found: Verified) -> None:
    """Incomplete (exit code 3) when something is missing or damaged."""
    if found.sound:
        return
    counts = [f"{len(items)} {kind}" for (kind, harmless), items in found.groups.items() if not harmless]
    kinds = {kind for kind, harmless in found.groups if not harmless}
    steps = []
    if "broken_line" in kinds:
        steps.append(f"turbo-eval runs verify {found.run} --repair first")
    if "outside" in kinds:
        steps.append("replace each link that leads out of the run by the file, by hand")
    if (Path(found.run) / IMPORTED).is_file():
        steps.append("remove damaged clips, and the turbo-eval runs import-vbench that brought them, again")
    else:
        steps.append("the command that made the run, again: it makes missing and damaged clips anew")
    raise Incomplete(
        found=f"{', '.join(counts)} in {found.run}",
        expected="every wanted clip and score, as they were written",
        run_next="; then ".join(steps),
    )

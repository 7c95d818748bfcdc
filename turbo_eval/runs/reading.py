"""How is a run looked at without touching it? As the store sees it, but nothing is repaired and no line stops it.

Which scores are wanted is known without the scorers: their names are the newest command's, and the scorer of a name
is the one that last spoke of it in the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from turbo_eval.leases import SessionInfo, Sessions
from turbo_eval.ledger import Line
from turbo_eval.manifest import read_manifest
from turbo_eval.records import ClipId, ClipRecord, Prompt
from turbo_eval.runs.scan import Scan, scan
from turbo_eval.scorers.oracle import ORACLE_METRICS
from turbo_eval.scorers.registry import VBENCH, expected_metrics, metric_names
from turbo_eval.scorers.vbench.spec import NAMES, TEMPORAL_FLICKERING
from turbo_eval.static_clips import Needed, is_filtered, needed_of
from turbo_eval.store import Run
from turbo_eval.units import Plan
from turbo_train.errors import UserError
from turbo_train.rewards.table import REWARDS


class SessionFiles(Sessions):
    """The processes of a run of which a regular file tells: reading a pipe would wait for ever."""

    def names(self) -> list[str]:
        """Every process that has ever worked here."""
        return [name for name in super().names() if self._is_regular(name)]

    def info(self, name: str) -> SessionInfo:
        """What is known of a process."""
        return super().info(name) if self._is_regular(name) else SessionInfo(name, False, False, float("inf"), {})

    def _is_regular(self, name: str) -> bool:
        return (self.folder / f"{name}.json").is_file()


class Reading(Run):
    """A run, read only. UserError: not a run's folder, or one whose manifest or suite is damaged."""

    def __init__(self, folder: Path) -> None:
        read_manifest(folder)  # first of all: is it a run?
        self.scan: Scan = scan(folder, SessionFiles(folder).alive)
        super().__init__(folder, repair=False)
        self.sessions = SessionFiles(folder)
        self.plan = Plan(self.suite, self.manifest.scope, self.manifest.identity.batch)
        self.index = {prompt.prompt_id: i for i, prompt in enumerate(self.suite.prompts)}

    def refresh(self) -> int:
        """Takes the rows of the scan, which is made once."""
        for row in self.scan.rows:
            with suppress(ValueError):  # of another suite: `verify` names it
                self._take(Line(row.path, row.number, row.data))
        return len(self.scan.rows)

    def _is_there(self, clip: ClipRecord) -> bool:
        """A file to which a symbolic link leads out of the run is no clip of it."""
        try:
            return super()._is_there(clip)
        except UserError:
            return False

    @property
    def models(self) -> tuple[str, ...]:
        """The models of the newest command."""
        return self.manifest.scope.models

    def wanted(self) -> Iterator[tuple[ClipId, Prompt]]:
        """The clips of the newest command."""
        return (pair for model in self.models for pair in self.wanted_of(model))

    def wanted_of(self, model: str) -> Iterator[tuple[ClipId, Prompt]]:
        """The clips of one model that the newest command is known to need, by prompt."""
        for index, prompt in enumerate(self.suite.prompts):
            for sample_index in range(self._needed(model, index).samples):
                yield (model, prompt.prompt_id, sample_index), prompt

    def _needed(self, model: str, index: int) -> Needed:
        if not self.manifest.scope.score:
            return Needed(self.plan.samples_of(index), True)
        scorer = (self.scorers[TEMPORAL_FLICKERING] or "none yet") if TEMPORAL_FLICKERING in self.scorers else None
        return needed_of(self, self.plan, model, index, scorer)

    def has_file(self, clip: ClipRecord) -> bool:
        """Whether a file of the right size lies where the row says."""
        return self._is_there(clip)

    def is_present(self, clip: ClipRecord) -> bool:
        """Whether a clip is of the key that its model has now."""
        return self.keys.get(clip.model) == clip.key

    @cached_property
    def scorers(self) -> dict[str, str | None]:
        """metric -> the scorer that last spoke of it (None: no scorer yet), for the metrics of the newest command."""
        newest: dict[str, tuple[float, str]] = {}
        for row, score, _ in self.scan.scores():
            newest[score.metric] = max(newest.get(score.metric, (0.0, "")), (row.at, score.scorer))
        asked = self.manifest.scope.dimensions
        wanted = metric_names() if self.manifest.scope.score else ()
        profile = self.manifest.scope.encoders
        expected = expected_metrics(profile, static_filter=is_filtered(self.suite))
        # What scored on another machine, where the weights are, counts; what another profile's encoders said does not.
        told = {name for name in newest if not (profile == VBENCH and name in ORACLE_METRICS)}
        known = [name for name in wanted if name in told or name in expected]
        # Reward models are asked by name only: what one of them said is not wanted by a command of VBench's.
        by_name = [entry.name for entry in REWARDS if entry.name in asked]
        others = sorted(set(newest) - {entry.name for entry in REWARDS} - set(metric_names()))
        names = [*known, *by_name, *others]
        return {n: newest[n][1] if n in newest else None for n in names if not asked or n in asked}

    def metrics_of(self, clip_id: ClipId, prompt: Prompt) -> list[str]:
        """The metrics that are asked of a clip: the rule of scorers.base.applies, and the suite's samples."""
        return [
            name
            for name in self.scorers
            if (name not in NAMES or not prompt.dimensions or name in prompt.dimensions)
            and self.plan.metric_wants(name, clip_id[2])
        ]

    def missing_metrics(self, clip: ClipRecord, prompt: Prompt) -> list[str]:
        """The metrics of which nothing is known for these bytes."""
        return [m for m in self.metrics_of(clip.clip_id, prompt) if not self._is_scored(clip, m)]

    def _is_scored(self, clip: ClipRecord, metric: str) -> bool:
        scorer = self.scorers[metric]
        return scorer is not None and self.score(clip, metric, scorer) is not None

    def workers(self) -> list[SessionInfo]:
        """Every process that has ever worked here."""
        return [self.sessions.info(name) for name in self.sessions.names()]


def refuse_living(run: Run, what: str) -> None:
    """UserError while a process works on the run."""
    living = [name for name in run.sessions.names() if run.sessions.info(name).alive]
    if living:
        raise UserError(
            found=f"{run.folder} is being worked on by {len(living)}: {', '.join(living[:3])}",
            expected=f"a run that nobody works on, before {what}",
            run_next="wait until they are done or stop them; they keep what they have made",
        )


def refuse_broken(run: Reading, what: str) -> None:
    """UserError for a ledger with a complete line that is no row: what belongs together is then unknown."""
    broken = run.scan.broken
    if broken:
        raise UserError(
            found=f"{len(broken)} broken lines in the ledger of {run.folder}, first: {broken[0]}",
            expected=f"a ledger that can be read whole, before {what}",
            run_next=f"turbo-eval runs verify {run.folder} --repair, which moves them aside",
        )

"""Does a clip's company depend on the micro-batch alone, and is one clip's fault no other's?"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from turbo_eval import scoring
from turbo_eval.decode_ahead import DecodeAhead
from turbo_eval.manifest import Manifest, RunIdentity, Scope
from turbo_eval.prompt_suite import suite_of
from turbo_eval.records import Prompt
from turbo_eval.scorers.base import Clip, Features, Score
from turbo_eval.scoring import Scoring, ScoringFailed
from turbo_eval.store import NewClip, Run, open_run
from turbo_eval.units import Unit
from turbo_train.video_io import read_video, write_mp4

NAMES = ("a", "b", "c")
UNIT: Any = Unit("m", "k" * 64, 0, (0, 1, 2), (0, 1, 2))


class CompanySize:
    """A scorer that tells how many clips it has seen together, and fails on one of them."""

    scorer_id = "test/company@1"

    def __init__(self, fails_on: str = "", metric: str = "company") -> None:
        self.fails_on, self.metric = fails_on, metric

    def score(self, clip: Clip, features: Features) -> Score:
        if clip.clip_id[1] == self.fails_on:
            raise ZeroDivisionError(f"on {self.fails_on}")
        return Score.of(len(features.company))


class CountsPictures(CompanySize):
    """A scorer that tells how many of the decoder's own pictures came with a clip."""

    def score(self, clip: Clip, features: Features) -> Score:
        return Score.of(len(clip.pictures))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    suite = suite_of("three", [Prompt(name, f"prompt {name}") for name in NAMES])
    manifest = Manifest(RunIdentity(suite.name, suite.sha256, 4, 1), Scope(("m",), 1), {"m": {}}, {})
    run = open_run(tmp_path / "run", manifest, suite)
    frames = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    run.publish([NewClip(("m", name, 0), index, frames + index, 8.0) for index, name in enumerate(NAMES)])
    return run


def scoring_of(run: Run, *scorers: CompanySize) -> Scoring:
    """Over the part of a job that scoring looks at."""

    def missing(clip: Any, prompt: Prompt) -> list[CompanySize]:
        return [s for s in scorers if run.score(clip, s.metric, s.scorer_id) is None]

    ids = [(index, ("m", prompt.prompt_id, 0), prompt) for index, prompt in enumerate(run.suite.prompts)]
    job: Any = SimpleNamespace(run=run, scorers=list(scorers), clip_ids=lambda unit: ids, missing_scorers=missing)
    return Scoring(job, DecodeAhead())


def values(run: Run, metric: str = "company") -> dict[str, float | None]:
    return {score.prompt_id: score.value for score in run.scores() if score.metric == metric}


def test_a_clip_has_the_company_that_it_had_before_a_kill(run: Run) -> None:
    """The rows of a micro-batch may be cut off behind the first; the others' scores must not show it."""
    whole = scoring_of(run, CompanySize())
    whole.together(UNIT, {})
    assert values(run) == dict.fromkeys(NAMES, 3.0)
    del run._scores[("m", "b", 0), next(c.sha256 for c in run.clips() if c.prompt_id == "b")]
    whole.together(UNIT, {})
    assert values(run) == dict.fromkeys(NAMES, 3.0)
    assert whole.lacking(UNIT) == []


def test_as_many_as_fit_are_scored_together(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "GROUP_BYTES", int(2 * 3 * 16 * 16 * scoring.PIXEL_BYTES))
    scoring_of(run, CompanySize()).together(UNIT, {})
    assert values(run) == {"a": 2.0, "b": 2.0, "c": 1.0}


def test_what_fits_is_counted_by_what_clips_hold_in_memory(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", np.zeros((2, 256, 256, 3), np.uint8), 8.0)
    assert read_video(tmp_path / "a.mp4").nbytes == 2 * 256 * 256 * scoring.PIXEL_BYTES


def test_one_by_one_only_the_score_at_fault_is_left_out(run: Run) -> None:
    broken = scoring_of(run, CompanySize(fails_on="b"), CompanySize(metric="other"))
    with pytest.raises(ZeroDivisionError):
        broken.together(UNIT, {})
    assert values(run) == {}
    with pytest.raises(ScoringFailed, match="1 clips by themselves, the first by ZeroDivisionError: on b") as caught:
        broken.one_by_one(UNIT, {})
    assert list(caught.value.errors) == [("m", "b", 0)]
    assert values(run) == {"a": 1.0, "c": 1.0}
    assert values(run, "other") == dict.fromkeys(NAMES, 1.0)


def test_a_damaged_file_is_no_score(run: Run) -> None:
    clip = next(clip for clip in run.clips() if clip.prompt_id == "a")
    run.clip_path(clip).write_bytes(b"?" * clip.size_bytes)
    with pytest.raises(RuntimeError, match="has not the sha256"):
        scoring_of(run, CompanySize()).together(UNIT, {})
    assert clip not in run.clips()  # it is to be made again


def test_the_decoders_pictures_come_with_every_clip_just_made_or_read_again(run: Run) -> None:
    """Without them scene would be asked of other squares, and nobody would see it."""
    fresh = {record.sha256: read_video(run.clip_path(record)) for record in run.clips()}
    scoring_of(run, CountsPictures(metric="read")).together(UNIT, {})
    scoring_of(run, CountsPictures(metric="made")).together(UNIT, fresh)
    assert values(run, "read") == values(run, "made") == dict.fromkeys(NAMES, 3.0)

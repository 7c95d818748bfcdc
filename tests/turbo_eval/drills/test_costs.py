"""What does it cost that nothing can be lost? Ratios and counts, measured in one process; times are only printed."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from turbo_eval import keys, ledger
from turbo_eval.contestants import Request
from turbo_eval.manifest import Manifest, RunIdentity, Scope
from turbo_eval.pipeline import Job, prepare
from turbo_eval.prompt_suite import Suite, suite_of
from turbo_eval.records import ClipRecord, Prompt, ScoreRecord, canonical_json
from turbo_eval.store import Run, open_run
from turbo_eval.worker import Worker
from turbo_train.exits import StopRequest
from turbo_train.video_io import encode_mp4, read_video

BATCH = 4
REPETITIONS = 7
MOST = 1.3  # times what the same fsyncs and decode checks cost bare


class Instant:
    """A generator that returns at once: a square that moves over a still, grainy ground; 8 frames of 32x32."""

    fps = 8.0
    clip_bytes = 8 * 32 * 32 * 3

    def __init__(self) -> None:
        chance = np.random.default_rng(0)
        self.ground = chance.integers(90, 110, (1, 32, 32, 3), np.uint8).repeat(8, axis=0)

    def clip(self, number: int) -> NDArray[np.uint8]:
        """Another clip for each number."""
        frames = self.ground.copy()
        for t in range(8):
            left = (number + 2 * t) % 24
            frames[t, number % 20 : number % 20 + 8, left : left + 8] = (number % 256, 200, 255 - number % 256)
        return frames

    def generate(self, prompts: Sequence[Prompt], samples: Sequence[int], seed: int) -> list[NDArray[np.uint8]]:
        """One clip a prompt."""
        return [self.clip(int(prompt.prompt_id[1:])) for prompt in prompts]


def numbered_suite(folder: Path, count: int) -> Path:
    path = folder / f"numbered{count}.jsonl"
    rows = ({"prompt_id": f"p{i}", "prompt": f"prompt number {i}"} for i in range(count))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def job_of(model: Path, suite: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """A job whose model returns at once and whose clips nobody scores."""
    monkeypatch.setattr(Job, "generator", lambda job, contestant: Instant())
    request = Request(model=str(model), suite=str(suite), samples=1, batch=BATCH, threads=1, out=out, latency=False)
    job = prepare(request)
    job.scorers = ()
    return job


def bare(folder: Path, count: int) -> None:
    """The same fsyncs and decode checks in a loop, without leases, hashes, rows and renames."""
    instant = Instant()
    clips = folder / "clips"
    clips.mkdir(parents=True)
    lines = os.open(folder / "lines", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    directory = os.open(clips, os.O_RDONLY)
    for start in range(0, count, BATCH):
        os.fsync(directory)  # a lease
        for number in range(start, start + BATCH):
            path = clips / f"{number}.mp4"
            frames = instant.clip(number)
            encode_mp4(path, frames, instant.fps, lossless=True)
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
            assert np.array_equal(read_video(path).frames_THWC, frames)
        os.fsync(directory)  # the clips' names
        os.write(lines, b"." * 500 * BATCH)  # the rows
        os.fsync(lines)
    os.close(lines)
    os.close(directory)


def seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


@pytest.mark.slow
def test_publishing_costs_little_more_than_its_fsyncs_and_decodes(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Median over pairs that take turns; 200 clips each."""
    count = 200
    suite = numbered_suite(tmp_path, count)
    ratios, times = [], []
    for repetition in range(REPETITIONS):
        job = job_of(tiny_student, suite, tmp_path / f"run{repetition}", monkeypatch)
        pair = [
            seconds(lambda r=repetition: bare(tmp_path / f"bare{r}", count)),
            seconds(Worker(job, StopRequest()).work),
        ]
        assert len(job.run.clips()) == count
        times.append(pair)
        ratios.append(pair[1] / pair[0])
    text = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
    print(f"\npublishing / bare, {count} clips: median {statistics.median(ratios):.3f} of {text}")
    print("bare, run (ms a clip): " + "; ".join(f"{a / count * 1e3:.1f}, {b / count * 1e3:.1f}" for a, b in times))
    assert statistics.median(ratios) <= MOST


def resident_bytes() -> int:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_clips(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An index of what is done is kept, a few kB a clip; frames (25 kB a clip here, 100 MB elsewhere) are not."""
    grown = {}
    for count in (500, 3000):
        suite = numbered_suite(tmp_path, count)
        job = job_of(tiny_student, suite, tmp_path / f"run{count}", monkeypatch)
        worker = Worker(job, StopRequest())
        before = resident_bytes()
        worker.work()
        grown[count] = resident_bytes() - before
        assert len(job.run.clips()) == count
    slope = (grown[3000] - grown[500]) / 2500
    print(f"\nresident: +{grown[500] / 2**20:.1f} MiB for 500 clips, +{grown[3000] / 2**20:.1f} MiB for 3,000")
    print(f"{slope * 1000 / 2**20:.1f} MiB per 1,000 clips")
    assert slope < Instant.clip_bytes / 3


# ------------------------------------------------------------------------------------------------ opening a run


def run_with_rows(folder: Path, count: int) -> tuple[Manifest, Suite]:
    """A run of so many clips and scores, its ledger written by hand and its files left out, but for the first."""
    suite = suite_of("numbered", [Prompt(f"p{i}", f"prompt number {i}") for i in range(count)])
    identity = RunIdentity(suite.name, suite.sha256, BATCH, 1)
    fields = keys.key_fields(keys.ModelIdentity("videos"), seed=0, batch=BATCH, threads=1, lossless=True, device="cpu")
    manifest = Manifest(identity, Scope(("videos",), 1), {"videos": fields}, {})
    open_run(folder, manifest, suite)
    (folder / "clips" / "videos").mkdir(parents=True)
    lines = []
    for i in range(count):
        clip = ClipRecord(
            model="videos",
            prompt_id=f"p{i}",
            sample_index=0,
            path=f"clips/videos/{i:05d}.mp4",
            sha256=f"{i:064x}",
            size_bytes=1,
            frames=8,
            height_px=32,
            width_px=32,
            fps=8.0,
            key=manifest.keys["videos"],
            suite_sha256=suite.sha256,
        )
        (folder / clip.path).write_bytes(b".")
        score = ScoreRecord("videos", f"p{i}", 0, "motion_smoothness", "by hand", value=0.5, suite_sha256=suite.sha256)
        lines.append({**clip.to_json(), "kind": "clip", "at": 0})
        lines.append({**score.to_json(), "kind": "score", "clip_sha256": clip.sha256, "at": 0})
    (folder / "ledger").mkdir()
    for part in range(3):  # of three processes that are gone
        text = "".join(canonical_json(line) + "\n" for line in lines[part::3])
        (folder / "ledger" / f"gone-{part}-ab.jsonl").write_text(text, encoding="utf-8")
    return manifest, suite


def test_opening_six_thousand_clips_reads_each_line_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve thousand rows; later looks read nothing again."""
    count = 6000
    manifest, suite = run_with_rows(tmp_path / "run", count)
    parsed = [0]
    loads = json.loads

    class CountingJson:
        @staticmethod
        def loads(raw: bytes) -> object:
            parsed[0] += 1
            return loads(raw)

    monkeypatch.setattr(ledger, "json", CountingJson)
    begun = time.perf_counter()
    run = open_run(tmp_path / "run", manifest, suite)
    opened_s = time.perf_counter() - begun
    assert parsed == [2 * count]
    assert (len(run.clips()), len(run.scores())) == (count, count)
    asked_s = time.perf_counter() - begun - opened_s
    assert run.refresh() == 0
    assert parsed == [2 * count]
    print(f"\nopened in {opened_s:.2f} s, every clip looked up in {asked_s:.2f} s")


def test_a_worker_reads_its_own_and_others_rows_once(
    tiny_student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many micro-batches it makes, it parses each line of the ledger once."""
    parsed = [0]
    loads = json.loads

    class CountingJson:
        @staticmethod
        def loads(raw: bytes) -> object:
            parsed[0] += 1
            return loads(raw)

    job = job_of(tiny_student, numbered_suite(tmp_path, 40), tmp_path / "run", monkeypatch)
    monkeypatch.setattr(ledger, "json", CountingJson)
    Worker(job, StopRequest()).work()
    job.run.refresh()
    assert parsed == [40]
    assert isinstance(job.run, Run)

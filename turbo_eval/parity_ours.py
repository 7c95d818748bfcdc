"""What does our own engine say of the clips that VBench is asked about, and in what time?

In a process of its own too: both engines begin cold, their peaks of memory can be told, nothing stays behind.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from turbo_eval.scorers.base import Clip, Features, OnNetwork, Score, Scorer, open_clip, score_clips
from turbo_eval.scorers.registry import VBENCH, build_scorers
from turbo_eval.scorers.vbench.dynamic_degree import DynamicDegree
from turbo_eval.scorers.vbench.encoders.backbone import Mode
from turbo_eval.scorers.vbench.official import ClipFile, Measured
from turbo_train.errors import UserError
from turbo_train.video_io import UnreadableVideo, read_video

CLIPS_AT_ONCE = 16  # decoded frames of so many clips are in memory together
PEAK_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss


@dataclass(frozen=True)
class Ask:
    """dimensions: computed together. every_pair: no early exit of dynamic_degree, as in VBench."""

    dimensions: tuple[str, ...]
    clips: tuple[ClipFile, ...]
    mode: Mode
    threads: int
    every_pair: bool


class Timed:
    """A scorer, and the seconds that it took."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.metric, self.scorer_id = scorer.metric, scorer.scorer_id
        self.load_s = self.score_s = self.cpu_s = 0.0

    def load(self) -> None:
        """Its network, if it has one."""
        started_s = time.perf_counter()
        if isinstance(self.scorer, OnNetwork):
            self.scorer.load()
        self.load_s += time.perf_counter() - started_s

    def score(self, clip: Clip, features: Features) -> Score:
        """The scorer's own."""
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        try:
            return self.scorer.score(clip, features)
        finally:
            self.score_s += time.perf_counter() - started_s
            self.cpu_s += time.process_time() - started_cpu_s


def measure_ours(ask: Ask) -> dict[str, Measured]:
    """Our numbers by dimension. What ends the engine, or its process, is a dimension's reason."""
    spawned = multiprocessing.get_context("spawn")
    receiving, sending = spawned.Pipe(duplex=False)
    process = spawned.Process(target=_answer, args=(sending, ask), daemon=True)
    process.start()
    sending.close()
    try:
        found: dict[str, Measured] = receiving.recv()
        return found
    except EOFError:
        process.join()
        return _failed(ask, f"its process ended with {process.exitcode}")
    finally:
        process.terminate()  # a signal to this process alone would leave it computing
        process.join()
        receiving.close()


def _answer(sending: Connection, ask: Ask) -> None:
    try:
        found = _measure(ask)
    except UserError as error:
        found = _failed(ask, str(error))
    sending.send(found)


def _failed(ask: Ask, why: str) -> dict[str, Measured]:
    return {name: Measured({}, {}, failed=why) for name in ask.dimensions}


def _measure(ask: Ask) -> dict[str, Measured]:
    import torch

    torch.set_num_threads(ask.threads)
    built = build_scorers(VBENCH, ask.dimensions, mode=ask.mode)
    found = {name: Measured({}, {}, failed=why) for name, why in built.unscored.items()}
    scorers = [Timed(_without_exit(scorer) if ask.every_pair else scorer) for scorer in built.scorers]
    for scorer in scorers:
        scorer.load()
    values: dict[str, dict[Path, float]] = {scorer.metric: {} for scorer in scorers}
    unscored: dict[str, dict[Path, str]] = {scorer.metric: {} for scorer in scorers}
    with suppress(UnreadableVideo):
        read_video(ask.clips[0].path)  # the decoder is imported at its first use
    decode_s = decode_cpu_s = 0.0
    for first in range(0, len(ask.clips), CLIPS_AT_ONCE):
        clips = ask.clips[first : first + CLIPS_AT_ONCE]
        started_s, started_cpu_s = time.perf_counter(), time.process_time()
        ids = {("clip", c.prompt.prompt_id, c.sample_index): c for c in clips}
        opened = [open_clip(clip.path, clip_id, clip.prompt) for clip_id, clip in ids.items()]
        decode_s += time.perf_counter() - started_s
        decode_cpu_s += time.process_time() - started_cpu_s
        for record in score_clips(scorers, opened):
            path = ids[record.clip_id].path
            if record.value is None:
                unscored[record.metric][path] = str(record.unscored)
            else:
                values[record.metric][path] = record.value
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * PEAK_UNIT_BYTES
    shares = max(1, len(scorers))
    return found | {
        scorer.metric: Measured(
            values=values[scorer.metric],
            unscored=unscored[scorer.metric],
            load_s=scorer.load_s,
            score_s=scorer.score_s + decode_s / shares,
            cpu_s=scorer.cpu_s + decode_cpu_s / shares,
            peak_bytes=peak,
        )
        for scorer in scorers
    }


def _without_exit(scorer: Scorer) -> Scorer:
    return DynamicDegree(scorer.encoder, every_pair=True) if isinstance(scorer, DynamicDegree) else scorer

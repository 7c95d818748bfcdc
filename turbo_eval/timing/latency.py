"""How long does one clip take each model, and how many times through its network does it go?

Measured apart from the run's own generation, because that works in batches: one clip at a time, from text to 8-bit
frames, both models in turn (measure.measure_rounds). Kept in the run's folder as latency.json, and measured again only
when the machine, its number of threads or the method is another. `turbo-eval speed` measures more, and more closely.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from turbo_eval.durable import write_atomically
from turbo_eval.records import Prompt
from turbo_eval.timing.intervals import median_interval, ratio_of_medians
from turbo_eval.timing.measure import clocked, measure_rounds
from turbo_eval.timing.record import WALL
from turbo_eval.timing.stop_rule import Rules

FILE = "latency.json"
INTERVALS = (
    "median with the 95 % interval of order statistics, ratio of medians with a 95 % interval from resampled rounds"
)
METHOD = f"one clip at a time, text to 8-bit frames, interleaved ABBA; {INTERVALS}"


@dataclass(frozen=True)
class Timing:
    """Seconds of one piece of work: median, its interval, every run in order, and what ended the measurement."""

    median_s: float
    low_s: float
    high_s: float
    runs_s: tuple[float, ...]
    stopped_by: str

    @property
    def runs(self) -> int:
        """How many runs were measured (warm-ups not among them)."""
        return len(self.runs_s)


class Rows(Protocol):
    """What counts the rows that went through a network."""

    rows: int


class CountedGenerator(Protocol):
    """A generator (turbo_eval.generators.base) whose denoiser counts."""

    @property
    def denoiser(self) -> Rows:
        """The counting denoiser."""
        ...

    def generate(self, prompts: Sequence[Prompt], sample_indices: Sequence[int], seed: int) -> object:
        """Clips of the pairs of prompt and sample."""
        ...


@dataclass(frozen=True)
class Latency:
    """Seconds per clip and network evaluations per clip of each model; the speed-up of the first over the second."""

    timings: Mapping[str, Timing]
    evaluations: Mapping[str, int]
    speed_up: tuple[float, float, float] | None  # ratio of medians, low, high

    def to_json(self) -> dict[str, object]:
        """For results.json."""
        speed_up = dict(zip(("ratio", "low", "high"), self.speed_up, strict=True)) if self.speed_up else None
        return {"method": METHOD, "per_clip": per_clip(self.timings, self.evaluations), "speed_up": speed_up}


def per_clip(timings: Mapping[str, Timing], evaluations: Mapping[str, int]) -> dict[str, dict[str, object]]:
    """Of each model, for JSON."""
    return {
        name: {**asdict(timing), "runs_s": list(timing.runs_s), "network_evaluations": evaluations[name]}
        for name, timing in timings.items()
    }


def read_per_clip(kept: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Timing], dict[str, int]]:
    """What `per_clip` was made of. KeyError, TypeError, ValueError: something else."""
    rows = {name: dict(row) for name, row in kept.items()}
    evaluations = {name: int(row.pop("network_evaluations")) for name, row in rows.items()}
    return {name: Timing(**{**row, "runs_s": tuple(row["runs_s"])}) for name, row in rows.items()}, evaluations


def evaluations_of(generator: CountedGenerator, prompt: Prompt, seed: int) -> int:
    """Rows that go through the network for one clip. Classifier-free guidance needs two a step."""
    before = generator.denoiser.rows
    generator.generate([prompt], [0], seed)
    return generator.denoiser.rows - before


def latency_rules(max_s: float = Rules.max_s) -> Rules:
    """To +-2 %, beside a run that takes minutes."""
    return Rules(max_s=max_s, half_width=0.02)


def time_clips(
    generators: Mapping[str, CountedGenerator], prompt: Prompt, seed: int, rules: Rules | None = None
) -> dict[str, Timing]:
    """Interleaved timings of generators that make one clip in a forward pass."""
    works = {name: clocked(partial(g.generate, [prompt], [0], seed)) for name, g in generators.items()}
    measured = measure_rounds(works, rules or latency_rules())
    timings = {}
    for name, stages_s in measured.runs_s.items():
        median_s, low_s, high_s = median_interval(stages_s[WALL])
        assert low_s is not None and high_s is not None  # the stop rule measures enough for an interval
        timings[name] = Timing(median_s, low_s, high_s, stages_s[WALL], measured.stopped_by)
    return timings


def times_faster(own: Timing, other: Timing) -> tuple[float, float, float]:
    """Median of the other / own median, with its interval, of timings that were interleaved."""
    ratio = ratio_of_medians(other.runs_s, own.runs_s)
    return ratio.ratio, ratio.low, ratio.high


def measure_latency(
    generators: Mapping[str, CountedGenerator], prompt: Prompt, seed: int, rules: Rules | None = None
) -> Latency:
    """Latency of one or two models."""
    evaluations = {name: evaluations_of(g, prompt, seed) for name, g in generators.items()}
    timings = time_clips(generators, prompt, seed, rules)
    return Latency(timings, evaluations, times_faster(*timings.values()) if len(timings) > 1 else None)


def read_latency(folder: Path, machine: Mapping[str, object]) -> Latency | None:
    """What an earlier call measured on the same machine, or None."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["machine"] != dict(machine) or kept["method"] != METHOD:
            return None
        timings, evaluations = read_per_clip(kept["per_clip"])
        ratio = kept["speed_up"]
        speed_up = (ratio["ratio"], ratio["low"], ratio["high"]) if ratio else None
    except (ValueError, KeyError, TypeError):
        return None  # cut short by a kill, or of an older version: measuring again costs a minute
    return Latency(timings, evaluations, speed_up)


def write_latency(folder: Path, latency: Latency, machine: Mapping[str, object]) -> None:
    """Keep it for the next call."""
    text = json.dumps({**latency.to_json(), "machine": dict(machine)}, indent=1, sort_keys=True)
    write_atomically(folder / FILE, (text + "\n").encode())

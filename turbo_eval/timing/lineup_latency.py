"""How long does a clip take each contestant of a line-up? One of each kind of work is timed, all of them interleaved.

Two students of one teacher in one setting go through equal networks equally often (LoRA is merged before use), so one
stands for both: that spares time, and memory where ten models would not fit. Kept in the run's folder as
lineup_latency.json; measured again when the machine, its number of threads, the method or what is timed is another.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbo_eval.durable import write_atomically
from turbo_eval.records import Prompt
from turbo_eval.timing.latency import (
    INTERVALS,
    CountedGenerator,
    Timing,
    evaluations_of,
    per_clip,
    read_per_clip,
    time_clips,
    times_faster,
)
from turbo_eval.timing.stop_rule import Rules

FILE = "lineup_latency.json"
METHOD = f"one clip at a time, text to 8-bit frames, interleaved (a, b, ..., z, z, ..., b, a); {INTERVALS}"


@dataclass(frozen=True)
class LineupLatency:
    """Timings and network evaluations per clip of those that were timed; contestant -> the one that stands for it."""

    timings: Mapping[str, Timing]
    evaluations: Mapping[str, int]
    stands_in: Mapping[str, str]

    def times_faster(self, name: str, than: str) -> tuple[float, float, float]:
        """Ratio of medians with its interval, of two contestants; 1 without doubt where they are one kind of work."""
        return times_faster(self.timings[self.stands_in[name]], self.timings[self.stands_in[than]])

    def to_json(self) -> dict[str, Any]:
        """For results.json."""
        timed = per_clip(self.timings, self.evaluations)
        return {"method": METHOD, "per_clip": timed, "stands_in": dict(self.stands_in)}


def stand_ins(kinds: Mapping[str, Hashable]) -> dict[str, str]:
    """contestant -> the first one that does the same kind of work."""
    first: dict[Hashable, str] = {}
    return {name: first.setdefault(kind, name) for name, kind in kinds.items()}


def measure_lineup(
    load: Callable[[str], CountedGenerator],
    stands_in: Mapping[str, str],
    prompt: Prompt,
    seed: int,
    rules: Rules | None = None,
) -> LineupLatency:
    """load: a contestant's generator, which makes one clip in a forward pass."""
    generators = {name: load(name) for name in dict.fromkeys(stands_in.values())}
    evaluations = {name: evaluations_of(generator, prompt, seed) for name, generator in generators.items()}
    return LineupLatency(time_clips(generators, prompt, seed, rules), evaluations, dict(stands_in))


def read_lineup_latency(folder: Path, machine: Mapping[str, object]) -> LineupLatency | None:
    """What an earlier call measured on the same machine for the same models, or None."""
    try:
        kept = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if kept["machine"] != dict(machine) or kept["method"] != METHOD:
            return None
        timings, evaluations = read_per_clip(kept["per_clip"])
        return LineupLatency(timings, evaluations, {str(k): str(v) for k, v in kept["stands_in"].items()})
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or cut short by a kill: measuring again costs a minute


def write_lineup_latency(folder: Path, latency: LineupLatency, machine: Mapping[str, object]) -> None:
    """Keep it for the next call."""
    text = json.dumps({**latency.to_json(), "machine": dict(machine)}, indent=1)
    write_atomically(folder / FILE, (text + "\n").encode())

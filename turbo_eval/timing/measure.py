"""How long do pieces of work take, measured side by side?

One run = one call, which says itself how long it and its stages took (generators/timed.py), or is timed from outside
(`clocked`). All works are measured interleaved: a, b, ..., z, z, ..., b, a is one round, with two runs of each, so
that a slow change of the machine falls on all alike. Warm-ups go in the same order, once there. When it ends:
stop_rule.py. Intervals are computed between rounds, never in a call, and ever more rarely.

Garbage collection is off while a work runs, as in timeit: a collection over the hundred thousands of objects of torch
and its companions takes longer than many a call (0.4 s) and would fall on any one of them. Before each round the young
objects are collected (generations 0 and 1: some 10 us), so that cycles of at most one round hold memory.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from turbo_eval.timing.record import WALL
from turbo_eval.timing.stop_rule import INTERRUPTED, Rules

Work = Callable[[], Mapping[str, float]]
"""One call: stage -> seconds, the same stages each time, WALL among them."""
Clock = Callable[[], float]


@dataclass(frozen=True)
class Measured:
    """runs_s: work -> stage -> every run in measured order; no stage where it was interrupted before the first run.

    warmups_s: work -> WALL of the calls before. stopped_by: which rule ended it.
    """

    runs_s: Mapping[str, Mapping[str, tuple[float, ...]]]
    warmups_s: Mapping[str, tuple[float, ...]]
    stopped_by: str


def clocked(work: Callable[[], object], clock: Clock = time.perf_counter) -> Work:
    """A plain piece of work, timed from outside."""

    def call() -> dict[str, float]:
        start = clock()
        work()
        return {WALL: clock() - start}

    return call


def never() -> bool:
    """No signal ends the measurement."""
    return False


def measure_rounds(
    works: Mapping[str, Work],
    rules: Rules | None = None,
    clock: Clock = time.perf_counter,
    stop: Callable[[], bool] = never,
) -> Measured:
    """Interleaved measurement of any number of works. `clock` tells how much of the time limit is spent.

    stop: asked after each round, the last as well; where it says True, what was measured by then is returned.
    ValueError: no work, or one whose stages change or have no WALL.
    """
    if not works:
        raise ValueError("there is no work to measure")
    rules = rules or Rules()
    began = clock()
    warmups_s: dict[str, list[float]] = {name: [] for name in works}
    runs_s: dict[str, dict[str, list[float]]] = {name: {} for name in works}
    with collector_off():
        reason = ""
        while not reason and not rules.is_warm([*warmups_s.values()], clock() - began):
            gc.collect(1)
            for name, work in works.items():
                warmups_s[name].append(work()[WALL])
            reason = INTERRUPTED if stop() else ""
        look_at = rules.fewest_runs
        while not reason:
            _round(works, runs_s)
            walls_s = [own[WALL] for own in runs_s.values()]
            runs = len(walls_s[0])
            stopped = stop()
            reason = rules.why_stop(walls_s, clock() - began, look=runs >= look_at) or (INTERRUPTED if stopped else "")
            look_at = rules.next_look(look_at) if runs >= look_at else look_at
    kept = {name: {stage: tuple(each) for stage, each in own.items()} for name, own in runs_s.items()}
    return Measured(kept, {name: tuple(own) for name, own in warmups_s.items()}, reason)


def _round(works: Mapping[str, Work], runs_s: Mapping[str, dict[str, list[float]]]) -> None:
    """There and back once; a run is kept only with its whole round."""
    gc.collect(1)
    calls = [(name, works[name]()) for name in (*works, *reversed([*works]))]
    for name, stages_s in calls:
        own = runs_s[name]
        if not own:
            own.update({stage: [] for stage in stages_s})
        if own.keys() != stages_s.keys() or WALL not in own:
            raise ValueError(f"{name}: stages {sorted(stages_s)}, expected {sorted({*own, WALL})}")
        for stage, seconds in stages_s.items():
            own[stage].append(seconds)


@contextmanager
def collector_off() -> Iterator[None]:
    """No garbage collection but what is asked for; afterwards as it was before. Inside of itself it does nothing."""
    if not gc.isenabled():
        yield
        return
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def cost_per_call_s(works: int = 2, runs: int = 200) -> float:
    """Seconds that the engine itself takes for a call, with all between the calls: of calls that do nothing."""
    nothing = {f"nothing {k}": clocked(lambda: None) for k in range(works)}
    rules = Rules(min_runs=runs, max_runs=runs, max_s=0.0)
    with collector_off():
        start = time.perf_counter()
        measured = measure_rounds(nothing, rules)
        spent_s = time.perf_counter() - start
    return spent_s / (works * (runs + len(measured.warmups_s["nothing 0"])))

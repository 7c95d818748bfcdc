"""Are many pieces of work timed interleaved, and does one of a kind stand for the others?"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from turbo_eval.records import Prompt
from turbo_eval.timing.lineup_latency import (
    FILE,
    LineupLatency,
    measure_lineup,
    read_lineup_latency,
    stand_ins,
    write_lineup_latency,
)
from turbo_eval.timing.measure import Rules, measure_race, measure_rounds


class Clockwork:
    """A clock that the pieces of work themselves put forward; `drift` makes every call slower than the one before."""

    def __init__(self, drift: float = 0.0) -> None:
        self.now, self.drift, self.order = 0.0, drift, list[str]()

    def __call__(self) -> float:
        return self.now

    def work(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.order.append(name)
            self.now += seconds * (1 + self.drift * len(self.order))

        return run


def test_the_order_is_there_and_back_after_the_warm_up() -> None:
    clock = Clockwork()
    works = {name: clock.work(name, 1.0) for name in "abc"}
    rounds = measure_rounds(works, Rules(warmups=1, min_runs=6, max_s=100.0), clock)
    assert "".join(clock.order) == "abc" + "abccba" * 3
    assert all(timing.runs == 6 and timing.median_s == 1.0 for timing in rounds.timings.values())


def test_a_slow_drift_falls_on_all_alike() -> None:
    clock = Clockwork(drift=0.01)
    works = {name: clock.work(name, seconds) for name, seconds in {"slow": 4.0, "fast": 1.0, "mid": 2.0}.items()}
    rounds = measure_rounds(works, Rules(warmups=2, min_runs=10, max_s=1.0), clock)
    assert rounds.times_faster("fast", "slow")[0] == pytest.approx(4, rel=0.02)
    assert rounds.times_faster("mid", "slow")[0] == pytest.approx(2, rel=0.02)
    assert rounds.times_faster("slow", "mid")[0] == pytest.approx(1 / rounds.times_faster("mid", "slow")[0])
    assert rounds.timings["slow"].stopped_by == "interval within +-2.0%"


def test_two_pieces_of_work_are_timed_as_in_a_race() -> None:
    one, other = Clockwork(0.003), Clockwork(0.003)
    race = measure_race(one.work("a", 1.0), one.work("b", 3.0), Rules(), one)
    rounds = measure_rounds({"a": other.work("a", 1.0), "b": other.work("b", 3.0)}, Rules(), other)
    assert one.order == other.order
    assert rounds.times_faster("a", "b") == (race.speed_up, race.low, race.high)


class Counting:
    """A generator whose clips take `rows` rows of its network."""

    def __init__(self, rows: int) -> None:
        self.rows, self.each = 0, rows
        self.denoiser = self

    def generate(self, prompts: object, sample_indices: object, seed: int) -> None:
        self.rows += self.each


def test_one_of_a_kind_is_loaded_and_its_numbers_are_kept(tmp_path: Path) -> None:
    names = stand_ins({"teacher": 1, "turbo": 2, "vcm": 2, "vcm-8": 3})
    assert names == {"teacher": "teacher", "turbo": "turbo", "vcm": "turbo", "vcm-8": "vcm-8"}
    loaded: list[str] = []

    def load(name: str) -> Counting:
        loaded.append(name)
        return Counting({"teacher": 100, "turbo": 4, "vcm-8": 8}[name])

    measured = measure_lineup(load, names, Prompt("p", "a prompt"), 0, Rules(half_width=math.inf))
    assert loaded == ["teacher", "turbo", "vcm-8"]
    assert measured.evaluations == {"teacher": 100, "turbo": 4, "vcm-8": 8}
    assert measured.times_faster("vcm", "turbo") == (1.0, 1.0, 1.0)
    write_lineup_latency(tmp_path, measured, {"cpu": "x"})
    again = read_lineup_latency(tmp_path, {"cpu": "x"})
    assert isinstance(again, LineupLatency) and again == measured
    assert read_lineup_latency(tmp_path, {"cpu": "y"}) is None
    (tmp_path / FILE).write_text('{"machine": {"cpu": "x"}, "per_cl')
    assert read_lineup_latency(tmp_path, {"cpu": "x"}) is None

"""Is a latency the median of enough runs, and a speed-up a ratio that drift of the machine does not touch?"""

from __future__ import annotations

from pathlib import Path

import pytest

from turbo_eval.timing.latency import Latency, measure_latency, read_latency, write_latency
from turbo_eval.timing.measure import Rules, Timing, measure, measure_race


class FakeClock:
    """A clock that stands still unless work moves it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.order: list[str] = []

    def __call__(self) -> float:
        return self.now

    def work(self, name: str, seconds: list[float]):  # type: ignore[no-untyped-def]
        """Work that takes the given seconds in turn, the last for ever."""
        left = list(seconds)

        def run() -> None:
            self.order.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def test_warm_up_runs_are_not_measured() -> None:
    clock = FakeClock()
    timing = measure(clock.work("a", [9.0, 9.0, 1.0]), Rules(warmups=2, min_runs=6), clock)
    assert timing.runs_s == (1.0,) * 6
    assert (timing.median_s, timing.low_s, timing.high_s) == (1.0, 1.0, 1.0)
    assert timing.stopped_by == "interval within +-2.0%"


def test_a_noisy_measurement_goes_on_until_time_is_up() -> None:
    clock = FakeClock()
    timing = measure(clock.work("a", [1.0, 2.0] * 500), Rules(warmups=0, min_runs=6, max_s=60.0), clock)
    assert timing.stopped_by == "time limit of 60 s"
    assert 60.0 <= sum(timing.runs_s) < 63.0
    assert timing.low_s <= timing.median_s <= timing.high_s


def test_the_minimum_of_runs_is_measured_even_beyond_the_time_limit() -> None:
    clock = FakeClock()
    assert measure(clock.work("a", [5.0]), Rules(warmups=0, min_runs=1, max_s=1.0), clock).runs == 6


def test_a_race_runs_in_the_order_abba() -> None:
    clock = FakeClock()
    race = measure_race(clock.work("a", [1.0]), clock.work("b", [4.0]), Rules(warmups=1, min_runs=6), clock)
    assert "".join(clock.order) == "ab" + "abba" * 3
    assert (race.speed_up, race.low, race.high) == (4.0, 4.0, 4.0)
    assert race.a.runs == race.b.runs == 6


def test_linear_drift_of_the_machine_leaves_the_speed_up_alone() -> None:
    clock = FakeClock()
    slower = [1.0 + 0.02 * k for k in range(400)]

    def work(name: str, factor: float):  # type: ignore[no-untyped-def]
        def run() -> None:
            clock.now += factor * slower[len(clock.order)]
            clock.order.append(name)

        return run

    race = measure_race(work("a", 1.0), work("b", 10.0), Rules(warmups=0, min_runs=20, max_s=0.0), clock)
    assert race.speed_up == pytest.approx(10.0, rel=0.02)
    assert race.low <= race.speed_up <= race.high


def test_one_measurement_gives_the_same_interval_twice() -> None:
    rules = Rules(warmups=0, min_runs=10, max_s=0.0)
    seconds = [1.0, 1.5, 1.1, 1.3, 1.2, 1.0, 1.4, 1.1, 1.2, 1.3]
    timings = [measure(c.work("a", seconds), rules, c) for c in (FakeClock(), FakeClock())]
    assert timings[0] == timings[1]


class _Rows:
    rows = 0


class Spinner:
    """A generator of real arithmetic with a known number of network rows per clip."""

    fps = 8.0
    batch = 1

    def __init__(self, rows: int, size: int) -> None:
        self.denoiser = _Rows()
        self._rows, self._size = rows, size

    def generate(self, prompts, sample_indices, seed):  # type: ignore[no-untyped-def]
        self.denoiser.rows += self._rows * len(prompts)
        return [sum(k * k for k in range(self._size))]


def test_latency_counts_evaluations_and_tells_slow_from_fast() -> None:
    generators = {"student": Spinner(4, 2_000), "teacher": Spinner(100, 50_000)}
    rules = Rules(warmups=1, min_runs=6, max_s=0.0)
    latency = measure_latency(generators, prompt=None, seed=0, rules=rules)  # type: ignore[arg-type]
    assert dict(latency.evaluations) == {"student": 4, "teacher": 100}
    assert latency.speed_up is not None
    ratio, low, high = latency.speed_up
    assert low <= ratio <= high
    assert ratio > 2
    assert latency.timings["student"].median_s < latency.timings["teacher"].median_s


def test_one_model_has_a_latency_and_no_speed_up() -> None:
    latency = measure_latency({"m": Spinner(4, 10)}, None, 0, Rules(min_runs=6, max_s=0.0))  # type: ignore[arg-type]
    assert latency.speed_up is None
    assert list(latency.timings) == ["m"]


def test_a_kept_latency_is_read_back_on_the_same_machine_only(tmp_path: Path) -> None:
    timing = Timing(0.5, 0.4, 0.6, (0.4, 0.5, 0.6), "time limit of 60 s")
    latency = Latency({"a": timing, "b": timing}, {"a": 4, "b": 100}, (1.0, 0.9, 1.1))
    assert read_latency(tmp_path, {"threads": 2}) is None
    write_latency(tmp_path, latency, {"threads": 2})
    assert read_latency(tmp_path, {"threads": 2}) == latency
    assert read_latency(tmp_path, {"threads": 4}) is None
    (tmp_path / "latency.json").write_text('{"machine": {"thr')
    assert read_latency(tmp_path, {"threads": 2}) is None

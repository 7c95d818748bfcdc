"""Has each model a latency, the faster one a speed-up, and is both read back where it holds?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from turbo_eval.timing.latency import (
    FILE,
    Latency,
    Timing,
    latency_rules,
    measure_latency,
    read_latency,
    times_faster,
    write_latency,
)
from turbo_eval.timing.stop_rule import Rules


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
    rules = Rules(min_runs=6, max_s=0.0)
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


def test_a_latency_of_another_method_is_measured_again(tmp_path: Path) -> None:
    timing = Timing(0.5, 0.4, 0.6, (0.4, 0.5, 0.6), "time limit of 60 s")
    write_latency(tmp_path, Latency({"a": timing}, {"a": 4}, None), {"threads": 2})
    kept = json.loads((tmp_path / FILE).read_text())
    assert kept["per_clip"]["a"]["runs_s"] == [0.4, 0.5, 0.6] and kept["speed_up"] is None
    (tmp_path / FILE).write_text(json.dumps({**kept, "method": "by a sundial"}))
    assert read_latency(tmp_path, {"threads": 2}) is None


def test_a_speed_up_is_the_other_s_time_over_one_s_own() -> None:
    slow, fast = (Timing(s, s, s, (s,) * 8, "") for s in (3.0, 1.0))
    assert times_faster(fast, slow) == pytest.approx((3, 3, 3))
    assert times_faster(slow, fast) == pytest.approx((1 / 3,) * 3)


def test_a_clip_s_time_is_asked_for_to_two_percent() -> None:
    assert latency_rules(5.0) == Rules(max_s=5.0, half_width=0.02)

"""Are works measured side by side, every run kept, and nothing else timed with them?"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Mapping

import pytest
from fake_clock import FakeClock

from turbo_eval.timing.intervals import ratio_of_medians
from turbo_eval.timing.measure import clocked, collector_off, cost_per_call_s, measure_rounds
from turbo_eval.timing.record import WALL
from turbo_eval.timing.stop_rule import Rules


def test_the_order_is_there_and_back_after_the_warm_up() -> None:
    clock = FakeClock()
    works = {name: clocked(clock.plain(name, [1.0]), clock) for name in "abc"}
    measured = measure_rounds(works, Rules(min_runs=6), clock)
    assert "".join(clock.order) == "abc" * 3 + "abccba" * 3
    assert measured.runs_s == {name: {WALL: (1.0,) * 6} for name in "abc"}
    assert measured.warmups_s == {name: (1.0,) * 3 for name in "abc"}
    assert measured.stopped_by == "interval within +-1.0%"


def test_warm_ups_are_kept_apart_and_go_on_until_they_are_steady() -> None:
    clock = FakeClock()
    measured = measure_rounds(
        {"a": clocked(clock.plain("a", [9.0, 4.0, 2.0, 1.0]), clock)}, Rules(min_runs=6, max_s=99), clock
    )
    assert measured.warmups_s["a"] == (9.0, 4.0, 2.0, 1.0, 1.0, 1.0)
    assert measured.runs_s["a"][WALL] == (1.0,) * 6


def test_every_run_of_every_stage_is_kept_in_order() -> None:
    count = 0

    def staged() -> Mapping[str, float]:
        nonlocal count
        count += 1
        return {"text_encode": count / 1000, "vae_decode": 1.0, WALL: 1.0 + count / 1000}

    measured = measure_rounds({"a": staged}, Rules(min_runs=8, max_runs=8, min_warmups=2, max_warmups=2))
    assert measured.runs_s["a"]["text_encode"] == tuple(k / 1000 for k in range(3, 11))
    assert set(measured.runs_s["a"]) == {"text_encode", "vae_decode", WALL}
    assert {len(runs) for runs in measured.runs_s["a"].values()} == {8}


def test_a_noisy_measurement_goes_on_until_time_is_up_warm_up_included() -> None:
    clock = FakeClock()
    work = clocked(clock.plain("a", [1.0, 2.0] * 500), clock)
    measured = measure_rounds({"a": work}, Rules(min_runs=6, max_s=60.0), clock)
    assert measured.stopped_by == "time limit of 60 s"
    assert 60.0 <= clock.now < 64.0
    assert sum(measured.runs_s["a"][WALL]) + sum(measured.warmups_s["a"]) == pytest.approx(clock.now)


def test_the_fewest_runs_are_measured_even_beyond_the_time_limit() -> None:
    clock = FakeClock()
    measured = measure_rounds({"a": clock.staged([5.0] * 99)}, Rules(min_runs=1, max_s=1.0), clock)
    assert len(measured.runs_s["a"][WALL]) == 6


@pytest.mark.parametrize("after", [0, 1, 3, 6])
def test_a_signal_ends_it_after_the_round_in_hand_and_keeps_what_is_there(after: int) -> None:
    clock = FakeClock()
    rounds = 0

    def stop() -> bool:
        nonlocal rounds
        rounds += 1
        return rounds > after

    works = {name: clocked(clock.plain(name, [1.0, 2.0] * 500), clock) for name in "ab"}
    measured = measure_rounds(works, Rules(min_warmups=2, max_warmups=2), clock, stop)
    assert measured.stopped_by == "interrupted"
    warmups = min(after + 1, 2)
    assert [len(own) for own in measured.warmups_s.values()] == [warmups] * 2
    assert rounds == after + 1
    runs = 2 * (after + 1 - warmups)
    assert [len(own.get(WALL, ())) for own in measured.runs_s.values()] == [runs] * 2
    assert len(clock.order) == 2 * (warmups + runs)


def test_it_is_asked_after_every_round_so_that_nothing_at_the_end_goes_unseen() -> None:
    asked: list[int] = []
    clock = FakeClock()
    work = clocked(clock.plain("a", [1.0]), clock)
    rules = Rules(min_runs=8, max_runs=8, min_warmups=3, max_warmups=3)
    measured = measure_rounds({"a": work}, rules, clock, lambda: bool(asked.append(len(clock.order))))
    assert asked == [1, 2, 3, 5, 7, 9, 11] and measured.stopped_by == "interval within +-1.0%"


def test_a_slow_drift_of_the_machine_falls_on_all_alike() -> None:
    clock = FakeClock()
    seconds = {"slow": 4.0, "fast": 1.0, "mid": 2.0}
    works = {name: clocked(clock.plain(name, [own], drift=0.01), clock) for name, own in seconds.items()}
    runs_s = {name: own[WALL] for name, own in measure_rounds(works, Rules(max_s=1.0), clock).runs_s.items()}
    assert ratio_of_medians(runs_s["slow"], runs_s["fast"]).ratio == pytest.approx(4, rel=0.01)
    assert ratio_of_medians(runs_s["slow"], runs_s["mid"]).ratio == pytest.approx(2, rel=0.01)


def test_no_work_and_work_whose_stages_change_are_refused() -> None:
    with pytest.raises(ValueError):
        measure_rounds({})
    answers = iter([{WALL: 1.0}] * 4 + [{WALL: 1.0, "text_encode": 0.1}] * 4)
    with pytest.raises(ValueError, match="stages"):
        measure_rounds({"a": lambda: next(answers)}, Rules())
    with pytest.raises(ValueError, match="stages"):
        measure_rounds({"a": lambda: {"text_encode": 0.1}}, Rules(min_warmups=0))


def test_the_collector_is_off_while_a_work_runs_and_as_before_after_a_failure() -> None:
    seen: list[bool] = []

    def fails() -> Mapping[str, float]:
        seen.append(gc.isenabled())
        if len(seen) == 5:
            raise RuntimeError("in the fifth call")
        return {WALL: 1.0}

    with pytest.raises(RuntimeError):
        measure_rounds({"a": fails})
    assert seen == [False] * 5 and gc.isenabled()
    with collector_off():
        measure_rounds({"a": lambda: {WALL: 1.0}}, Rules(min_runs=6))
        assert not gc.isenabled()
    assert gc.isenabled()


def test_cycles_that_calls_leave_do_not_pile_up() -> None:
    class Cycle:
        alive = 0

        def __init__(self) -> None:
            self.own, Cycle.alive = self, Cycle.alive + 1

        def __del__(self) -> None:
            Cycle.alive -= 1

    most = 0

    def leaves() -> Mapping[str, float]:
        nonlocal most
        Cycle()
        most = max(most, Cycle.alive)
        return {WALL: 1.0}

    measure_rounds({"a": leaves}, Rules(min_runs=40, max_runs=40))
    assert most <= 2


def test_the_engine_takes_less_than_half_a_percent_of_a_call_and_no_more_with_more_rounds() -> None:
    few, many = (statistics.median(cost_per_call_s(runs=runs) for _ in range(5)) for runs in (50, 400))
    adding = clocked(lambda: sum(range(1_000_000)))
    assert max(few, many) < 0.005 * statistics.median(adding()[WALL] for _ in range(5))
    assert many < 3 * few

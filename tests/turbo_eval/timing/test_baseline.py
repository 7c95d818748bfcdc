"""Is a baseline made of valid rows alone, compared with its like alone, and are its intervals as sure as they say?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from speed_records import STUDENT_S, TEACHER, TEACHER_S, WORLD, cpu_record, row_of

from turbo_eval.timing.baseline import STAMP, NotValid, compare, save_baseline
from turbo_eval.timing.power import smallest_found
from turbo_eval.timing.record import FIRST, REMAINING, WALL, Reason, SpeedRecord
from turbo_eval.timing.record_file import read_record
from turbo_eval.timing.two_sessions import CAVEAT, change, independent_ratio
from turbo_train.errors import UserError


def record(slower: float = 1.0, **fields: Any) -> SpeedRecord:
    """Two valid rows; the student's times multiplied."""
    student_s = {stage: s * slower for stage, s in STUDENT_S.items()}
    rows = (row_of("world-turbo", WORLD, student_s, 30), row_of("world-teacher", TEACHER, TEACHER_S, 12))
    return replace(cpu_record(), rows=rows, speed_ups=(), **fields)


def invalid(made: SpeedRecord) -> SpeedRecord:
    first = replace(made.rows[0], reasons=(Reason("CV_TOO_HIGH", "coefficient of variation 9 %, 5 % allowed"),))
    return replace(made, rows=(first, *made.rows[1:]))


def test_a_valid_record_is_kept_and_read_back(tmp_path: Path) -> None:
    path = save_baseline(record(), tmp_path / "baselines" / "cpu.json")
    assert read_record(path) == record()


def test_no_invalid_stamped_or_empty_record_becomes_a_baseline(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    with pytest.raises(NotValid, match=r"world-turbo is INVALID \(CV_TOO_HIGH: .*9 %"):
        save_baseline(invalid(record()), path)
    with pytest.raises(NotValid, match="INCOMPARABLE: hardware"):
        save_baseline(record(stamp="INCOMPARABLE: hardware"), path)
    with pytest.raises(NotValid, match="no row"):
        save_baseline(replace(record(), rows=()), path)
    assert not path.exists() and NotValid.exit_code == 4


def test_no_baseline_is_overwritten(tmp_path: Path) -> None:
    path = save_baseline(record(), tmp_path / "baseline.json")
    before = path.read_bytes()
    with pytest.raises(UserError, match="there already"):
        save_baseline(record(slower=1.2), path)
    assert path.read_bytes() == before


def test_a_slow_down_and_its_reverse_are_found_and_the_same_is_no_difference() -> None:
    found = compare(record(), record(slower=1.05))
    student, teacher = found.rows
    assert (student.name, student.wall.verdict, student.denoising.verdict) == ("world-turbo", "slower", "slower")
    assert student.wall.ratio == pytest.approx(1.05) and student.denoising.ratio == pytest.approx(1.05)
    assert student.wall.interval is not None and student.wall.interval.low > 1
    assert (teacher.wall.verdict, teacher.wall.ratio) == ("no difference", 1.0)
    assert compare(record(slower=1.05), record()).rows[0].wall.verdict == "faster"
    assert found.stamp == "" and found.sentences()[-1] == CAVEAT
    assert "world-turbo: end to end 1.05x" in found.sentences()[0] and "slower" in found.sentences()[0]


def test_rows_are_matched_by_recipe_whatever_their_order_and_names() -> None:
    now = record()
    renamed = tuple(replace(row, name=f"{row.name}-today") for row in reversed(now.rows))
    found = compare(record(), replace(now, rows=renamed))
    assert {(row.old, row.name) for row in found.rows} == {(r.name, f"{r.name}-today") for r in now.rows}
    assert all(row.wall.ratio == 1 for row in found.rows)


def test_a_row_that_was_not_measured_now_is_named() -> None:
    found = compare(record(), replace(record(), rows=record().rows[:1]))
    assert found.not_measured == ("world-teacher",) and found.stamp == ""
    assert any("not measured now: world-teacher" in said for said in found.sentences())


@pytest.mark.parametrize("part", ["hardware", "software"])
def test_another_machine_or_software_is_refused_by_field_or_stamped(part: str) -> None:
    theirs = record(**{part: {"cpu": "B", "threads": 2, "torch": "2.13"}})
    ours = record(**{part: {"cpu": "A", "threads": 2, "gpu": "C"}})
    with pytest.raises(UserError) as caught:
        compare(ours, theirs)
    assert caught.value.exit_code == 2 and "force" in caught.value.run_next
    named = f"{part}: cpu 'A' / 'B', gpu 'C' / None, torch None / '2.13'"
    assert named in caught.value.found and "threads" not in caught.value.found
    forced = compare(ours, theirs, force=True)
    assert forced.stamp == f"{STAMP}{named}" and forced.sentences()[0] == forced.stamp
    assert len(forced.rows) == 2


def test_another_recipe_is_refused_by_field_or_stamped() -> None:
    now = record()
    changed = replace(now.rows[0], recipe=replace(WORLD, dtype="bfloat16", num_steps=8))
    now = replace(now, rows=(changed, now.rows[1]))
    with pytest.raises(UserError, match=r"recipe of world-turbo: num_steps 4 / 8, dtype 'float32' / 'bfloat16'"):
        compare(record(), now)
    forced = compare(record(), now, force=True)
    assert forced.stamp.startswith(f"{STAMP}recipe of world-turbo") and {r.name for r in forced.rows} == {
        "world-turbo",
        "world-teacher",
    }


def test_a_row_that_the_baseline_never_had_is_refused_or_named() -> None:
    new = row_of("world-vcm", replace(WORLD, model="world-vcm"), STUDENT_S, 12)
    now = replace(record(), rows=(*record().rows, new))
    with pytest.raises(UserError, match="no row of the baseline is of world-vcm"):
        compare(record(), now)
    forced = compare(record(), now, force=True)
    assert forced.without_baseline == ("world-vcm",) and forced.stamp and len(forced.rows) == 2


@pytest.mark.parametrize("side", ["baseline", "now"])
def test_an_invalid_row_on_either_side_is_refused_or_stamped(side: str) -> None:
    pair = (invalid(record()), record()) if side == "baseline" else (record(), invalid(record()))
    with pytest.raises(NotValid, match=f"{side}: world-turbo is INVALID"):
        compare(*pair)
    assert f"{side}: world-turbo is INVALID (CV_TOO_HIGH" in compare(*pair, force=True).stamp
    stamped = compare(record(stamp="INCOMPARABLE: x"), record(), force=True)
    assert "baseline: stamped 'INCOMPARABLE: x'" in stamped.stamp


def test_too_few_runs_have_a_ratio_and_no_verdict() -> None:
    few = change([1.0, 1.1, 0.9, 1.0, 1.0], [2.0] * 12)
    assert (few.ratio, few.interval, few.verdict, few.smallest_found) == (2.0, None, None, None)
    short = replace(record(), rows=(row_of("world-turbo", WORLD, STUDENT_S, 4),))
    assert any("too few runs" in said for said in compare(record(), short).sentences())


@pytest.mark.parametrize(("runs", "is_known"), [(6, False), (9, False), (10, True)])
def test_a_few_runs_have_a_verdict_and_nothing_infinite(runs: int, is_known: bool) -> None:
    few = replace(record(), rows=(row_of("world-turbo", WORLD, STUDENT_S, runs),))
    (row,) = compare(few, few).rows
    assert row.wall.verdict == "no difference" and (row.wall.smallest_found is not None) == is_known
    said = compare(few, few).sentences()[0]
    assert "no difference" in said and "inf %" not in said and ("four times of five" in said) == is_known


def test_unequal_sides_are_as_sure_as_equal_ones_between_them() -> None:
    rng = np.random.default_rng(6)
    for old, new, between in ((93, 93, 93), (186, 186, 186), (12, 60, 20)):
        a, b = rng.normal(1, 0.02, old).tolist(), rng.normal(1, 0.02, new).tolist()
        cv = float(np.hypot(np.std(a, ddof=1) / np.mean(a), np.std(b, ddof=1) / np.mean(b)) / np.sqrt(2))
        assert change(a, b).smallest_found == pytest.approx(smallest_found(cv, between), rel=1e-9)


@pytest.mark.parametrize("side", ["baseline", "now"])
@pytest.mark.parametrize("stages", [(), (WALL, FIRST, REMAINING)])
def test_a_row_that_a_signal_ended_before_its_first_run_is_refused_or_left_out(
    side: str, stages: tuple[str, ...]
) -> None:
    whole = record()
    row = replace(whole.rows[0], runs_s=dict.fromkeys(stages, ()), reasons=(Reason("INTERRUPTED", "after 0 runs"),))
    cut = replace(whole, rows=(row, whole.rows[1]))
    pair = (cut, whole) if side == "baseline" else (whole, cut)
    with pytest.raises(NotValid, match=f"{side}: world-turbo is INVALID"):
        compare(*pair)
    forced = compare(*pair, force=True)
    assert [row.name for row in forced.rows] == ["world-teacher"] and forced.stamp
    left_out = forced.without_baseline if side == "baseline" else forced.not_measured
    assert left_out == ("world-turbo",)


def test_denoising_is_judged_apart_from_the_whole() -> None:
    now = record()
    runs = {stage: tuple(s * (1.1 if stage in (FIRST, REMAINING) else 1) for s in v) for stage, v in
            now.rows[0].runs_s.items()}  # fmt: skip
    found = compare(record(), replace(now, rows=(replace(now.rows[0], runs_s=runs), now.rows[1]))).rows[0]
    assert found.denoising.ratio == pytest.approx(1.1) and found.wall.ratio == 1.0
    assert (found.denoising.verdict, found.wall.verdict) == ("slower", "no difference")
    assert WALL in runs


def test_the_ratio_turns_around_and_knows_no_unit() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.normal(1, 0.02, 14), rng.normal(1.1, 0.03, 31)
    forth, back, scaled = (independent_ratio(*pair) for pair in ((a, b), (b, a), (1e3 * a, 1e3 * b)))
    assert forth is not None and back is not None and scaled is not None
    assert (forth.ratio, forth.low, forth.high) == pytest.approx((1 / back.ratio, 1 / back.high, 1 / back.low))
    assert (forth.ratio, forth.low, forth.high) == pytest.approx((scaled.ratio, scaled.low, scaled.high))
    assert forth.low < np.median(a) / np.median(b) < forth.high
    same = independent_ratio([2.0] * 6, [1.0] * 6)
    assert same is not None and (same.low, same.ratio, same.high) == pytest.approx((2, 2, 2), rel=1e-12)
    for odd in ([], [1.0, 0.0], [1.0, float("nan")], [1.0, -1.0]):
        with pytest.raises(ValueError, match="not positive"):
            independent_ratio(odd, [1.0] * 6)


SEED, PAIRS = 909, 6000


def covered(runs: tuple[int, int], noise: str) -> int:
    """How many of PAIRS intervals hold the true ratio, 1.05."""
    rng = np.random.default_rng(SEED)
    found = 0
    for _ in range(PAIRS):
        a, b = (rng.standard_normal(n) for n in runs)
        if noise == "spikes":  # a tenth of the runs is disturbed: the median of many stays where it is but for them
            a, b = (x + np.where(rng.random(len(x)) < 0.05, rng.choice([-5, 5], len(x)), 0) for x in (a, b))
        interval = independent_ratio(1.05 * (1 + 0.02 * a), 1 + 0.03 * b)
        assert interval is not None
        found += interval.low <= 1.05 <= interval.high
    return found


@pytest.mark.parametrize(
    ("runs", "noise"),
    [
        ((12, 12), "normal"),
        pytest.param((20, 20), "normal", marks=pytest.mark.slow),
        pytest.param((12, 60), "normal", marks=pytest.mark.slow),
        pytest.param((30, 30), "spikes", marks=pytest.mark.slow),
    ],
)
def test_the_interval_of_two_sessions_covers_95_percent(runs: tuple[int, int], noise: str) -> None:
    binomial = binomtest(covered(runs, noise), PAIRS).proportion_ci(0.95)
    assert binomial.low >= 0.93 and binomial.high <= 0.97, binomial


@pytest.mark.slow
def test_the_smallest_slow_down_is_found_about_as_often_as_is_said() -> None:
    rng = np.random.default_rng(SEED)
    runs, cv = 20, 0.02
    least = change(1 + cv * rng.standard_normal(4000), 1 + cv * rng.standard_normal(4000)).smallest_found
    assert least is not None and least < 0.005
    from turbo_eval.timing.power import smallest_found

    slow_down = smallest_found(cv, runs)
    found = sum(
        change(1 + cv * rng.standard_normal(runs), (1 + slow_down) * (1 + cv * rng.standard_normal(runs))).verdict
        == "slower"
        for _ in range(2000)
    )
    binomial = binomtest(found, 2000).proportion_ci(0.95)
    assert binomial.high >= 0.75 and binomial.low <= 0.87, binomial

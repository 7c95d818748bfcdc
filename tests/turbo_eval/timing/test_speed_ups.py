"""Are denoising, calls and the whole told apart?"""

from __future__ import annotations

from dataclasses import replace

import pytest

from turbo_eval.timing.record import DECODE, ENCODE, FIRST, REMAINING, WALL, Ratio, Recipe, SpeedRow
from turbo_eval.timing.speed_ups import speed_up, speed_ups, verdict

RECIPE = Recipe("m", "s", 4, 1.0, 1, 8, 32, 32, "float32", "off", False, False, False, 8, "full")


def row(name: str, steps_s: float, calls: int, runs: int = 8) -> SpeedRow:
    stages = {FIRST: 1.0, REMAINING: steps_s - 1.0, DECODE: 3.0, ENCODE: 1.0, WALL: steps_s + 4.0}
    runs_s = {stage: (seconds,) * runs for stage, seconds in stages.items()}
    return SpeedRow(name, RECIPE, runs_s, (), "", 0.0, 0.0, None, calls, {}, {}, {})


def test_decoding_weighs_on_the_whole_and_not_on_denoising() -> None:
    found = speed_up(row("student", 2.0, 4), row("teacher", 40.0, 100))
    assert (found.row, found.against, found.calls) == ("student", "teacher", 25)
    assert found.denoising.ratio == pytest.approx(20) and found.end_to_end.ratio == pytest.approx(44 / 6)
    assert found.to_frames.ratio == pytest.approx(43 / 5)
    assert found.denoising.low == pytest.approx(20) == found.denoising.high


def test_larger_batches_are_counted_by_the_clip() -> None:
    student = row("student", 2.0, 4)
    of_four = replace(student, recipe=replace(RECIPE, batch=4))
    assert speed_up(of_four, row("teacher", 40.0, 100)).end_to_end.ratio == pytest.approx(4 * 44 / 6)


def test_no_speed_up_of_a_row_against_itself_nor_with_too_few_runs() -> None:
    teacher, student, cut = row("teacher", 40.0, 100), row("student", 2.0, 4), row("cut", 2.0, 4, runs=4)
    assert [one.row for one in speed_ups([teacher, student, cut], teacher)] == ["student"]
    with pytest.raises(ValueError):
        speed_up(student, row("other", 2.0, 4, runs=10))


def test_a_verdict_needs_an_interval_that_leaves_out_one() -> None:
    assert verdict(Ratio(1.1, 1.01, 1.2)) == "faster"
    assert verdict(Ratio(0.9, 0.8, 0.99)) == "slower"
    assert verdict(Ratio(1.1, 1.0, 1.2)) == "no difference"

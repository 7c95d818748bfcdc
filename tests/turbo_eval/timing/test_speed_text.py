"""Does a timing's text say what was measured, in the right unit, with a dash for what does not exist, and mark what is
INVALID wherever it stands?
"""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from speed_records import STUDENT_S, WORLD, cpu_record, gpu_record, row_of

from turbo_eval.timing.cells import NOTHING, Grid, grids, label, significant, stages_s
from turbo_eval.timing.markdown import to_markdown
from turbo_eval.timing.plan import needed, needed_grid
from turbo_eval.timing.power import power
from turbo_eval.timing.record import (
    DECODE,
    ENCODE,
    NOT_COMPILED,
    REMAINING,
    STAGES,
    TEXT,
    WALL,
    Difference,
    Ratio,
    SpeedRecord,
    SpeedUp,
)
from turbo_eval.timing.sentences import paragraphs, speed_up
from turbo_eval.timing.text import to_rich

GOLDEN = Path(__file__).parents[2] / "golden" / "speed"
RECORDS = {"cpu": cpu_record(), "gpu": gpu_record()}
COMPARISON = ("world-turbo: 1.02 [1.01, 1.03] times as long as in the baseline: slower",)


def printed(record: SpeedRecord, width: int = 120, comparison: tuple[str, ...] = ()) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(to_rich(record, comparison))
    return "".join(line.rstrip() + "\n" for line in stream.getvalue().splitlines())


def column(grid: Grid, head: str) -> list[str]:
    place = next(k for k, name in enumerate(grid.heads) if name.startswith(head))
    return [line.cells[place] for line in grid.lines]


@pytest.mark.parametrize("name", RECORDS)
def test_the_whole_output_is_the_golden_file(name: str) -> None:
    comparison = COMPARISON if name == "cpu" else ()
    assert printed(RECORDS[name], comparison=comparison) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    markdown = to_markdown(RECORDS[name], comparison, ["stages.png"])
    assert markdown == (GOLDEN / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("value", [5012.34, 203.05, 99.996, 1.9134, 0.042151, 3.2e-5, 1e7])
def test_four_digits_are_kept_and_no_exponent_appears(value: float) -> None:
    text = significant(value)
    assert re.fullmatch(r"\d+(\.\d+)?", text)
    assert float(text) == pytest.approx(value, rel=5e-4)
    assert len(text.replace(".", "").lstrip("0")) >= 4


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_numbers_of_an_invalid_row_are_shown_and_marked_everywhere(record: SpeedRecord) -> None:
    (row,) = (row for row in record.rows if not row.valid)
    for grid in grids(record):
        (line,) = (line for line in grid.lines if not line.valid)
        assert line.cells[0] == label(row) == f"{row.name} !"
        assert any(re.search(r"\d", cell) for cell in line.cells[1:])
    text = printed(record)
    assert all(reason.code in text and reason.text in text for reason in row.reasons)
    raced = [s for s in record.speed_ups if row.name in (s.row, s.against)]
    assert all(f"{row.name} !" in speed_up(s, {r.name: r for r in record.rows}) for s in raced)


def test_what_was_not_measured_is_a_dash_and_never_zero() -> None:
    bare = row_of("bare", WORLD, {TEXT: 0.002, DECODE: 0.04}, 4, tflop={}, floor_s={}, memory={})
    for grid in grids(replace(cpu_record(), rows=(bare,), speed_ups=())):
        assert "0" not in grid.lines[0].cells
        assert "nan" not in " ".join(grid.lines[0].cells)
    times, spread, resources = grids(replace(cpu_record(), rows=(bare,), speed_ups=()))
    assert column(times, "first step") == column(times, "video encode") == [NOTHING]
    assert column(spread, "p90") == column(spread, "compile") == [NOTHING]
    assert resources.lines[0].cells[1:] == (NOTHING,) * 9
    one_step = row_of("one step", WORLD, {**STUDENT_S, REMAINING: 0.0}, 12)
    assert column(grids(replace(cpu_record(), rows=(one_step,)))[0], "other steps") == [NOTHING]


def test_a_reason_that_rows_share_is_said_once() -> None:
    record = cpu_record()
    rows = tuple(replace(row, reasons=record.rows[-1].reasons) for row in record.rows)
    invalid = paragraphs(replace(record, rows=rows))[0]
    assert [line.count("world-turbo") for line in invalid.lines] == [3, 3]


def test_percentiles_and_intervals_appear_only_with_enough_runs() -> None:
    _, spread, _ = grids(cpu_record())
    dashes = [[cell == NOTHING for cell in column(spread, p)] for p in ("p90", "p95", "p99")]
    assert dashes == [[False, False, True, True], [False, True, True, True], [True] * 4]  # of 60, 30, 4 and 14 runs
    assert ["[" in cell for cell in column(grids(cpu_record())[0], "wall")] == [True, True, False, True]


def test_times_and_operations_are_of_one_clip() -> None:
    one = row_of("one", WORLD, STUDENT_S, 20)
    four = replace(one, name="four", recipe=replace(WORLD, batch=4))
    assert stages_s(four) == pytest.approx({stage: s / 4 for stage, s in stages_s(one).items()})
    assert set(stages_s(one)) == {*STAGES, WALL}
    times, _, resources = grids(replace(cpu_record(), rows=(one, four)))
    walls = [float(cell.split()[0]) for cell in column(times, "wall")]
    assert walls[0] / walls[1] == pytest.approx(4, rel=1e-3)
    for head in ("TFLOP", "floor"):
        counted = [float(cell) for cell in column(resources, head)]
        assert counted[0] / counted[1] == pytest.approx(4, rel=1e-2)
    assert len(set(column(resources, "TFLOP/s"))) == 1  # a rate does not depend on what it is counted for
    assert len(set(column(resources, "x floor"))) == 1


def test_a_rate_is_operations_by_time_and_its_percentage_that_of_the_measured_matmul() -> None:
    record = gpu_record()
    row, (_, _, resources) = record.rows[0], grids(record)
    own = stages_s(row)
    reached = sum(row.tflop.values()) / sum(own[stage] for stage in row.tflop)
    assert float(column(resources, "TFLOP/s")[0]) == pytest.approx(reached, rel=5e-3)
    assert float(column(resources, "% of matmul")[0]) == pytest.approx(100 * reached / 688.0, rel=5e-3)
    times = sum(own[stage] for stage in row.floor_s) / sum(row.floor_s.values())
    assert float(column(resources, "x floor")[0]) == pytest.approx(times, rel=5e-3)


def test_long_clips_are_in_seconds() -> None:
    long = row_of("long", WORLD, {stage: 5000 * s for stage, s in STUDENT_S.items()}, 20)
    times, spread, _ = grids(replace(cpu_record(), rows=(long,)))
    assert "time of one clip, s" in times.title
    assert spread.heads[1] == "p90, s"
    wall = float(column(times, "wall")[0].split()[0])
    assert wall == pytest.approx(5000 * sum(STUDENT_S.values()), rel=0.01)


@pytest.mark.parametrize(("low", "high", "said"), [(0.98, 1.02, True), (1.01, 1.04, False), (0.95, 0.99, False)])
def test_an_interval_around_one_is_no_difference(low: float, high: float, said: bool) -> None:
    found = SpeedUp("a", "b", Ratio(4.0, 3.9, 4.1), 2.0, Ratio(3.8, 3.7, 3.9), Ratio((low + high) / 2, low, high))
    assert ("no difference found" in speed_up(found, {})) == said


def test_a_difference_of_the_clips_stands_beside_the_gain_over_the_same_row_and_else_alone() -> None:
    record = cpu_record()
    rows = {row.name: row for row in record.rows}
    over_plain = record.speed_ups[-1]
    over_teacher = replace(over_plain, against="world-teacher")
    said = "; clips: other by 1 of 255 levels at most"
    assert said in speed_up(over_plain, rows)
    assert said not in speed_up(over_teacher, rows)
    titles = [[p.title for p in paragraphs(replace(record, speed_ups=(s,)))] for s in (over_plain, over_teacher)]
    assert ["difference of the clips" in own for own in titles] == [False, True]
    same = replace(rows[over_plain.row], difference=Difference("world-turbo", 0, 0.0, None))
    assert "clips: the same in every pixel" in speed_up(over_plain, {**rows, same.name: same})


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_terminal_and_markdown_say_the_same(record: SpeedRecord) -> None:
    text, markdown = " ".join(printed(record).split()), " ".join(to_markdown(record).split())
    for paragraph in paragraphs(record):
        for line in paragraph.lines:
            assert line in text
            assert line in markdown
    for grid in grids(record):
        for line in grid.lines:
            assert "| " + " | ".join(line.cells) + " |" in markdown
            assert all(cell.replace(", ", ",") in text for cell in line.cells)
    assert record.stamp in text
    assert record.stamp in markdown


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_no_number_is_broken_on_a_narrow_terminal(record: SpeedRecord) -> None:
    text = printed(record, width=100)
    assert max(map(len, text.splitlines())) <= 100
    cells = [cell for grid in grids(record) for line in grid.lines for cell in line.cells[1:]]
    assert all(cell.replace(", ", ",") in text for cell in cells)


def test_a_row_that_a_signal_left_without_runs_is_still_drawn() -> None:
    empty = replace(cpu_record().rows[0], runs_s={stage: () for stage in (*STAGES, WALL)})
    record = replace(cpu_record(), rows=(empty,), speed_ups=())
    assert column(grids(record)[0], "runs") == ["0"]
    assert column(grids(record)[0], "wall") == [NOTHING]
    assert "slow-downs found" not in printed(record)


def test_the_plan_prints_the_fewest_runs_that_reach_its_power() -> None:
    for cv, of_cv in needed().items():
        assert all(runs is not None and power(cv, slow_down, runs) >= 0.8 for slow_down, runs in of_cv.items())
        assert all(power(cv, slow_down, runs - 2) < 0.8 for slow_down, runs in of_cv.items() if runs and runs > 6)
        assert list(of_cv.values()) == sorted((n or 0 for n in of_cv.values()), reverse=True)
    assert [line.cells[0] for line in needed_grid().lines] == ["1 %", "2 %", "5 %"]


def test_stages_of_nothing_but_encoding_are_drawn() -> None:
    folder = row_of("files", WORLD, {ENCODE: 0.01}, 20, tflop={}, floor_s={})
    assert column(grids(replace(cpu_record(), rows=(folder,)))[0], "video encode") != [NOTHING]


def test_a_row_that_could_not_be_compiled_says_so_in_the_table() -> None:
    record = cpu_record()
    fell_back = replace(record.rows[1], compile_s=None, notes=(f"{NOT_COMPILED}: no C++ compiler",))
    grid = grids(replace(record, rows=(record.rows[0], fell_back)))[1]
    assert column(grid, "compile") == ["-", "failed"]

"""Do the pictures show the stages in proportion, mark INVALID rows, and come out in equal bytes?"""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray
from PIL import Image
from speed_records import STUDENT_S, WORLD, cpu_record, gpu_record, row_of

from turbo_eval.timing.figure import BAD, COLOURS, GOOD, draw_scatter, draw_stages
from turbo_eval.timing.quality import Quality, Score
from turbo_eval.timing.record import DECODE, ENCODE, FIRST, REMAINING, TEXT, SpeedRecord, SpeedRow

SCORES = Quality("oracle_all", {"world-turbo": Score(0.8, 0.75, 0.85), "world-teacher": Score(0.9, 0.87, 0.93)}, ())


def pixels(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def marked(png: bytes, colour: str) -> NDArray[np.bool_]:
    """Where a picture has a colour."""
    rgb = np.round(np.array(to_rgb(colour)) * 255).astype(np.uint8)
    found: NDArray[np.bool_] = (pixels(png) == rgb).all(axis=-1)
    return found


def count(png: bytes, colour: str) -> int:
    return int(marked(png, colour).sum())


def middle(png: bytes, colour: str) -> tuple[float, float]:
    """Column and row of the middle of what has the colour."""
    rows, columns = np.nonzero(marked(png, colour))
    return float(columns.mean()), float(rows.mean())


def record_of(*rows: SpeedRow) -> SpeedRecord:
    return replace(cpu_record(), rows=rows, speed_ups=())


STUDENT = row_of("student", WORLD, STUDENT_S, 20)
TEACHER_ROW = cpu_record().rows[-1]
STUDENTS = record_of(STUDENT, replace(STUDENT, name="again"))


@pytest.fixture(scope="module")
def students() -> bytes:
    return draw_stages(STUDENTS)


@pytest.fixture(scope="module")
def scatter() -> bytes:
    return draw_scatter(cpu_record(), SCORES)


def test_areas_are_in_proportion_to_the_stages(students: bytes) -> None:
    area = {stage: count(students, colour) for stage, colour in COLOURS.items()}
    key = area[TEXT]  # its own bar is two pixels wide: what there is of it is mostly its key
    for stage in (REMAINING, DECODE, ENCODE):
        expected = STUDENT_S[stage] / STUDENT_S[FIRST]
        assert (area[stage] - key) / (area[FIRST] - key) == pytest.approx(expected, rel=0.15)


def test_short_rows_are_enlarged_beside_a_long_one_and_an_invalid_one_is_pale_and_named_in_red(students: bytes) -> None:
    assert not TEACHER_ROW.valid
    beside = draw_stages(record_of(STUDENT, TEACHER_ROW))
    assert count(beside, COLOURS[DECODE]) > 0.3 * count(students, COLOURS[DECODE])  # one bar of two, a narrower panel
    assert count(beside, COLOURS[REMAINING]) < 0.5 * count(students, COLOURS[REMAINING])  # the teacher's are pale
    assert count(students, BAD) == 0
    assert count(beside, BAD) > 0


def test_a_stamp_stands_over_every_picture(students: bytes) -> None:
    assert count(students, BAD) == 0
    assert count(draw_stages(replace(STUDENTS, stamp="PARTIAL: x")), BAD) > 0
    valid = replace(cpu_record(), rows=cpu_record().rows[:1])
    plain, stamped = (draw_scatter(replace(valid, stamp=stamp), SCORES) for stamp in ("", "PARTIAL: x"))
    assert count(plain, BAD) == 0
    assert count(stamped, BAD) > 0


def test_a_long_stamp_leaves_the_picture_its_room(students: bytes, scatter: bytes) -> None:
    """Matplotlib would warn, and warnings are errors here, of panels with no height."""
    long = replace(STUDENTS, stamp="INCOMPARABLE: " + "one core against two; " * 150)
    assert count(draw_stages(long), COLOURS[REMAINING]) > 0.7 * count(students, COLOURS[REMAINING])
    assert count(draw_scatter(replace(cpu_record(), stamp=long.stamp), SCORES), GOOD) > 0.7 * count(scatter, GOOD)


def test_equal_records_are_equal_bytes(students: bytes, scatter: bytes) -> None:
    assert draw_stages(STUDENTS) == students
    assert draw_scatter(cpu_record(), SCORES) == scatter


def test_the_scatter_moves_with_time_and_quality(scatter: bytes) -> None:
    student, teacher = middle(scatter, GOOD), middle(scatter, BAD)  # the teacher is INVALID: hollow and red
    assert student[0] < teacher[0]
    assert student[1] > teacher[1]  # rows of pixels count downwards
    swapped = Quality("oracle_all", {"world-turbo": Score(0.9, 0.87, 0.93), "world-teacher": Score(0.8, 0.7, 0.9)}, ())
    other = draw_scatter(cpu_record(), swapped)
    assert middle(other, GOOD)[1] < middle(other, BAD)[1]


def test_rows_without_runs_are_left_out() -> None:
    assert pixels(draw_stages(record_of(replace(STUDENT, runs_s={stage: () for stage in COLOURS})))).size


def test_a_scatter_of_no_row_is_refused() -> None:
    with pytest.raises(ValueError, match="no row"):
        draw_scatter(gpu_record(), SCORES)

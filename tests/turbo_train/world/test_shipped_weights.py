"""Are the world's weights here, small, and as good as the record beside them says?"""

from __future__ import annotations

import json

import pytest

from turbo_train.nets.student import load_student
from turbo_train.nets.teacher import load_teacher
from turbo_train.world import WEIGHTS
from turbo_train.world.build import measure
from turbo_train.world.build.contrastive import MODELS

LIMIT_BYTES = 15_000_000


def test_everything_is_shipped_in_15_megabytes() -> None:
    files = [path for path in WEIGHTS.rglob("*") if path.is_file()]
    assert {path.name for path in WEIGHTS.iterdir()} == {"teacher", "student", *MODELS, "built.json"}
    assert sum(path.stat().st_size for path in files) <= LIMIT_BYTES


def test_the_record_meets_the_bar_for_a_real_teacher() -> None:
    record = json.loads((WEIGHTS / "built.json").read_text(encoding="utf-8"))
    many, few = record["measure"]["test"]["teacher_50_steps"], record["measure"]["test"]["teacher_4_steps"]
    assert many["colour"] >= 0.85 and many["motion"] >= 0.85 and many["shape"] >= 0.70
    assert many["all"] > few["all"]
    rows = record["teacher"]["validation"]
    assert rows[str(record["teacher"]["guidance_scale"])]["all"] == max(row["all"] for row in rows.values())


def test_the_student_says_what_its_caption_says_in_four_steps() -> None:
    """18 test captions: far above chance (1 in 270 for all four attributes)."""
    student = load_student(WEIGHTS / "student")
    captions = measure.held_out_captions("test")[::3]
    made = measure.make(student, captions, 1, measure.student_sampler(4, 1.0))
    assert measure.oracle_accuracy(made)["all"] >= 0.6


@pytest.mark.slow
def test_the_teacher_meets_the_bar_on_every_held_out_caption() -> None:
    record = json.loads((WEIGHTS / "built.json").read_text(encoding="utf-8"))
    teacher = load_teacher(WEIGHTS / "teacher")
    sampler = measure.teacher_sampler(50, record["teacher"]["guidance_scale"])
    seen = measure.oracle_accuracy(measure.make(teacher, measure.held_out_captions("test"), 1, sampler))
    assert seen["colour"] >= 0.85 and seen["motion"] >= 0.85 and seen["shape"] >= 0.70
    assert seen == pytest.approx(record["measure"]["test"]["teacher_50_steps"], abs=0.04)

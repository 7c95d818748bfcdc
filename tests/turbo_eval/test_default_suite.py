"""Which suite is a model asked where the command line does not say?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from turbo_eval.contestants import Request, contestants_of, suite_name
from turbo_eval.model_table import MODELS
from turbo_eval.models import find_model, named
from turbo_eval.suites import describe_suites
from turbo_train.errors import UserError


def asked(**options: object) -> str:
    request = Request(**options)  # type: ignore[arg-type]
    return suite_name(request, contestants_of(request))


def student_of(folder: Path, teacher: str) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"teacher": teacher}))
    (folder / "adapter.safetensors").write_bytes(b"")
    return folder


def test_every_model_has_a_suite_that_is_there_and_a_student_its_teachers() -> None:
    assert {entry.suite for entry in MODELS} <= set(describe_suites())
    bases = {entry.name: named(entry.base) for entry in MODELS if entry.base}
    assert len(bases) > 3
    assert all((own := named(name)) and base and own.suite == base.suite for name, base in bases.items())
    assert {entry.suite for entry in MODELS if entry.name in ("vc2", "vc2-turbo", "ms-turbo")} == {"vbench"}


def test_the_models_suite_unless_another_is_named() -> None:
    assert asked(model="world-turbo") == asked(model="world-turbo@seed1", against="world-teacher") == "world"
    assert asked(model="world-turbo", suite="mine.csv") == "mine.csv"


def test_finished_clips_are_named_after_vbenchs_prompts(tmp_path: Path) -> None:
    assert asked(videos=tmp_path) == asked(videos=tmp_path, model="mine") == "vbench"
    assert asked(videos=tmp_path, against="world-vcm") == "world"


def test_a_student_by_its_folder_is_asked_what_its_teacher_is(tmp_path: Path, tiny_student: Path) -> None:
    (tmp_path / "mine.ckpt").write_bytes(b"")
    of_videocrafter = student_of(tmp_path / "vc2-student", "mine.ckpt")
    assert find_model(str(of_videocrafter)).suite == "vbench"
    assert find_model(str(student_of(tmp_path / "world-student", "world-teacher"))).suite == "world"
    assert find_model(str(tiny_student)).suite == "world"  # a teacher that the table does not know
    request = Request(model=str(of_videocrafter), against="world-vcm")
    with pytest.raises(UserError, match=r"vc2-student.* vbench and world-vcm.* world.*--suite vbench") as caught:
        suite_name(request, contestants_of(request))
    assert caught.value.exit_code == 2

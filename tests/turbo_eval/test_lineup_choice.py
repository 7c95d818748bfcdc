"""Do the texts of a line-up mean the models, settings and rows that a person would expect, and are mistakes named?"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from turbo_eval.contestants import Request
from turbo_eval.lineup_choice import Lineup, lineup_of
from turbo_train.errors import UserError


def steps(lineup: Lineup) -> dict[str, int]:
    return {c.name: c.entry.setting.num_steps for c in lineup.contestants if c.entry}


@pytest.fixture(scope="module")
def trained(tiny_teacher: Path, tiny_student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a/student, b/student and c/student with different weights, each beside the teacher."""
    folder = tmp_path_factory.mktemp("trained")
    for place, name in enumerate("abc", 1):
        shutil.copytree(tiny_teacher, folder / name / "teacher")
        shutil.copytree(tiny_student, folder / name / "student")
        path = folder / name / "student" / "adapter.safetensors"
        save_file({key: value * (1 + place / 4) for key, value in load_file(path).items()}, path)
        config = folder / name / "student" / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "rewards": ["world-image-reward"]}))
    return folder


def test_names_steps_and_labels(trained: Path) -> None:
    texts = ["world-teacher", "world-teacher:4", "world-vcm", "world-vcm:8", f"mine={trained}/a/student:2"]
    found = lineup_of(texts, [], ["world-teacher", "world-vcm:8"], Request())
    named = {"world-teacher": 50, "world-teacher-4steps": 4, "world-vcm": 4, "world-vcm-8steps": 8, "mine": 2}
    assert steps(found) == named
    assert [row.name for row in found.rows] == list(named)
    assert [row.name for row in found.baselines] == ["world-teacher", "world-vcm-8steps"]
    assert found.contestants[-1].rewards == ("world-image-reward",)


def test_one_model_in_two_spellings_is_there_once() -> None:
    assert list(steps(lineup_of(["world-vcm", "world-vcm:4", "world-vcm"], [], [], Request()))) == ["world-vcm"]


def test_a_group_is_one_row_in_its_first_members_place(trained: Path) -> None:
    members = [f"{name}={trained}/{name}/student" for name in "abc"]
    texts = ["world-teacher", members[0], "world-vcm"]
    found = lineup_of(texts, [f"turbo={','.join(members)}"], ["turbo"], Request())
    assert [(row.name, row.members) for row in found.rows] == [
        ("world-teacher", ("world-teacher",)),
        ("turbo", ("a", "b", "c")),
        ("world-vcm", ("world-vcm",)),
    ]
    assert found.baselines == (found.rows[1],)
    again = lineup_of([*texts, *members], ["turbo=a,b,c"], [], Request())  # by the names that were given before
    assert again.rows[1].members == ("a", "b", "c")


@pytest.mark.parametrize(
    ("models", "groups", "baselines", "found"),
    [
        (["world-vmc"], [], [], "unknown model 'world-vmc' (did you mean world-vcm?)"),
        (["world-vmc", "world-teachr"], [], [], "and unknown model 'world-teachr'"),
        (["a/student", "b/student"], [], [], "two contestants called student"),
        (["x=a/student", "y=a/student"], [], [], "x and y are one model"),
        (["a b=a/student"], [], [], "label 'a b'"),
        (["world-vcm"], ["turbo"], [], "--group 'turbo'"),
        (["world-vcm"], ["turbo=world-vcm"], [], "--group 'turbo=world-vcm'"),
        (["world-vcm", "world-teacher"], [], ["world-techer"], "--baseline 'world-techer' (did you mean"),
        ([], [], [], "no model in the line-up"),
    ],
)
def test_mistakes_are_named(
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    models: list[str],
    groups: list[str],
    baselines: list[str],
    found: str,
) -> None:
    monkeypatch.chdir(trained)
    with pytest.raises(UserError) as error:
        lineup_of(models, groups, baselines, Request())
    assert found in error.value.found

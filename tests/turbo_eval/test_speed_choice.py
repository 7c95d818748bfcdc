"""Which rows are timed, under which names, against which others; and are mistakes named before anything is loaded?"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from turbo_eval import speed_request
from turbo_eval.speed_choice import SpeedRequest, Wanted, rows_of
from turbo_eval.speed_request import RANDOM_TINY_VAE, WITHOUT, DeviceKind, filled
from turbo_eval.timing.row_names import contestant_of
from turbo_train.errors import UserError
from turbo_train.nets.fast_path import FastPath
from turbo_train.world import WEIGHTS


def rows(device: DeviceKind = "cpu", **asked: Any) -> dict[str, Wanted]:
    found = rows_of(SpeedRequest(**asked), device)
    assert len({row.name for row in found}) == len(found)
    assert all(set(row.against) <= {other.name for other in found} - {row.name} for row in found)
    return {row.name: row for row in found}


def races(found: dict[str, Wanted]) -> dict[str, tuple[str, ...]]:
    return {name: row.against for name, row in found.items()}


def test_without_a_model_the_usual_pair_of_the_device_races() -> None:
    on_cpu, on_gpu = rows(), rows("cuda")
    assert races(on_cpu) == {"world-turbo": ("world-teacher",), "world-teacher": ()}
    assert races(on_gpu) == {"vc2-turbo": ("vc2",), "vc2": ()}
    assert {row.entry.setting.dtype for row in on_cpu.values()} == {"float32"}
    assert {row.entry.setting.dtype for row in on_gpu.values()} == {"bfloat16"}
    assert (filled(SpeedRequest(), "cpu").random_weights, filled(SpeedRequest(), "cuda").random_weights) == (
        False,
        True,
    )
    assert {row.entry.setting.num_steps for row in on_cpu.values()} == {4, 50}


def test_steps_are_of_the_models_that_name_none_and_not_of_the_one_they_race() -> None:
    found = rows(models=("world-turbo", "world-vcm:2"), against="world-teacher", steps=(4, 8, 50))
    steps = {name: row.entry.setting.num_steps for name, row in found.items()}
    assert steps == {
        "world-turbo": 4,
        "world-turbo-8steps": 8,
        "world-turbo-50steps": 50,
        "world-vcm-2steps": 2,
        "world-teacher": 50,
    }
    assert set(races(found).values()) == {("world-teacher",), ()}
    assert rows(against="world-teacher:4", models=("world-turbo",))["world-teacher-4steps"].entry.setting.num_steps == 4


def test_batches_race_only_in_the_same_batch_and_have_it_in_their_names() -> None:
    found = rows(models=("world-turbo",), against="world-teacher", batches=(1, 4))
    assert races(found) == {
        "world-turbo": ("world-teacher",),
        "world-teacher": (),
        "world-turbo-batch4": ("world-teacher-batch4",),
        "world-teacher-batch4": (),
    }
    assert [row.batch for row in found.values()] == [1, 1, 4, 4]
    assert list(rows(models=("world-turbo",), batches=(4,))) == ["world-turbo"]


def test_options_are_every_rows_and_otherwise_the_fast_paths_own() -> None:
    assert {row.fast for row in rows().values()} == {FastPath()}
    quick = rows(compile="max", channels_last=True, cached_text=False, decode_frames=2)
    expected = replace(FastPath(), compile="max", channels_last=True, cached_text=False, decode_frames=2)
    assert {row.fast for row in quick.values()} == {expected}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_each_option_alone_differs_from_none_in_one_field_and_all_in_every_one(device: DeviceKind) -> None:
    found = rows(device, each_option=True, random_weights=True, models=("vc2-turbo",), vae="tiny", batches=(1, 2))
    for batch in (1, 2):
        own = [row for row in found.values() if row.batch == batch]
        plain, *alone, together = own
        assert plain.fast == WITHOUT
        assert {row.against for row in own[1:]} == {(plain.name,)}
        changed = [{k for k in vars(WITHOUT) if vars(row.fast)[k] != vars(WITHOUT)[k]} for row in alone]
        assert all(len(fields) == 1 for fields in changed)
        assert set().union(*changed) == {k for k in vars(WITHOUT) if vars(together.fast)[k] != vars(WITHOUT)[k]}
        assert ({"cuda_graphs"} in changed) == (device == "cuda")
        assert {"tiny_vae"} in changed
    assert {contestant_of(name) for name in found} == {"vc2-turbo"}
    fewer = rows("cpu", each_option=True, channels_last=False)
    assert {row.entry.name for row in fewer.values()} == {"world-turbo"}  # without a model: the usual one, alone
    assert not any(row.fast.channels_last or row.fast.tiny_vae for row in fewer.values())


def test_a_teacher_beside_each_option_races_every_row_and_is_run_as_usual() -> None:
    found = rows(models=("world-turbo",), against="world-teacher", each_option=True)
    assert found["world-turbo"].against == ("world-teacher",)
    assert found["world-turbo-all-options"].against == ("world-turbo", "world-teacher")
    assert (found["world-teacher"].fast, found["world-turbo"].fast) == (FastPath(), WITHOUT)


def test_folders_labels_sizes_and_recipes_are_understood() -> None:
    folder = WEIGHTS / "world-vcm"
    found = rows(models=(f"mine={folder}:2", str(folder), "world-vcm@seed1"), frames=4, size=(16, 16))
    assert list(found) == ["mine", "world-vcm-16x16-4frames", "world-vcm-seed1-16x16-4frames"]
    assert {row.entry.setting.size for row in found.values()} == {(16, 16)}
    assert {row.entry.setting.frames for row in found.values()} == {4}


def test_random_weights_need_no_files() -> None:
    found = rows(models=("vc2-turbo", "ms-turbo:8"), against="vc2", random_weights=True)
    assert list(found) == ["vc2-turbo", "ms-turbo-8steps", "vc2"]
    assert all(row.entry.source is not None for row in found.values())


def test_the_tiny_vae_is_the_given_one_else_the_worlds_else_random(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert rows(vae="tiny", tiny_vae=tmp_path)["world-turbo"].fast.tiny_vae == tmp_path
    monkeypatch.setattr(speed_request, "WORLD_TINY_VAE", tmp_path)
    assert rows(vae="tiny")["world-turbo"].fast.tiny_vae == tmp_path
    student = tmp_path / "student"
    shutil.copytree(WEIGHTS / "world-vcm", student)
    shutil.copytree(WEIGHTS / "teacher", tmp_path / "teacher")
    with pytest.raises(UserError, match="without a folder"):  # a teacher of its own, which may have another VAE
        rows(models=(str(student),), vae="tiny")
    assert rows("cuda", vae="tiny")["vc2-turbo"].fast.tiny_vae == RANDOM_TINY_VAE
    with pytest.raises(UserError, match=r"no config\.json"):
        rows(vae="tiny", tiny_vae=tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"models": ("world-turb", "nothing")}, r"'world-turb' \(did you mean world-turbo\?\); and .*'nothing'"),
        ({"models": ("vc2",)}, "missing file"),
        ({"models": ("world-turbo", "world-turbo:4")}, "world-turbo twice"),
        ({"models": ("world-turbo",), "against": "world-turbo"}, "world-turbo twice"),
        ({"models": ("world-turbo", "mine=world-turbo")}, "world-turbo and mine are one row"),
        ({"models": ("a=world-turbo", "a=world-vcm")}, "two rows called a"),
        ({"models": ("world-turbo",), "steps": (64,)}, "64 consistency steps of a grid of 50"),
        ({"models": ("world-teacher",), "steps": (1000,)}, "world-teacher-1000steps: 1000 DDIM steps"),
        ({"models": ("world-turbo",), "size": (33, 33)}, "multiples of"),
        ({"models": ("world-turbo", "world-vcm"), "each_option": True}, "--each-option with world-turbo, world-vcm"),
        ({"models": ("world-turbo",), "steps": (4, 8), "each_option": True}, "one --model in one number of steps"),
        ({"cuda_graphs": True}, "--cuda-graphs on a CPU"),
        ({"against": "world-teacher"}, "--against without --model"),
        ({"compile": "fast"}, "--compile fast.*off, default, max"),
        ({"dtype": "int8"}, "--dtype int8"),
        ({"vae": "small"}, "--vae small"),
        (
            {"tiny_vae": Path("x"), "models": ("world-turbo",)},
            "x without --vae tiny.*--vae tiny x, or --model world-turbo,x",
        ),
        ({"metric": "o"}, "--metric without --scores"),
        ({"force_incomparable": True}, "--force-incomparable without --baseline"),
    ],
)
def test_mistakes_are_named(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        rows(**asked)
    assert error.value.expected
    assert error.value.run_next

"""Is a recipe what its settings say, and is one that makes no sense refused with a reason?"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from tiny_training import IMAGE, VIDEO, recipe

from turbo_train.config import RewardWeight, TrainConfig, check_alike, config_of, with_settings
from turbo_train.errors import UserError

CONFIG = recipe(Path("teacher"), IMAGE, VIDEO)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("steps=7", 7),
        ("lr=1e-3", 1e-3),
        ("tensorboard=True", True),
        ("tensorboard=0", False),
        ("size=none", None),
        ("size=16x24", (16, 24)),
        ("frames=None", None),
        ("fps=12.5", 12.5),
        ("cond_fps=16", 16),
        ("precision=bf16", "bf16"),
        ("data=a=b", "a=b"),
        ("validation_prompts=a cat|a dog", ("a cat", "a dog")),
        ("validation_prompts=", ()),
        ("rewards=none", ()),
        ("rewards=hpsv2.1:2,viclip:3:8", (RewardWeight("hpsv2.1", 2.0, 6), RewardWeight("viclip", 3.0, 8))),
    ],
)
def test_a_setting_changes_its_field_alone(setting: str, value: Any) -> None:
    name = setting.partition("=")[0]
    assert with_settings(CONFIG, [setting]) == replace(CONFIG, **{name: value})


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("stpes=7", r"'stpes=7' \(did you mean steps\?\); expected key=value with one of teacher, data"),
        ("steps", "'steps'; expected key=value"),
        ("=7", "'=7'"),
        ("preset=other", "'preset=other'"),
        ("steps=1e3", "steps as a whole number"),
        ("steps=--5", "steps as a whole number"),
        ("steps=²", "steps as a whole number"),
        ("lr=fast", "lr as a number"),
        ("tensorboard=yes", "tensorboard as true or false"),
        ("precision=fp8", "precision as no or bf16 or fp16"),
        ("size=8", "size as HEIGHTxWIDTH in px or none"),
        ("rewards=hpsv2.1:much", "rewards as none, or name:beta"),
        ("rewards=hpsv2:1", r"hpsv2.*did you mean hpsv2\.1\?"),
    ],
)
def test_a_setting_of_another_kind_says_which_is_expected(setting: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        with_settings(CONFIG, [setting])


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("steps=0", "steps 0, not above 0"),
        ("seed=-1", "seed -1, below 0"),
        ("rank=-1", "rank -1, below 0"),
        ("lr=nan", "lr nan, not above 0"),
        ("lr=inf", "lr inf, not finite"),
        ("weight_decay=-0.1", "weight_decay -0.1, below 0"),
        ("adam_beta1=1", r"adam_beta1 1\.0, not in \[0, 1\)"),
        ("adam_eps=-1", "adam_eps -1.0, below 0"),
        ("dropout=1", r"dropout 1\.0, not in \[0, 1\)"),
        ("ema_decay=1", r"ema_decay 1\.0, not in \[0, 1\)"),
        ("frames=0", "frames 0, not above 0"),
        ("size=0x8", "size 0, not above 0"),
        ("fps=0", "fps 0.0, not above 0"),
        ("warmup_steps=-1", "warmup_steps -1, below 0"),
        ("validation_steps=0", "validation_steps 0, not above 0"),
        ("keep=0", "keep 0, not above 0"),
        ("batch_size=3 micro_batch_size=2", "batch_size 3, no multiple of micro_batch_size 2"),
        ("guidance_min=20", "guidance_min 20.0 above guidance_max"),
        ("ema_decay=0 ema_target=true", "ema_target without ema_decay"),
        ("seed=99999999999999999999", "seed 99999999999999999999, of more than 63 bits"),
        ("guidance_scale=3", r"guidance_scale 3\.0, not in \[5\.0, 15\.0\]"),
        ("rewards=world-video-judge:1", "world-video-judge, a judge, by which nothing is trained"),
        ("validate_every=5", "validate_every without validation_prompts"),
        ("validation_steps=60", "validation_steps 60, above 50"),
        ("dropout=0 dropout_in_target=true", "dropout_in_target without dropout"),
        ("loss_placement=split batch_size=8 rewards=none", "loss_placement split without a video reward"),
        ("loss_placement=split", r"batch_size / micro_batch_size has to be a multiple of 8"),
        ("loss_placement=split batch_size=8 micro_batch_size=2", "multiple of 8"),
        ("rewards=viclip:-1", "beta -1.0 of viclip"),
        ("rewards=viclip:nan", "beta nan of viclip"),
        ("rewards=viclip:1,viclip:2", "viclip twice among the rewards"),
        ("rewards=viclip:1:0", "0 frames for viclip"),
    ],
)
def test_what_cannot_be_trained_is_refused(setting: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        with_settings(CONFIG, setting.split())


def test_a_recipe_comes_back_from_its_file() -> None:
    assert config_of(json.loads(CONFIG.to_json()), "config.json") == CONFIG


@pytest.mark.parametrize(
    "harm",
    [
        {"steps": "many"},
        {"speed": 1},
        {"rewards": [{"name": "viclip"}]},
        {"rewards": 3},
        {"precision": "fp8"},
        {"steps": 0},
        {"size": 8},
    ],
)
def test_a_broken_file_is_a_message(harm: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        config_of(json.loads(CONFIG.to_json()) | harm, "config.json")
    with pytest.raises(UserError, match=r"config\.json"):
        config_of([], "config.json")  # type: ignore[arg-type]


def test_what_decides_the_steps_may_not_change_in_a_run() -> None:
    with pytest.raises(
        UserError,
        match=r"found rewards none, lr 0\.5 for here; expected rewards world-image-reward:1:2,.*, lr 0\.01, as",
    ):
        check_alike(replace(CONFIG, lr=0.5, rewards=()), CONFIG, "here", "")
    check_alike(replace(CONFIG, steps=9, keep=1, log_every=3, tensorboard=True, prefetch=4), CONFIG, "here", "")
    fixed = {field.name for field in fields(TrainConfig)} - CONFIG.free_on_resume()
    assert {"seed", "batch_size", "lr", "rewards", "teacher", "data", "precision", "micro_batch_size"} <= fixed


def test_some_fields_are_free_only_where_nothing_follows_them() -> None:
    plain = replace(CONFIG, dropout=0.0)
    assert {"steps", "micro_batch_size"} <= plain.free_on_resume()
    assert "steps" not in replace(plain, lr_schedule="cosine").free_on_resume()  # every rate that is left would change
    assert "micro_batch_size" not in replace(plain, loss_placement="split").free_on_resume()
    assert "micro_batch_size" not in replace(plain, dropout_in_teacher=True).free_on_resume()
    assert "micro_batch_size" not in replace(plain, dropout=0.1).free_on_resume()  # drawn once for each pass

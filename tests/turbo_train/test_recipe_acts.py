"""Does every field of a recipe act? Steps with another value end elsewhere; the rest is looked for."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import tiny_students
import torch
from tiny_training import VIDEO, quietly, recipe
from torch import Tensor

from turbo_train import assembly, loop
from turbo_train.assembly import assemble, put_together
from turbo_train.checkpoint import checkpoints
from turbo_train.config import RewardWeight, TrainConfig
from turbo_train.data.feed import Feed
from turbo_train.data.open import open_source
from turbo_train.errors import UserError
from turbo_train.nets.base import load_base
from turbo_train.nets.recompute import is_recomputed
from turbo_train.nets.student_config import read_student_config
from turbo_train.nets.unet_denoiser import unet_denoiser_of
from turbo_train.trainer import Trainer, new_accelerator

CHANGED: dict[str, Any] = {
    "seed": 4,
    "batch_size": 1,
    "micro_batch_size": 2,  # dropout is drawn once for each pass
    "lr": 2e-2,
    "lr_schedule": "cosine",
    "warmup_steps": 5,
    "adam_beta1": 0.5,
    "adam_beta2": 0.9,
    "adam_eps": 1e-3,
    "weight_decay": 0.5,
    "max_grad_norm": 1e-3,
    "precision": "bf16",
    "num_ddim_steps": 25,
    "guidance_min": 2.0,
    "guidance_max": 30.0,
    "distance": "l2",
    "huber_c": 0.1,
    "dropout": 0.5,
    "dropout_in_target": True,
    "dropout_in_teacher": True,
    "ema_decay": 0.05,
    "ema_target": True,
    "resize": "squash",
    "rewards": (RewardWeight("world-image-reward", 1.0, 2),),
}
HERE = "rank frames size fps cond_fps guidance_scale gradient_checkpointing checkpoint_decode random_crop keep prefetch"
IN_TEST_LOOP = "steps save_every log_every tensorboard validate_every validation_steps validation_prompts max_nonfinite"
IN_OTHER_FILES = "preset teacher data loss_placement optimizer"  # test_cli_train, test_open, test_trainer


def test_a_new_field_has_to_be_looked_at_here() -> None:
    named = {*CHANGED, *HERE.split(), *IN_TEST_LOOP.split(), *IN_OTHER_FILES.split()}
    assert named == {field.name for field in fields(TrainConfig)}


def after_three_steps(config: TrainConfig) -> list[Tensor]:
    """Every number that a checkpoint would hold."""
    trainer = Trainer(config)
    source = open_source(config, trainer.parts.teacher)
    lanes = [source.lane(place, config.batch_size, None) for place in range(config.batch_size)]
    for _ in range(3):
        samples = {place: drawn.sample for place, lane in enumerate(lanes) if (drawn := next(lane)).sample is not None}
        assert trainer.step(samples).taken
    state = trainer.state()
    moments = [value for moment in state["optimizer"]["state"].values() for value in moment.values()]
    return [*state["weights"].values(), *state["average"].values(), *moments]


@pytest.fixture(scope="module")
def plain(loop_teacher: Path) -> list[Tensor]:
    return after_three_steps(oblong(loop_teacher))


def oblong(teacher: Path, **changes: Any) -> TrainConfig:
    return recipe(teacher, size=(8, 16), **changes)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGED)
def test_a_changed_field_ends_elsewhere(name: str, plain: list[Tensor], loop_teacher: Path) -> None:
    base = getattr(oblong(loop_teacher), name)
    assert CHANGED[name] != base
    other = after_three_steps(oblong(loop_teacher, **{name: CHANGED[name]}))
    pairs = list(zip(plain, other, strict=True))
    assert all(here.isfinite().all() and there.isfinite().all() for here, there in pairs)
    assert any(not torch.equal(here, there) for here, there in pairs)


@pytest.mark.slow
def test_the_same_recipe_ends_at_the_same_place(plain: list[Tensor], loop_teacher: Path) -> None:
    assert all(torch.equal(*pair) for pair in zip(plain, after_three_steps(oblong(loop_teacher)), strict=True))


def test_sizes_and_speeds_reach_the_networks(loop_teacher: Path, tmp_path: Path) -> None:
    config = recipe(loop_teacher, rank=3, frames=4, size=(8, 16), fps=12.0, checkpoint_decode=True)
    trainer = Trainer(replace(config, guidance_min=1.0, guidance_max=9.0, guidance_scale=3.0))
    teacher = trainer.parts.teacher
    assert teacher.latent_shape[1:] == (4, 8 // teacher.vae.factor, 16 // teacher.vae.factor) and teacher.fps == 12
    assert trainer.parts.objective.checkpoint_decode
    trainer.write_student(tmp_path / "student")
    saved = read_student_config(tmp_path / "student")
    assert (saved.rank, saved.guidance_min, saved.guidance_max, saved.guidance_scale) == (3, 1.0, 9.0, 3.0)


def test_a_frame_rate_is_told_to_networks_that_know_one(loop_teacher: Path, tmp_path: Path) -> None:
    family = tiny_students.write_family("vc2", tmp_path)
    teacher = load_base(family.source, family.sizes)
    config = recipe(family.source.path, cond_fps=12, gradient_checkpointing=True)
    parts = put_together(config, teacher, ())
    assert parts.objective.fps == 12
    without = put_together(replace(config, gradient_checkpointing=False), teacher, ())
    assert [is_recomputed(unet_denoiser_of(made.student)) for made in (parts, without)] == [True, False]
    with pytest.raises(UserError, match=r"cond_fps 8 for .*, whose networks know no frame rate"):
        assemble(recipe(loop_teacher, cond_fps=8))


def test_rewards_are_loaded_as_the_recipe_says(loop_teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def load(name: str, **options: Any) -> None:
        asked.append((name, options))

    monkeypatch.setattr(assembly, "load_reward", load)
    rewards = (RewardWeight("hpsv2.1", 0.0, 6), RewardWeight("viclip", 3.0, 8))
    for yes in (True, False):
        config = replace(recipe(loop_teacher), rewards=rewards, random_crop=yes, gradient_checkpointing=yes)
        (term,) = assemble(config).objective.rewards  # what has no weight is not even loaded
        assert (term.name, term.random_crop) == ("viclip", yes)
        name, options = asked.pop()
        assert (name, options["crop"], options["checkpointing"]) == ("viclip", "random" if yes else "centre", yes)
        assert asked == []


def test_clips_shorter_than_what_a_reward_sees_are_told_before_any_step(loop_teacher: Path) -> None:
    with pytest.raises(UserError, match=r"clips of 4 frames, and world-video-reward, which sees 8.*frames=8 or more"):
        assemble(recipe(loop_teacher, VIDEO, frames=4))


def test_checkpoints_kept_and_rows_read_ahead(
    loop_teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead: list[int] = []

    class Watched(Feed):
        def __init__(self, *places: Any) -> None:
            ahead.append(places[-1])
            super().__init__(*places)

    monkeypatch.setattr(loop, "Feed", Watched)
    quietly(recipe(loop_teacher, steps=2, save_every=1, keep=1, prefetch=3), tmp_path)
    assert ahead == [3] and [path.name for path in checkpoints(tmp_path)] == ["step-000002"]


def test_the_environment_does_not_change_how_passes_add_up(loop_teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "7")
    assert new_accelerator(recipe(loop_teacher)).gradient_accumulation_steps == 2

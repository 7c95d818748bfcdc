"""Of which networks does a training run consist? Teacher, student, solver and rewards, put together from a recipe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from turbo_train.config import TrainConfig
from turbo_train.diffusion.solver import DDIMSolver
from turbo_train.errors import UserError
from turbo_train.nets.base import load_base
from turbo_train.nets.model import Model
from turbo_train.nets.modelscope import ModelScopeDenoiser
from turbo_train.nets.source import ClipFormat, Source, teacher_at
from turbo_train.nets.student import new_student, trainable_weights
from turbo_train.nets.unet_denoiser import unet_denoiser_of
from turbo_train.nets.videocrafter2.checkpoint import CheckpointConfig
from turbo_train.rewards.modes import Crop
from turbo_train.rewards.table import RewardEntry, find_reward, load_reward
from turbo_train.step import Objective, RewardTerm
from turbo_train.weights.missing import require
from turbo_train.weights.places import folder_of
from turbo_train.weights.table import files_for
from turbo_train.world import WEIGHTS

TEACHER_NAMES = {"world": "world-teacher", "ms": "ms", "vc2": "vc2"}  # ours -> in turbo_eval's table of models


@dataclass(frozen=True)
class Parts:
    """Everything a step works with. empty_1LD: the empty text's context."""

    teacher: Model
    student: Model
    solver: DDIMSolver
    objective: Objective
    empty_1LD: Tensor


def teacher_source(name: str) -> Source:
    """Of world, ms, vc2, or of a path. UserError: an unknown name; published files that are missing."""
    if name == "world":
        return Source("diffusers", WEIGHTS / "teacher")
    if name == "ms":
        files = files_for("ms")
        require(files, "ms")
        return Source("diffusers", folder_of(files), clip=ClipFormat(16, 8))
    if name == "vc2":
        return Source("videocrafter2", next(iter(require(files_for("vc2"), "vc2").values())))
    path = Path(name)
    if not path.exists():
        raise no_teacher(name)
    return teacher_at(path)


def no_teacher(name: str) -> UserError:
    """What is said of a teacher that is not there."""
    return UserError(
        found=f"teacher {name!r}, which is neither a name nor a path",
        expected="world, ms, vc2, a folder in diffusers' layout or a VideoCrafter2 checkpoint",
        run_next="turbo-train presets",
    )


def check_frames(entry: RewardEntry, frames: int) -> None:
    """UserError for a number of frames that the reward cannot look at."""
    if entry.frames is not None and frames not in (entry.frames, *entry.other_frames):
        raise UserError(found=f"{frames} frames for {entry.name}", expected=f"{entry.frames} frames")


def assemble(config: TrainConfig, device: torch.device | str = "cpu", sizes: CheckpointConfig | None = None) -> Parts:
    """Load and put together, before any training. The student's trainable weights are float32 whatever the precision.

    sizes: of a VideoCrafter2 teacher that is not the published one. UserError: what is missing or does not fit.
    """
    teacher = with_clip(load_base(teacher_source(config.teacher), sizes), config).to(device)
    frozen = frozen_dtype(config)
    wanted = [term for term in config.rewards if term.beta]
    if long := [term for term in wanted if term.part == "vid" and term.frames > teacher.latent_shape[1]]:
        raise UserError(
            found=f"clips of {teacher.latent_shape[1]} frames, and {long[0].name}, which sees {long[0].frames}",
            expected="clips as long as what each video reward sees",
            run_next=f"--set frames={long[0].frames} or more, or other rewards",
        )
    terms = tuple(_term(term.name, term.beta, term.frames, config, device, frozen) for term in wanted)
    return put_together(config, teacher, terms, device)


def frozen_dtype(config: TrainConfig) -> torch.dtype | None:
    """Of the weights that are not trained, the VAE's apart, which stay float32; None: float32 all."""
    return {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}[config.precision]


def put_together(
    config: TrainConfig, teacher: Model, terms: tuple[RewardTerm, ...], device: torch.device | str = "cpu"
) -> Parts:
    """The parts of a run on a teacher and rewards that are there. UserError: a grid that does not fit the teacher."""
    if teacher.schedule.num_train_steps % config.num_ddim_steps:
        steps = teacher.schedule.num_train_steps
        raise UserError(found=f"num_ddim_steps {config.num_ddim_steps}", expected=f"a divisor of {steps}")
    if config.cond_fps is not None and isinstance(teacher.denoiser, ModelScopeDenoiser):
        raise UserError(
            found=f"cond_fps {config.cond_fps} for {teacher.name}, whose networks know no frame rate",
            expected="cond_fps none",
            run_next="--set cond_fps=none",
        )
    if config.dropout_in_teacher and isinstance(teacher.denoiser, nn.Module):
        teacher.denoiser.train()
    if config.rank == 0:  # trained whole: a float32 copy of its own
        student = new_student(teacher, 0, seed=config.seed, dropout=config.dropout)
        _freeze(teacher, frozen_dtype(config))
    else:  # LoRA leaves the teacher's weights alone: one copy in memory serves both
        _freeze(teacher, frozen_dtype(config))
        student = new_student(teacher, config.rank, seed=config.seed, dropout=config.dropout, share=True)
    student.denoiser.to(device)  # type: ignore[attr-defined]
    for weight in trainable_weights(student).values():
        weight.data = weight.data.float()
    if config.gradient_checkpointing:
        unet_denoiser_of(student).enable_gradient_checkpointing()
    objective = Objective(
        rewards=terms,
        distance=config.distance,
        huber_c=config.huber_c,
        fps=config.cond_fps,
        checkpoint_decode=config.checkpoint_decode,
        dropout_in_target=config.dropout_in_target,
        dropout_in_teacher=config.dropout_in_teacher,
    )
    solver = DDIMSolver(teacher.schedule, config.num_ddim_steps)
    with torch.no_grad():
        return Parts(teacher, student, solver, objective, teacher.text([""]))


def _freeze(teacher: Model, dtype: torch.dtype | None) -> None:
    """The denoiser and the text encoder in the frozen weights' type. The VAE's decide whose cached latents fit."""
    for part in (teacher.denoiser, teacher.text):
        if dtype is not None and isinstance(part, nn.Module):
            part.to(dtype)


def _term(
    name: str, beta: float, frames: int, config: TrainConfig, device: torch.device | str, dtype: torch.dtype | None
) -> RewardTerm:
    entry = find_reward(name)
    crop: Crop = "random" if config.random_crop and entry.resize == "shortest" else "centre"
    seen = frames if entry.other_frames else None
    check_frames(entry, frames)
    model = load_reward(
        name, device=device, dtype=dtype, frames=seen, crop=crop, checkpointing=config.gradient_checkpointing
    )
    part: Literal["img", "vid"] = "img" if entry.kind == "image" else "vid"
    return RewardTerm(name, model, part, beta, frames, random_crop=crop == "random")


def with_clip(teacher: Model, config: TrainConfig) -> Model:
    """The teacher with the clips that the recipe trains on. UserError: a size it cannot make."""
    channels, frames, height, width = teacher.latent_shape
    if config.size is not None:
        factor = teacher.vae.factor
        if any(side % (factor * teacher.size_multiple) for side in config.size):
            raise UserError(
                found=f"size {config.size[0]}x{config.size[1]}",
                expected=f"multiples of {factor * teacher.size_multiple} px for {teacher.name}",
            )
        height, width = config.size[0] // factor, config.size[1] // factor
    shape = (channels, config.frames or frames, height, width)
    return replace(teacher, latent_shape=shape, fps=int(config.fps or teacher.fps))

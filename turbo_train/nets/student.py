"""What is a student? A frozen teacher, plus LoRA, plus a projection of the guidance scale; on disk only the additions.

Or, at rank 0, a copy of the teacher's denoiser with that projection, all of it trained; on disk the whole denoiser.
config.json (student_config.py) names the teacher by the hash of its weights; adapter.safetensors (student_adapter.py)
holds by name what was trained, among it the projection (`time_embedding.cond_proj.weight`, or VideoCrafter2's
`time_cond_proj.weight`). Its numbers are float16: 11 bits of precision, and what is below 3e-8 becomes 0.
Differs: the original never saves that projection (T2V-Turbo eaae323), so its students draw another at random in every
process; ours starts at zero, is trained, and is saved.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from turbo_train.errors import UserError
from turbo_train.nets.base import load_base, teacher_sha256
from turbo_train.nets.folder_files import remedy
from turbo_train.nets.lora import inject, merge
from turbo_train.nets.model import Model
from turbo_train.nets.source import Source, teacher_at
from turbo_train.nets.student_adapter import ADAPTER_FILE, fill, rank_of, read_adapter, weights_of, whole_denoiser
from turbo_train.nets.student_config import (
    CONFIG_FILE,
    StudentConfig,
    read_student_config,
    same_schedule,
    schedule_marks,
)
from turbo_train.nets.unet_denoiser import UNetDenoiser, unet_denoiser_of
from turbo_train.nets.videocrafter2.checkpoint import CheckpointConfig

TIME_COND_DIM = 256  # T2V-Turbo's unet_time_cond_proj_dim (T2V-Turbo eaae323)
RANK = 64  # T2V-Turbo's lora_rank for VideoCrafter2


def new_student(
    teacher: Model,
    rank: int = RANK,
    time_cond_dim: int = TIME_COND_DIM,
    seed: int = 0,
    dropout: float = 0.0,
    *,
    share: bool = False,
) -> Model:
    """A student that begins as the teacher exactly, for every guidance scale. The teacher is copied, not touched.

    LoRA's A is drawn from `seed`; B and the projection are zero. Only trainable_weights have requires_grad. It is
    in eval mode, which does not stop gradients. Text encoder and VAE are shared with the teacher.
    rank 0: no LoRA; the whole denoiser learns, projection and all, and nothing is drawn.
    share: so are the denoiser's weights, for a teacher that is thrown away: merging would change it.
    Differs: both families drop 10 % in their temporal convolutions while in train mode, and the original distils with
    that; here `dropout` replaces it.
    ValueError: a rank below 0; share at rank 0, where training would change the teacher.
    """
    if rank < 0:
        raise ValueError(f"rank {rank}, below 0")
    if share and rank == 0:
        raise ValueError("rank 0 with the teacher's own weights: training would change it")
    denoiser = unet_denoiser_of(teacher).with_guidance_condition(time_cond_dim, share=share)
    if rank:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs' too, for good
            inject(denoiser.unet, rank, leave_out=(denoiser.cond_proj,))  # the projection is trained whole
    return _trainable(teacher, denoiser, dropout, whole=not rank)


def trainable_weights(student: Model) -> dict[str, nn.Parameter]:
    """What an optimizer gets, by name: LoRA and the guidance projection, or the whole denoiser; always in one order.

    ValueError: nothing is trained, in a teacher or in a student that was merged.
    """
    return weights_of(unet_denoiser_of(student))


def save_student(
    folder: Path,
    student: Model,
    *,
    guidance_range: tuple[float, float],
    guidance_scale: float,
    notes: str = "",
    teacher: Path | None = None,
    teacher_name: str | None = None,
    rewards: tuple[str, ...] | None = None,
) -> StudentConfig:
    """Write config.json and adapter.safetensors of an unmerged student. `teacher` None: where it came from.

    teacher_name: what a table calls the teacher, such as vc2; None: the name of its folder or file. rewards: the names
    of those that it was trained on; None: not stated.
    Everything written is a function of the arguments and of the teacher's files: no times, no hosts, no paths.
    ValueError: `trainable_weights`'s. UserError: weights that are not finite, or too large for float16.
    """
    denoiser = unet_denoiser_of(student)
    weights = {name: value.detach().cpu() for name, value in weights_of(denoiser).items()}
    half = {name: value.half().contiguous() for name, value in weights.items()}
    if large := [name for name, value in half.items() if not value.isfinite().all()]:
        raise UserError(
            found=f"{len(large)} weights of the student that float16 cannot hold, {large[0]} among them",
            expected="finite values up to 65504",
            run_next="a checkpoint from before they grew, or a smaller learning rate",
        )
    name, sha256 = _origin(student) if teacher is None else (_name(teacher), teacher_sha256(teacher))
    config = StudentConfig(
        teacher=teacher_name or name,
        teacher_sha256=sha256,
        rank=rank_of(weights),
        time_cond_dim=denoiser.projection.in_features,
        prediction_type=denoiser.prediction_type,
        guidance_min=guidance_range[0],
        guidance_max=guidance_range[1],
        guidance_scale=guidance_scale,
        notes=notes,
        abars=schedule_marks(student.schedule),
        rewards=rewards,
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_file(half, folder / ADAPTER_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
    return config


def _origin(student: Model) -> tuple[str, str]:
    """Name and hash of the teacher of a student that was just made (new_student) or read (load_student)."""
    if (student.path / ADAPTER_FILE).is_file():
        config = read_student_config(student.path)
        return config.teacher, config.teacher_sha256
    return _name(student.path), teacher_sha256(student.path)


def _name(path: Path) -> str:
    """Its name as it was given: a file in the hub's cache is a link to one that is called by its hash."""
    return Path(os.path.abspath(path)).name  # noqa: PTH100 (absolute() keeps "..", resolve() follows links)


def load_student(
    folder: Path, teacher: Source | None = None, *, merged: bool = True, sizes: CheckpointConfig | None = None
) -> Model:
    """Read a student and its teacher, by default what lies beside it under the name that config.json gives.

    The teacher's weights are hashed before any of them is loaded; its noise schedule is compared where config.json
    describes it, which older folders do not.
    merged: LoRA is added to the weights, which is faster; otherwise it stays apart, and stays trainable. So does a
    whole denoiser, which merged means frozen.
    sizes: of a VideoCrafter2 teacher that is not the published one.
    UserError: a missing or broken file; a teacher with other weights or another noise schedule than the student's.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(found=f"no folder {folder}", expected="a student's folder", run_next=remedy(folder))
    config = read_student_config(folder)
    where = folder / ADAPTER_FILE
    weights = read_adapter(where, config)
    teacher = teacher or _beside(folder, config)
    _check_weights(teacher.path, config, folder)
    base = load_base(teacher, sizes, with_unet=config.rank > 0)
    _check_schedule(base, config, folder)
    if config.rank:
        student = new_student(base, config.rank, config.time_cond_dim, share=True)
        fill(unet_denoiser_of(student), weights, where)
    else:
        student = _trainable(base, whole_denoiser(unet_denoiser_of(base), weights, config, where), 0.0, whole=True)
    denoiser = unet_denoiser_of(student)
    denoiser.prediction_type = config.prediction_type
    if merged:
        merge(denoiser.unet)
        denoiser.requires_grad_(False)
    return replace(student, name=folder.name, path=folder)


def _trainable(teacher: Model, denoiser: UNetDenoiser, dropout: float, *, whole: bool) -> Model:
    """The student of a denoiser that is put together, with gradients for what learns and dropout as asked for."""
    denoiser.requires_grad_(whole)
    for parameter in weights_of(denoiser).values():
        parameter.requires_grad_(True)
    for module in denoiser.unet.modules():
        if isinstance(module, nn.Dropout) and module.p > 0:  # the temporal convolutions' alone
            module.p = dropout
    name, width = f"{teacher.name}-student", denoiser.timestep_cond_dim
    return replace(teacher, name=name, denoiser=denoiser.eval(), timestep_cond_dim=width)


def _check_weights(teacher: Path, config: StudentConfig, folder: Path) -> None:
    if teacher.exists() and (found := teacher_sha256(teacher)) != config.teacher_sha256:
        raise UserError(
            found=f"a teacher in {teacher} with weights {found[:12]}",
            expected=f"the one that {folder} was distilled from, with weights {config.teacher_sha256[:12]}",
            run_next=f"the teacher that config.json calls {config.teacher}; or {remedy(folder)}",
        )


def _check_schedule(teacher: Model, config: StudentConfig, folder: Path) -> None:
    found = schedule_marks(teacher.schedule)
    if config.abars is not None and not same_schedule(found, config.abars):
        raise UserError(
            found=f"a teacher in {teacher.path} with another noise schedule (abar {found})",
            expected=f"the one that {folder} was distilled with (abar {config.abars})",
            run_next=f"the teacher that config.json calls {config.teacher}; or {remedy(folder)}",
        )


def _beside(folder: Path, config: StudentConfig) -> Source:
    path = folder.resolve().parent / config.teacher
    if not path.exists():
        raise UserError(
            found=f"no folder or file {path}",
            expected=f"the teacher of {folder}, with weights {config.teacher_sha256[:12]}, beside it",
            run_next=f"put it there under the name {config.teacher}, or name another place",
        )
    return teacher_at(path)

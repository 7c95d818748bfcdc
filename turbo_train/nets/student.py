"""What is a student? A frozen teacher, plus LoRA, plus a projection of the guidance scale; on disk only the additions.

config.json (student_config.py) names the teacher by the hash of its weights; adapter.safetensors holds by name the LoRA
and the guidance projection (`time_embedding.cond_proj.weight`, or VideoCrafter2's `time_cond_proj.weight`). Its numbers
are float16: 11 bits of precision, and what is below 3e-8 becomes 0.
Differs: the original never saves that projection (T2V-Turbo eaae323), so its students draw another at random in every
process; ours starts at zero, is trained, and is saved.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from turbo_train.errors import UserError
from turbo_train.nets.base import load_base, teacher_sha256
from turbo_train.nets.folder_files import first_line, remedy
from turbo_train.nets.lora import inject, load_lora, lora_weights, merge
from turbo_train.nets.model import Model
from turbo_train.nets.source import Source, teacher_at
from turbo_train.nets.student_config import (
    CONFIG_FILE,
    StudentConfig,
    read_student_config,
    same_schedule,
    schedule_marks,
)
from turbo_train.nets.unet_denoiser import UNetDenoiser, unet_denoiser_of
from turbo_train.nets.videocrafter2.checkpoint import CheckpointConfig

ADAPTER_FILE = "adapter.safetensors"
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
    share: so are the denoiser's weights, for a teacher that is thrown away: merging would change it.
    Differs: both families drop 10 % in their temporal convolutions while in train mode, and the original distils with
    that; here `dropout` replaces it.
    """
    denoiser = unet_denoiser_of(teacher).with_guidance_condition(time_cond_dim, share=share)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs' too, for good
        inject(denoiser.unet, rank, leave_out=(denoiser.cond_proj,))  # the projection is trained whole
    for parameter in _of_denoiser(denoiser).values():
        parameter.requires_grad_(True)
    for module in denoiser.unet.modules():
        if isinstance(module, nn.Dropout) and module.p > 0:  # the temporal convolutions' alone
            module.p = dropout
    name = f"{teacher.name}-student"
    return replace(teacher, name=name, denoiser=denoiser.eval(), timestep_cond_dim=time_cond_dim)


def trainable_weights(student: Model) -> dict[str, nn.Parameter]:
    """What an optimizer gets, by name: LoRA and the guidance projection, always in the same order.

    ValueError: there is no LoRA, in a teacher or in a student that was merged.
    """
    return _of_denoiser(unet_denoiser_of(student))


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
    weights = {name: value.detach().cpu() for name, value in _of_denoiser(denoiser).items()}
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
        rank=max(len(weight) for name, weight in weights.items() if "lora_A" in name),
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
    merged: LoRA is added to the weights, which is faster; otherwise it stays apart, and stays trainable.
    sizes: of a VideoCrafter2 teacher that is not the published one.
    UserError: a missing or broken file; a teacher with other weights or another noise schedule than the student's.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(found=f"no folder {folder}", expected="a student's folder", run_next=remedy(folder))
    config = read_student_config(folder)
    weights = _read_adapter(folder / ADAPTER_FILE)
    teacher = teacher or _beside(folder, config)
    _check_weights(teacher.path, config, folder)
    base = load_base(teacher, sizes)
    _check_schedule(base, config, folder)
    student = new_student(base, config.rank, config.time_cond_dim, share=True)
    denoiser = unet_denoiser_of(student)
    denoiser.prediction_type = config.prediction_type
    _load(denoiser, weights, folder / ADAPTER_FILE)
    if merged:
        merge(denoiser.unet)
        denoiser.requires_grad_(False)
    return replace(student, name=folder.name, path=folder)


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


def _of_denoiser(denoiser: UNetDenoiser) -> dict[str, nn.Parameter]:
    lora = lora_weights(denoiser.unet)
    if not lora:
        raise ValueError("this model has no LoRA: it is a teacher, or a student that was merged")
    name = f"{denoiser.cond_proj}.weight"
    return {**lora, name: denoiser.unet.get_parameter(name)}


def _read_adapter(path: Path) -> dict[str, Tensor]:
    try:
        weights = {name: value.float() for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        found = f"{path} cannot be read ({first_line(error)})"
        raise UserError(found=found, expected="a whole safetensors file", run_next=remedy(path)) from error
    if wrong := [name for name, value in weights.items() if not value.isfinite().all()]:
        found = f"{path}: {len(wrong)} weights with NaN or infinity, {wrong[0]} among them"
        raise UserError(found=found, expected="finite weights", run_next=remedy(path))
    return weights


def _load(denoiser: UNetDenoiser, weights: Mapping[str, Tensor], where: Path) -> None:
    key = f"{denoiser.cond_proj}.weight"
    own = denoiser.projection.weight
    given = weights.get(key)
    try:
        if given is None or given.shape != own.shape:
            raise KeyError(f"{key} is {None if given is None else tuple(given.shape)}, expected {tuple(own.shape)}")
        load_lora(denoiser.unet, {name: value for name, value in weights.items() if name != key})
    except KeyError as error:
        expected = "the weights that config.json describes"
        raise UserError(found=f"{where}: {error.args[0]}", expected=expected, run_next=remedy(where)) from error
    with torch.no_grad():
        own.copy_(given)

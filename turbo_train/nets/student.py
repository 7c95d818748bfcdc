"""What is a student? A frozen teacher, plus LoRA, plus a projection of the guidance scale; on disk only the additions.

config.json names the teacher by the hash of its weights; adapter.safetensors holds, as float16 and by name, the LoRA
and the guidance projection (`time_embedding.cond_proj.weight`, or VideoCrafter2's `time_cond_proj.weight`). Differs:
the original never saves that projection (T2V-Turbo eaae323), so its students draw another at random in every process;
ours starts at zero, is trained, and is saved.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from turbo_train.errors import UserError
from turbo_train.nets.base import load_base, teacher_at, teacher_sha256
from turbo_train.nets.lora import inject, load_lora, lora_weights, merge
from turbo_train.nets.model import Model
from turbo_train.nets.source import Source
from turbo_train.nets.teacher import REBUILD, read_json
from turbo_train.nets.unet_denoiser import UNetDenoiser, unet_denoiser_of
from turbo_train.nets.videocrafter2.checkpoint import CheckpointConfig

SCHEMA_VERSION = 1
CONFIG_FILE, ADAPTER_FILE = "config.json", "adapter.safetensors"
TIME_COND_DIM = 256  # T2V-Turbo's unet_time_cond_proj_dim (T2V-Turbo eaae323)
RANK = 64  # T2V-Turbo's lora_rank for VideoCrafter2


@dataclass(frozen=True)
class StudentConfig:
    """config.json. guidance_min..guidance_max is the range trained on, guidance_scale the default (lcm_cfg's scale)."""

    teacher: str  # name of the teacher's folder or file; it lies beside the student's folder unless it is named
    teacher_sha256: str
    rank: int
    time_cond_dim: int
    prediction_type: str
    guidance_min: float
    guidance_max: float
    guidance_scale: float
    notes: str = ""
    schema_version: int = SCHEMA_VERSION


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

    LoRA's A is drawn from `seed`; B and the projection are zero. Only trainable_parameters have requires_grad. It is
    in eval mode, which does not stop gradients. Text encoder and VAE are shared with the teacher.
    share: so are the denoiser's weights, for a teacher that is thrown away: merging would change it.
    Differs: both families drop 10 % in their temporal convolutions while in train mode, and the original distils with
    that; here `dropout` replaces it.
    """
    denoiser = unet_denoiser_of(teacher).with_guidance_condition(time_cond_dim, share=share)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject(denoiser.unet, rank, leave_out=(denoiser.cond_proj,))  # the projection is trained whole
    for parameter in _trainable(denoiser).values():
        parameter.requires_grad_(True)
    for module in denoiser.unet.modules():
        if isinstance(module, nn.Dropout) and module.p > 0:  # the temporal convolutions' alone
            module.p = dropout
    name = f"{teacher.name}-student"
    return replace(teacher, name=name, denoiser=denoiser.eval(), timestep_cond_dim=time_cond_dim)


def trainable_parameters(student: Model) -> list[nn.Parameter]:
    """What an optimizer gets: LoRA and the guidance projection, always in the same order."""
    return list(_trainable(unet_denoiser_of(student)).values())


def save_student(
    folder: Path,
    student: Model,
    *,
    guidance_range: tuple[float, float],
    guidance_scale: float,
    notes: str = "",
    teacher: Path | None = None,
) -> StudentConfig:
    """Write config.json and adapter.safetensors of an unmerged student. `teacher` None: where it came from.

    Everything written is a function of the arguments and of the teacher's files: no times, no hosts, no paths.
    """
    denoiser = unet_denoiser_of(student)
    ranks = [len(weight) for name, weight in lora_weights(denoiser.unet).items() if "lora_A" in name]
    if not ranks or student.timestep_cond_dim is None:
        raise ValueError("this model has no LoRA to save: it is a teacher, or a student that was merged")
    name, sha256 = _origin(student) if teacher is None else (teacher.resolve().name, teacher_sha256(teacher))
    config = StudentConfig(
        teacher=name,
        teacher_sha256=sha256,
        rank=max(ranks),
        time_cond_dim=student.timestep_cond_dim,
        prediction_type=denoiser.prediction_type,
        guidance_min=guidance_range[0],
        guidance_max=guidance_range[1],
        guidance_scale=guidance_scale,
        notes=notes,
    )
    folder.mkdir(parents=True, exist_ok=True)
    half = {name: value.detach().cpu().half().contiguous() for name, value in _trainable(denoiser).items()}
    save_file(half, folder / ADAPTER_FILE)
    (folder / CONFIG_FILE).write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
    return config


def _origin(student: Model) -> tuple[str, str]:
    """Name and hash of the teacher of a student that was just made (new_student) or read (load_student)."""
    if (student.folder / CONFIG_FILE).is_file():
        config = read_student_config(student.folder)
        return config.teacher, config.teacher_sha256
    return student.folder.resolve().name, teacher_sha256(student.folder)


def read_student_config(folder: Path) -> StudentConfig:
    """config.json. UserError if it is absent, of another schema, or lacks a field."""
    values = read_json(folder / CONFIG_FILE)
    if values.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            found=f"{folder / CONFIG_FILE}: schema_version {values.get('schema_version')}",
            expected=f"a student's folder of schema_version {SCHEMA_VERSION}",
            run_next=REBUILD,
        )
    try:
        return StudentConfig(**values)
    except TypeError as error:
        found = f"{folder / CONFIG_FILE} with other fields ({error})"
        raise UserError(found=found, expected="the fields of a student", run_next=REBUILD) from error


def load_student(
    folder: Path, teacher: Source | None = None, *, merged: bool = True, sizes: CheckpointConfig | None = None
) -> Model:
    """Read a student and its teacher, by default what lies beside it under the name that config.json gives.

    merged: LoRA is added to the weights, which is faster; otherwise it stays apart, and stays trainable.
    sizes: of a VideoCrafter2 teacher that is not the published one.
    UserError: a missing or broken file; a teacher with other weights than the student was distilled from.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(found=f"no folder {folder}", expected="a student's folder", run_next=REBUILD)
    config = read_student_config(folder)
    weights = _read_adapter(folder / ADAPTER_FILE)
    teacher = teacher or _beside(folder, config)
    base = load_base(teacher, sizes)
    if (found := teacher_sha256(teacher.path)) != config.teacher_sha256:
        raise UserError(
            found=f"a teacher in {teacher.path} with weights {found[:12]}",
            expected=f"the one that {folder} was distilled from, with weights {config.teacher_sha256[:12]}",
            run_next="another teacher's folder, or turbo-train world build to make both anew",
        )
    student = new_student(base, config.rank, config.time_cond_dim, share=True)
    denoiser = unet_denoiser_of(student)
    denoiser.prediction_type = config.prediction_type
    _load(denoiser, weights, folder / ADAPTER_FILE)
    if merged:
        merge(denoiser.unet)
        denoiser.requires_grad_(False)
    return replace(student, name=folder.name, folder=folder)


def _beside(folder: Path, config: StudentConfig) -> Source:
    path = folder.resolve().parent / config.teacher
    if not path.exists():
        raise UserError(
            found=f"no folder or file {path}",
            expected=f"the teacher of {folder}, with weights {config.teacher_sha256[:12]}, beside it",
            run_next=REBUILD,
        )
    return teacher_at(path)


def _trainable(denoiser: UNetDenoiser) -> dict[str, nn.Parameter]:
    name = f"{denoiser.cond_proj}.weight"
    return {**lora_weights(denoiser.unet), name: denoiser.unet.get_parameter(name)}


def _read_adapter(path: Path) -> dict[str, Tensor]:
    try:
        return {name: value.float() for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise UserError(
            found=f"{path} cannot be read ({error})", expected="a whole safetensors file", run_next=REBUILD
        ) from error


def _load(denoiser: UNetDenoiser, weights: Mapping[str, Tensor], where: Path) -> None:
    key = f"{denoiser.cond_proj}.weight"
    own = denoiser.projection.weight
    given = weights.get(key)
    try:
        if given is None or given.shape != own.shape:
            raise KeyError(f"{key} is {None if given is None else tuple(given.shape)}, expected {tuple(own.shape)}")
        load_lora(denoiser.unet, {name: value for name, value in weights.items() if name != key})
    except KeyError as error:
        raise UserError(
            found=f"{where}: {error.args[0]}", expected="the weights that config.json describes", run_next=REBUILD
        ) from error
    with torch.no_grad():
        own.copy_(given)

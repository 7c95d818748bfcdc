"""How does a student reach other programs? As PEFT's folder, as one whole UNet, or as T2V-Turbo's list without names.

peft    adapter_config.json, adapter_model.safetensors, guidance_projection.safetensors (nets/lora_folder.py)
merged  unet.safetensors: every weight of the UNet under its own name, LoRA added in; export.json in its metadata too
list    unet_lora.pt (nets/lora_list.py) and guidance_projection.safetensors

The list adds to a guidance projection W0 which it does not hold, up and down of rank r. A student of ours has trained
that matrix whole: W - W0 has full rank for whatever W0 is drawn, and fits no rank r. So the list's own part for it is
zero, and W lies beside it in the place of W0: W + 0 is exact. A program that draws W0 by itself, as the original does,
loses what the student learned about the guidance scale. Beside each form lies export.json: what it is, how it is read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from turbo_train.checkpoint import write_whole
from turbo_train.errors import UserError, near
from turbo_train.find_student import Found, find_student, teacher_of
from turbo_train.nets.lora_folder import save_peft
from turbo_train.nets.lora_list import list_shapes, save_list
from turbo_train.nets.model import Model
from turbo_train.nets.source import PROJECTION_FILE
from turbo_train.nets.student import load_student, trainable_weights
from turbo_train.nets.student_config import StudentConfig, read_student_config
from turbo_train.nets.unet_denoiser import UNetDenoiser, unet_denoiser_of
from turbo_train.nets.videocrafter2.checkpoint import CheckpointConfig

DTYPES: Mapping[str, torch.dtype] = {"float16": torch.float16, "float32": torch.float32}
RECORD_FILE, UNET_FILE, LIST_FILE = "export.json", "unet.safetensors", "unet_lora.pt"
SCHEMA_VERSION, METADATA = 1, "turbo_train"
READ = {
    "peft": f"load {PROJECTION_FILE} into the teacher's UNet with a guidance condition, then "
    "peft.PeftModel.from_pretrained(unet, folder)",
    "merged": f"{UNET_FILE} in the place of the teacher's UNet: a whole state dict under the network's own names",
    "list": f"load {PROJECTION_FILE} into the teacher's UNet with a guidance condition, then add {LIST_FILE} to all "
    "its layers in registration order; a program that draws that matrix at random makes another model",
}


def export(
    path: Path,
    form: str,
    out: Path | None = None,
    *,
    step: int | None = None,
    teacher: str | None = None,
    dtype: str = "float32",
    sizes: CheckpointConfig | None = None,
) -> Path:
    """Write one form of a student to a folder, whole or not at all; returns that folder. The student stays as it is.

    out: None: exports/NAME-FORM. teacher: a name or a path; None: what lies beside the student, else what its run's
    recipe or its config.json names. dtype: of the numbers; float32 is exact. sizes: as in load_student.
    UserError: an unknown form or dtype, one that cannot hold this student; a folder that is not empty; the loaders'.
    """
    _check_options(form, dtype)
    found = find_student(Path(path), step)
    config = read_student_config(found.folder)
    if config.rank == 0 and form != "merged":
        raise UserError(
            found=f"--format {form} for {found.folder}, whose whole denoiser was trained (rank 0)",
            expected="--format merged: there is no LoRA to write",
        )
    out = Path("exports") / f"{found.name}-{form}" if out is None else Path(out)
    if not out.name.strip("."):
        raise UserError(found=f"--out {out}", expected="a folder with a name of its own: it is put in place whole")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(found=f"{out}, which is there and not empty", expected="a new folder, or an empty one")
    source = teacher_of(found, config, teacher)
    student = load_student(found.folder, source, merged=form == "merged", sizes=sizes)
    about = _about(form, dtype, found, config)

    def write(folder: Path) -> None:
        _WRITERS[form](folder, student, config.rank, DTYPES[dtype], about)
        (folder / RECORD_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        if out.is_dir():
            out.rmdir()  # only an empty one goes

    write_whole(out, write, "nothing of it is left")
    return out


def _write_peft(folder: Path, student: Model, rank: int, dtype: torch.dtype, about: Mapping[str, object]) -> None:
    lora, projection, plain = _apart(student, dtype)
    save_peft(folder, lora, plain, rank, projection)


def _write_list(folder: Path, student: Model, rank: int, dtype: torch.dtype, about: Mapping[str, object]) -> None:
    lora, projection, plain = _apart(student, dtype)
    [(name, up, down)] = list_shapes(plain.unet, rank, [plain.cond_proj])
    nothing = {f"{name}.lora_B.weight": torch.zeros(up), f"{name}.lora_A.weight": torch.zeros(down)}
    save_list(folder / LIST_FILE, lora | nothing, plain.unet)
    save_file({f"{name}.weight": projection}, folder / PROJECTION_FILE)


def _write_merged(folder: Path, student: Model, rank: int, dtype: torch.dtype, about: Mapping[str, object]) -> None:
    state = {
        name: value.detach().to(dtype).contiguous()
        for name, value in unet_denoiser_of(student).unet.state_dict().items()
    }
    if large := [name for name, value in state.items() if not value.isfinite().all()]:
        raise UserError(
            found=f"{len(large)} merged weights that {dtype} cannot hold, {large[0]} among them",
            expected="finite values",
            run_next="--dtype float32",
        )
    said = {METADATA: json.dumps(about)}  # one entry: safetensors writes several in an order drawn at random
    save_file(state, folder / UNET_FILE, metadata=said)


_WRITERS: dict[str, Callable[[Path, Model, int, torch.dtype, Mapping[str, object]], None]] = {
    "peft": _write_peft,
    "merged": _write_merged,
    "list": _write_list,
}
FORMS = tuple(_WRITERS)


def _apart(student: Model, dtype: torch.dtype) -> tuple[dict[str, Tensor], Tensor, UNetDenoiser]:
    """LoRA by name, the guidance projection, and a network without LoRA or weights."""
    denoiser = unet_denoiser_of(student)
    key = f"{denoiser.cond_proj}.weight"
    weights = {name: value.detach().to(dtype).contiguous() for name, value in trainable_weights(student).items()}
    projection = weights.pop(key)
    return weights, projection, denoiser.empty(denoiser.timestep_cond_dim, denoiser.motion_cond_dim)


def _about(form: str, dtype: str, found: Found, config: StudentConfig) -> dict[str, object]:
    """export.json: config.json's facts, the form, and how it is read. No times, no hosts, no paths."""
    facts = asdict(config) | {"schema_version": SCHEMA_VERSION}
    return {"form": form, "dtype": dtype, "student": found.name, **facts, "read": READ[form]}


def _check_options(form: str, dtype: str) -> None:
    if form not in _WRITERS:
        raise UserError(found=f"--format {form!r}{near(form, FORMS)}", expected=f"one of {', '.join(FORMS)}")
    if dtype not in DTYPES:
        raise UserError(found=f"--dtype {dtype!r}{near(dtype, DTYPES)}", expected=f"one of {', '.join(DTYPES)}")
    if form == "list" and dtype != "float32":
        raise UserError(found=f"--dtype {dtype} for --format list", expected="float32, as the published lists are")

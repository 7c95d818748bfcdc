"""Which students do the tests of folders and exports use? Small ones of both families, all weights moved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tiny_models
import tiny_vc2
import torch
from torch import Tensor

from turbo_train.nets.base import load_base
from turbo_train.nets.model import Model
from turbo_train.nets.source import Source
from turbo_train.nets.student import new_student, save_student, trainable_weights
from turbo_train.nets.videocrafter2.checkpoint import CheckpointConfig

# Less than a third of tiny_vc2's layers, each of its kinds: PEFT takes milliseconds for each.
FEW_LAYERS = replace(tiny_vc2.SIZES, unet=replace(tiny_vc2.SIZES.unet, num_res_blocks=1, attention_resolutions=()))
COND = 256  # the width that published students have
SAID: Any = {"guidance_range": (2.0, 9.0), "guidance_scale": 5.0, "notes": "a test"}


@dataclass(frozen=True)
class Family:
    """A teacher's files. context: width of its text features. rank: of its published student (T2V-Turbo eaae323)."""

    source: Source
    sizes: CheckpointConfig | None
    context: int
    rank: int

    def teacher(self) -> Model:
        return load_base(self.source, self.sizes)

    def call(self, model: Model, seed: int = 0) -> Tensor:
        """The denoiser's answer to the same clips and texts; seed decides the guidance embedding."""
        generator = torch.Generator().manual_seed(4)
        x = torch.randn(2, 4, 3, 4, 4, generator=generator)
        context = torch.randn(2, 8, self.context, generator=generator)
        cond = torch.randn(2, COND, generator=torch.Generator().manual_seed(seed))
        given = None if model.timestep_cond_dim is None else cond
        with torch.no_grad():
            return model.denoiser(x, torch.tensor([20, 700]), context, fps=16, timestep_cond_BE=given)

    def trained(self, rank: int, seed: int = 1) -> Model:
        """A student whose trained weights are all moved, to values that float16 holds exactly."""
        student = new_student(self.teacher(), rank, COND)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in trainable_weights(student).values():
                start = parameter if rank == 0 else 0
                moved = start + torch.randn(parameter.shape, generator=generator) * 0.05
                parameter.copy_(moved.half().float())
        return student


def write_family(name: str, folder: Path) -> Family:
    """The teacher of ms (the world's class too) or of vc2, written to `folder`."""
    if name == "ms":
        return Family(Source("diffusers", tiny_models.write_teacher(folder / "teacher")), None, 12, 32)
    path = tiny_vc2.write_checkpoint(folder / "model.ckpt", sizes=FEW_LAYERS)
    return Family(Source("videocrafter2", path), FEW_LAYERS, 32, 64)


def write_student(folder: Path, student: Model) -> Path:
    """Its folder."""
    save_student(folder, student, **SAID)
    return folder

"""How many operations does a model take to make a clip? Counted on the real networks in shape alone, without weights.

text -> context; steps of the denoiser (two rows each for a teacher with guidance); latents -> frames. What is counted:
scorers/vbench/operations.py. The networks are built on the meta device (turbo_train/nets/shaped.py) and called once.
The empty text of a teacher's guidance is encoded once for all clips, and not counted.
Students' LoRA is merged before a run, so that a student's call costs what its teacher's does, but for one small layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from turbo_eval.generators.latent import fitted
from turbo_eval.model_table import ModelEntry
from turbo_eval.scorers.vbench.cost import ClipShape
from turbo_eval.scorers.vbench.operations import Operations
from turbo_train.errors import UserError
from turbo_train.nets.counted import Counted
from turbo_train.nets.model import Model
from turbo_train.nets.shaped import shaped_folder, shaped_modelscope, shaped_videocrafter2
from turbo_train.nets.source import Source
from turbo_train.nets.student import TIME_COND_DIM
from turbo_train.nets.unet_denoiser import unet_denoiser_of


@dataclass(frozen=True)
class Making:
    """Of one clip. text: of all its texts; denoising: of all steps; decode: of all frames. rows: of the denoiser."""

    shape: ClipShape
    rows: int
    text: Operations
    denoising: Operations
    decode: Operations


def making_of(entry: ModelEntry) -> Making:
    """What a clip of the model costs.

    UserError: a model whose sizes nobody knows before its files are there, or a size that it cannot make.
    """
    assert entry.source is not None
    setting = entry.setting
    with torch.device("meta"), torch.no_grad():
        model = fitted(shaped_teacher(entry, entry.source), setting)
        channels, frames, height, width = model.latent_shape
        latents = torch.empty(1, channels, frames, height, width)
        time = torch.zeros(1, dtype=torch.int64)
        conditions = {}
        denoiser = model.denoiser
        if setting.sampler == "consistency":
            denoiser = unet_denoiser_of(model).empty(TIME_COND_DIM, None)
            conditions["timestep_cond_BE"] = torch.empty(1, TIME_COND_DIM)
        with Counted() as text:
            context = model.text([""])
        with Counted() as call:
            denoiser(latents, time, context, fps=model.fps, **conditions)
        with Counted() as frame:
            model.vae.decode(latents[:, :, :1])
    guided = setting.sampler == "ddim" and setting.guidance_scale != 1
    rows = setting.num_steps * (2 if guided else 1)
    pixels = model.vae.factor
    shape = ClipShape(frames, height * pixels, width * pixels, float(setting.fps or model.fps))
    counts = (operations_of(text), operations_of(call) * rows, operations_of(frame) * frames)
    return Making(shape, rows, *counts)


def operations_of(counted: Counted) -> Operations:
    """Of what was computed inside. On the meta device and inside of `torch.no_grad()`, not of inference mode."""
    return Operations(float(counted.flops.total() - counted.convolutions), float(counted.convolutions))


def shaped_teacher(entry: ModelEntry, source: Source) -> Model:
    """The teacher at the root of a model, with the clip format that its recipe states, as nets/shaped.py makes it.

    UserError: as making_of's.
    """
    while source.base is not None:
        source = source.base
    if source.layout == "videocrafter2":
        return shaped_videocrafter2()
    if (source.path / "unet" / "config.json").is_file():
        model = shaped_folder(source.path)
        return model if source.clip is None else replace(model, fps=source.clip.fps)
    if entry.family == "modelscope":
        return shaped_modelscope()
    raise UserError(
        found=f"no {source.path / 'unet' / 'config.json'} for {entry.name}",
        expected="the configurations of its teacher, which say how large its networks are",
        run_next=f"turbo-eval show {entry.name}",
    )

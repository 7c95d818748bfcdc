"""How do files become a model? One way, whatever the layout; nobody else puts networks together.

A student's base is read, used up and forgotten: its tensors become the student's, and a merged LoRA changes them in
memory and never in the file. The published students were not at hand when this was written: that a whole UNet's state
dict may lie under a prefix, in a wrapper or among the other parts of a LatentDiffusion is foreseen, not seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from turbo_train.errors import UserError
from turbo_train.nets.base import load_base
from turbo_train.nets.lora_list import list_rank, merge_list
from turbo_train.nets.model import Model
from turbo_train.nets.projection import base_matrix
from turbo_train.nets.source import Source
from turbo_train.nets.student import TIME_COND_DIM, load_student
from turbo_train.nets.tensor_files import read_list, read_tensors
from turbo_train.nets.unet_denoiser import UNetDenoiser, unet_denoiser_of
from turbo_train.nets.videocrafter2.checkpoint import (
    COND_STAGE,
    FIRST_STAGE,
    SCALE_TABLE,
    TABLES,
    CheckpointConfig,
)


def load_model(source: Source, sizes: CheckpointConfig | None = None) -> Model:
    """The model of a source: float32, in eval mode, without gradients, on the CPU; LoRA is merged.

    sizes: of a VideoCrafter2 checkpoint that is not the published one.
    UserError: files that are missing, cut off, hold code, or do not fit the network key by key; another teacher than
    a student was distilled from; a layout that needs a teacher and has none.
    """
    if source.layout == "student":
        return load_student(source.path, source.base, sizes=sizes).with_clip(source.clip)
    if source.layout == "lora_list":
        return _from_lora_list(source, sizes).with_clip(source.clip)
    if source.layout == "unet":
        return _from_unet(source, sizes).with_clip(source.clip)
    return load_base(source, sizes)


def _from_lora_list(source: Source, sizes: CheckpointConfig | None) -> Model:
    tensors = read_list(source.path)
    base = load_base(_base_of(source), sizes)
    denoiser = unet_denoiser_of(base).with_guidance_condition(TIME_COND_DIM, share=True)
    own = denoiser.projection.weight
    with torch.no_grad():
        own.copy_(base_matrix(source.projection, denoiser.cond_proj, own.shape, source.path.parent))
    merge_list(denoiser.unet, tensors, source.rank or list_rank(tensors), source.path)
    return _student(source, base, denoiser)


def _from_unet(source: Source, sizes: CheckpointConfig | None) -> Model:
    state = read_tensors(source.path)
    base = load_base(_base_of(source), sizes, with_unet=False)
    empty = unet_denoiser_of(base)
    denoiser = empty.with_weights(_unet_part(state, empty), source.path)
    return _student(source, base, denoiser)


def _unet_part(state: Mapping[str, Tensor], denoiser: UNetDenoiser) -> Mapping[str, Tensor]:
    """The entries of the UNet under their own names: without the prefix they share, and without the other networks.

    The first layer's name finds the prefix; a part of it that every entry has, such as `module.`, goes first. What
    belongs to no known part stays, for the strict check to name.
    """
    anchor = next(iter(denoiser.unet.state_dict()))
    prefixes = [key.removesuffix(anchor) for key in state if key == anchor or key.endswith(f".{anchor}")]
    if len(prefixes) != 1 or not prefixes[0]:
        return state
    words = prefixes[0].split(".")  # the last one is empty
    starts = [".".join(words[:count]) + "." for count in range(1, len(words))]
    shared = max((s for s in starts if all(key.startswith(s) for key in state)), key=len, default="")
    beside = (FIRST_STAGE, COND_STAGE.partition(".")[0] + ".")
    own = {key.removeprefix(shared): value for key, value in state.items()}
    return {
        key.removeprefix(prefixes[0].removeprefix(shared)): value
        for key, value in own.items()
        if not key.startswith(beside) and key not in (*TABLES, SCALE_TABLE)
    }


def _student(source: Source, base: Model, denoiser: UNetDenoiser) -> Model:
    return replace(
        base,
        name=Path(source.path).stem,
        denoiser=denoiser.eval().requires_grad_(False),
        timestep_cond_dim=denoiser.timestep_cond_dim,
        motion_cond_dim=denoiser.motion_cond_dim,
        path=Path(source.path),
    )


def _base_of(source: Source) -> Source:
    if source.base is None:
        raise UserError(
            found=f"{source.path} of layout {source.layout} without a teacher",
            expected="the teacher that it is an addition to, or whose autoencoder and text tower it needs",
            run_next="turbo-eval list models",
        )
    return source.base

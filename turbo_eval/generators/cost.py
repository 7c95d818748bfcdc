"""How many operations does a model take to make a clip? Counted on the real networks in shape alone, without weights.

text -> context; steps of the denoiser (two rows each for a teacher with guidance); latents -> frames. What is counted:
scorers/vbench/operations.py. The networks are built on the meta device (turbo_train/nets/shaped.py) and called once.
The empty text of a teacher's guidance is encoded once for all clips, and not counted.
Students' LoRA is merged before a run, so that a student's call costs what its teacher's does, but for one small layer.
Weights are counted where a call uses them: no embedding table, of which it reads a few rows, and no encoder of a VAE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from turbo_eval.generators.latent import fitted
from turbo_eval.model_table import ModelEntry
from turbo_eval.scorers.vbench.cost import ClipShape
from turbo_eval.scorers.vbench.operations import Operations
from turbo_train.errors import UserError
from turbo_train.nets.cached_text import cache_text
from turbo_train.nets.counted import Counted
from turbo_train.nets.fast_path import RANDOM_TINY_VAE, FastPath
from turbo_train.nets.model import Model
from turbo_train.nets.protocols import VideoVAE
from turbo_train.nets.shaped import shaped_folder, shaped_modelscope, shaped_videocrafter2
from turbo_train.nets.source import Source
from turbo_train.nets.student import TIME_COND_DIM
from turbo_train.nets.tiny_vae import random_tiny_vae, shaped_tiny_vae
from turbo_train.nets.unet_denoiser import unet_denoiser_of


@dataclass(frozen=True)
class Weights:
    """How many numbers one call of each network reads. step: of the denoiser, after the first."""

    text: int
    first: int
    step: int
    decode: int


@dataclass(frozen=True)
class Making:
    """Of one clip. text: of its text; first, remaining: steps; decode: of all frames. rows: of the denoiser.

    decode_frames: frames in one call of the decoder.
    """

    shape: ClipShape
    rows: int
    text: Operations
    first: Operations
    remaining: Operations
    decode: Operations
    weights: Weights
    decode_frames: int

    @property
    def denoising(self) -> Operations:
        """Of all steps."""
        return self.first + self.remaining


def making_of(entry: ModelEntry, fast: FastPath | None = None) -> Making:
    """What a clip of the model costs.

    fast: a tiny VAE decodes in the VAE's place, and of cached keys and values of the text only the first step computes.
    UserError: a model whose sizes nobody knows before its files are there, or a size that it cannot make.
    """
    fast = fast or FastPath()
    assert entry.source is not None
    setting = entry.setting
    with torch.device("meta"), torch.no_grad():
        model = fitted(shaped_teacher(entry, entry.source), setting)
        channels, frames, height, width = model.latent_shape
        latents = torch.empty(1, channels, frames, height, width)
        time = torch.zeros(1, dtype=torch.int64)
        conditions = {}
        unet = unet_denoiser_of(model)
        if setting.sampler == "consistency":
            unet = unet.empty(TIME_COND_DIM, None)
            conditions["timestep_cond_BE"] = torch.empty(1, TIME_COND_DIM)
        denoiser = cache_text(unet) if fast.cached_text else unet
        vae = _decoder(model.vae, fast)
        with ReadWeights() as of_text, Counted() as text:
            context = model.text([""])
        with ReadWeights() as of_first, Counted() as first:
            denoiser(latents, time, context, fps=model.fps, **conditions)
        of_step, step = of_first, first
        if fast.cached_text:
            with ReadWeights() as of_step, Counted() as step:
                denoiser(latents, time, context, fps=model.fps, **conditions)
        with ReadWeights() as of_decode, Counted() as frame:
            vae.decode(latents[:, :, :1])
    rows_of_step = 2 if setting.sampler == "ddim" and setting.guidance_scale != 1 else 1
    pixels = model.vae.factor
    return Making(
        ClipShape(frames, height * pixels, width * pixels, float(setting.fps or model.fps)),
        setting.num_steps * rows_of_step,
        operations_of(text),
        operations_of(first) * rows_of_step,
        operations_of(step) * (rows_of_step * (setting.num_steps - 1)),
        operations_of(frame) * frames,
        Weights(of_text.numbers, of_first.numbers, of_step.numbers, of_decode.numbers),
        fast.decode_frames or vae.chunk_frames,
    )


def _decoder(full: VideoVAE, fast: FastPath) -> VideoVAE:
    """What decodes, in shape alone, as quickened.py chooses it. UserError: a tiny VAE that cannot be read."""
    if fast.tiny_vae is None:
        return full
    if fast.tiny_vae == RANDOM_TINY_VAE:
        return random_tiny_vae(full.latent_channels, full.factor)
    return shaped_tiny_vae(fast.tiny_vae)


class ReadWeights(TorchDispatchMode):
    """Counts the numbers of the parameters that are used inside the `with` block, each once; of no embedding table."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._read: dict[int, int] = {}

    @property
    def numbers(self) -> int:
        """In all of them."""
        return sum(self._read.values())

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: tuple[Any, ...] = (), options: Mapping[str, Any] | None = None
    ) -> Any:
        if function.overloadpacket is not torch.ops.aten.embedding:
            for value in tree_leaves((arguments, options)):
                if isinstance(value, nn.Parameter):
                    self._read[value.untyped_storage()._cdata] = value.numel()
        return function(*arguments, **(options or {}))


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

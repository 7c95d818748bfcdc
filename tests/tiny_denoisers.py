"""Which denoisers do the tests of quick inference use? Small random teachers and students of both families."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import tiny_models
import tiny_vc2
import torch
from torch import Tensor

from turbo_train.nets.model import Model
from turbo_train.nets.modelscope import ModelScopeDenoiser
from turbo_train.nets.unet_denoiser import UNetDenoiser
from turbo_train.nets.videocrafter2.denoiser import VideoCrafter2Denoiser
from turbo_train.nets.videocrafter2.unet import VideoCrafterUNet
from turbo_train.sampling.consistency import sample_consistency
from turbo_train.sampling.ddim import sample_ddim

COND, FRAMES, TOKENS = 256, 3, 5
WIDTHS = {"modelscope": 12, "videocrafter2": 32}  # of the text
VC2 = replace(tiny_vc2.SIZES.unet, num_res_blocks=1, attention_resolutions=(1,))
KINDS = tuple(f"{family} {kind}" for family in WIDTHS for kind in ("teacher", "student"))


def denoiser(kind: str) -> UNetDenoiser:
    """One of KINDS: no layer of it is zero, so that every path counts; the same weights every time."""
    return deepcopy(_denoiser(kind))


@cache
def _denoiser(kind: str) -> UNetDenoiser:
    family, role = kind.split()
    time = COND if role == "student" else None
    made: UNetDenoiser
    if family == "modelscope":
        made = ModelScopeDenoiser(tiny_models.unet(), "v_prediction").empty(time, None).to_empty(device="cpu")
    else:
        made = VideoCrafter2Denoiser(VideoCrafterUNet(replace(VC2, time_cond_proj_dim=time)))
    shapes = {name: value.shape for name, value in made.unet.state_dict().items()}
    made.unet.load_state_dict(tiny_vc2.random(shapes, seed=3))
    return made.eval().requires_grad_(False)


def context(kind: str, rows: int = 2, seed: int = 0) -> Tensor:
    """(rows, L, D)."""
    return _draw(rows, TOKENS, WIDTHS[kind.split()[0]], seed=seed)


def call(net: torch.nn.Module, kind: str, context_BLD: Tensor, seed: int = 9) -> Tensor:
    """What the network makes of fixed noise at two times."""
    rows = len(context_BLD)
    cond = _draw(rows, COND, seed=seed + 1) if kind.endswith("student") else None
    t_B = torch.tensor([999, 259] * rows)[:rows]
    out: Tensor = net(_draw(rows, 4, FRAMES, 4, 8, seed=seed), t_B, context_BLD, fps=8, timestep_cond_BE=cond)
    return out


def model(rest: Model, kind: str, net: torch.nn.Module | None = None) -> Model:
    """A whole model around one of KINDS; all else, such as a copy of the VAE, is from another model."""
    made: Any = net or denoiser(kind)
    dim = COND if kind.endswith("student") else None
    return replace(rest, denoiser=made, vae=deepcopy(rest.vae), timestep_cond_dim=dim, latent_shape=(4, FRAMES, 4, 8))


def sample(model: Model, kind: str, context_BLD: Tensor) -> Tensor:
    """Latents of the model's own sampler in two steps, a teacher's with guidance."""
    noise = _draw(len(context_BLD), *model.latent_shape, seed=4).to(context_BLD.device)
    if kind.endswith("teacher"):
        empty = torch.zeros_like(context_BLD[:1])
        return sample_ddim(model, context_BLD, empty, noise, num_steps=2, guidance_scale=4.0, spacing="trailing")
    between = _draw(*noise.shape, seed=5)
    return sample_consistency(model, context_BLD, noise, lambda _: between, num_steps=2, guidance_scale=7.5)


def _draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

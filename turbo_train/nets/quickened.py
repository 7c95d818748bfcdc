"""How does a model become as fast as its options allow? One place applies all of them, in the order that they need.

Text cached > CUDA graph > compiled > the denoiser: what is kept is filled outside of what is recorded, and what is
recorded is what was compiled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from turbo_train.errors import UserError
from turbo_train.nets.around import AroundDenoiser
from turbo_train.nets.cached_text import cache_text
from turbo_train.nets.channels_last import to_channels_last
from turbo_train.nets.compiled import CompiledDenoiser
from turbo_train.nets.cuda_graph import GraphedDenoiser, check_gpu
from turbo_train.nets.fast_path import RANDOM_TINY_VAE, FastPath
from turbo_train.nets.model import Model
from turbo_train.nets.tiny_vae import load_tiny_vae, random_tiny_vae
from turbo_train.nets.unet_denoiser import UNetDenoiser


@dataclass(frozen=True)
class Quickened:
    """The quick model. compiled: the part that was asked to compile; None: nothing was."""

    model: Model
    compiled: CompiledDenoiser | None = None

    @property
    def fell_back(self) -> bool:
        """Whether it runs uncompiled though it was to be compiled; known after the first call."""
        return self.compiled is not None and bool(self.compiled.note)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of it; complete after the first call."""
        return (self.compiled.note,) if self.compiled and self.fell_back else ()

    @property
    def compile_s(self) -> float | None:
        """Seconds that compiling has taken so far; None: nothing was to be compiled."""
        return self.compiled.compile_s if self.compiled else None


def quicken(model: Model, fast: FastPath, device: str) -> Quickened:
    """The model with these options, on the device where its networks lie. The networks themselves may change.

    For inference: the result has no gradients. UserError: CUDA graphs without a GPU, decode_frames below 1, a tiny VAE
    that is not for this model (`load_tiny_vae`). TypeError: a denoiser that is none of the two families'.
    """
    if fast.cuda_graphs:
        check_gpu(device)
    if fast.decode_frames is not None and fast.decode_frames < 1:
        raise UserError(found=f"{fast.decode_frames} frames decoded at a time", expected="1 or more")
    if fast.tiny_vae is not None:
        full, random = model.vae, fast.tiny_vae == RANDOM_TINY_VAE
        tiny = random_tiny_vae(full.latent_channels, full.factor) if random else load_tiny_vae(fast.tiny_vae, full)
        if isinstance(model.vae, nn.Module):
            like = next(model.vae.parameters())
            tiny.to(device=like.device, dtype=like.dtype)
        model = replace(model, vae=tiny)
    if fast.decode_frames is not None:
        model.vae.chunk_frames = fast.decode_frames
    if fast.channels_last:
        for part in (model.denoiser, model.vae):
            if isinstance(part, nn.Module):
                to_channels_last(part)
    if fast.compile == "off" and not fast.cuda_graphs and not fast.cached_text:
        return Quickened(model)
    if not isinstance(model.denoiser, UNetDenoiser):
        raise TypeError(f"{fast} for a denoiser of class {type(model.denoiser).__name__}")
    denoiser: UNetDenoiser | AroundDenoiser = model.denoiser
    compiled = None
    if fast.compile != "off":
        denoiser = compiled = CompiledDenoiser(denoiser, model.denoiser.unet, fast.compile)
    if fast.cuda_graphs:
        denoiser = GraphedDenoiser(denoiser)
    if fast.cached_text:
        denoiser = cache_text(denoiser)
    return Quickened(replace(model, denoiser=denoiser), compiled)

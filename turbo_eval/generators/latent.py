"""How does a latent diffusion model, teacher or student, make the clips of a suite?

text -> context; noise of (seed, prompt_id, sample_index) -> sampler -> latents -> VAE -> uint8 frames.
A forward pass always has `batch` clips: a short last group is filled up by repeating its last clip, so a clip does
not depend on which others were still missing. Texts are encoded one at a time for the same reason; the empty text of a
teacher's guidance, which is the same for all clips, once.
Differs: T2V-Turbo's script truncates when it writes 8-bit frames; here they are rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from turbo_eval.generators.base import Frames
from turbo_eval.records import Prompt
from turbo_eval.timing.record import DECODE, FIRST, REMAINING, TEXT
from turbo_train.errors import UserError
from turbo_train.nets.load import load_model
from turbo_train.nets.model import Model
from turbo_train.nets.protocols import Denoiser
from turbo_train.nets.source import Source
from turbo_train.sampling.consistency import sample_consistency
from turbo_train.sampling.ddim import sample_ddim
from turbo_train.sampling.noise import StepNoise, clip_noise
from turbo_train.sampling.setting import Setting

Mark = Callable[[str | None], None]
"""Told which stage of timing/record.py begins now; None: none."""


class CountedDenoiser:
    """A denoiser that counts the rows it is given: the price of a clip that no machine changes."""

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self.prediction_type = denoiser.prediction_type
        self.rows = 0

    def __call__(
        self,
        x_BCTHW: Tensor,
        t_B: Tensor,
        context_BLD: Tensor,
        *,
        fps: int | Tensor | None = None,
        timestep_cond_BE: Tensor | None = None,
        motion_cond_BE: Tensor | None = None,
    ) -> Tensor:
        """The wrapped denoiser's output, unchanged."""
        self.rows += len(x_BCTHW)
        return self.denoiser(
            x_BCTHW, t_B, context_BLD, fps=fps, timestep_cond_BE=timestep_cond_BE, motion_cond_BE=motion_cond_BE
        )


class LatentGenerator:
    """A loaded model with its way of sampling."""

    def __init__(self, model: Model, setting: Setting, batch: int = 4) -> None:
        self.denoiser = CountedDenoiser(model.denoiser)
        self.model = replace(model, denoiser=self.denoiser)
        self.setting = setting
        self._batch = batch
        self._offload = False

    @property
    def fps(self) -> float:
        """Frames per second of its clips, as their files say; the network may be told another rate (cond_fps)."""
        return float(self.setting.fps or self.model.fps)

    @property
    def batch(self) -> int:
        """Clips in one forward pass."""
        return self._batch

    @property
    def clip_bytes(self) -> int:
        """Bytes of a clip's 8-bit frames before they are encoded."""
        _, frames, height, width = self.model.latent_shape
        return frames * height * width * self.model.vae.factor**2 * 3

    def relieve(self, step: int) -> str:
        """Make a forward pass need less memory; step 1: decode fewer frames at a time, 2: only the VAE on the device.

        Clips may change by rounding where the decoder's kernels depend on the number of frames. Returns what was done.
        """
        vae = self.model.vae
        if step == 1:
            vae.chunk_frames = max(1, vae.chunk_frames // 4)
            return f"decoding {vae.chunk_frames} frames at a time"
        vae.chunk_frames, self._offload = 1, True
        return "decoding 1 frame at a time, with the other networks off the device"

    def one_at_a_time(self) -> LatentGenerator:
        """The same model with one clip in a forward pass, for latency; it counts its calls separately."""
        bare = replace(self.model, denoiser=self.denoiser.denoiser)
        return LatentGenerator(bare, self.setting, batch=1)

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[Prompt], sample_indices: Sequence[int], seed: int, mark: Mark = lambda stage: None
    ) -> list[Frames]:
        """One (T, H, W, 3) uint8 array for each pair of prompt and sample index, in order.

        mark: told of the stages of each forward pass as they begin, and of the end of the last.
        """
        wanted = list(zip(prompts, sample_indices, strict=True))
        frames: list[Frames] = []
        for start in range(0, len(wanted), self._batch):
            group = wanted[start : start + self._batch]
            padded = group + group[-1:] * (self._batch - len(group))
            frames += self._forward(padded, seed, mark)[: len(group)]
        return frames

    def _forward(self, group: Sequence[tuple[Prompt, int]], seed: int, mark: Mark) -> list[Frames]:
        mark(TEXT)
        context = torch.cat([self.model.text([prompt.prompt]) for prompt, _ in group])
        empty = self._empty_text if self.setting.sampler == "ddim" else context
        mark(FIRST)
        noise = self._noise(group, seed, "initial").to(context.device)
        z_0 = self._sample(
            context, empty, noise, lambda k: self._noise(group, seed, f"step-{k}").to(context.device), mark
        )
        mark(DECODE)
        with self._off_device(context.device):
            frames = to_uint8(self.model.vae.decode(z_0))
        mark(None)
        return list(frames)

    @cached_property
    def _empty_text(self) -> Tensor:
        return self.model.text([""])

    def _sample(self, context: Tensor, empty: Tensor, noise: Tensor, step_noise: StepNoise, mark: Mark) -> Tensor:
        chosen = self.setting
        steps, scale = chosen.num_steps, chosen.guidance_scale

        def on_step(done: int, z: Tensor) -> None:
            if done == 1 and steps > 1:
                mark(REMAINING)

        if chosen.sampler == "ddim":
            return sample_ddim(
                self.model,
                context,
                empty,
                noise,
                num_steps=steps,
                guidance_scale=scale,
                eta=chosen.eta,
                step_noise=step_noise,
                on_step=on_step,
            )
        return sample_consistency(
            self.model,
            context,
            noise,
            step_noise,
            num_steps=steps,
            guidance_scale=scale,
            origin_steps=chosen.origin_steps,
            motion_gs=chosen.motion_gs,
            motion_percentage=chosen.motion_percentage,
            on_step=on_step,
        )

    @contextmanager
    def _off_device(self, device: torch.device) -> Iterator[None]:
        """Inside, the denoiser and the text tower are in main memory, if `relieve` has asked for it."""
        parts = [part for part in (self.denoiser.denoiser, self.model.text) if isinstance(part, nn.Module)]
        for part in parts if self._offload else ():
            part.to("cpu")
        try:
            yield
        finally:
            for part in parts if self._offload else ():
                part.to(device)

    def _noise(self, group: Sequence[tuple[Prompt, int]], seed: int, purpose: str) -> Tensor:
        shape = self.model.latent_shape
        return torch.stack([clip_noise(seed, prompt.prompt_id, index, shape, purpose) for prompt, index in group])


def to_uint8(frames_BTCHW: Tensor) -> Frames:
    """(B, T, 3, H, W) in [-1, 1], values outside clamped, to (B, T, H, W, 3) uint8."""
    levels = (frames_BTCHW.float().clamp(-1, 1) + 1) * 127.5
    array: Frames = levels.round().to(torch.uint8).permute(0, 1, 3, 4, 2).contiguous().cpu().numpy()
    return np.ascontiguousarray(array)


def load_generator(source: Source, setting: Setting, batch: int, device: str = "cpu") -> LatentGenerator:
    """Load a model's files onto a device (device.py), its networks in the setting's dtype, for the setting's clip.

    UserError: files that are not what they should be, or a size that the network cannot make.
    """
    model = fitted(load_model(source), setting)
    return LatentGenerator(model.to(device, getattr(torch, setting.dtype)), setting, batch)


def fitted(model: Model, setting: Setting) -> Model:
    """The model for clips of another length, size and frame rate. UserError for sizes that it cannot make."""
    channels, frames, height, width = model.latent_shape
    if setting.size is not None:
        cell = model.vae.factor
        multiple = cell * model.size_multiple
        if any(side % multiple for side in setting.size):
            raise UserError(
                found=f"a size of {setting.size[0]}x{setting.size[1]} pixels for {model.name}",
                expected=f"height and width that are multiples of {multiple}",
                run_next="the same command with another --size",
            )
        height, width = (side // cell for side in setting.size)
    fps = setting.cond_fps or setting.fps or model.fps
    return replace(model, latent_shape=(channels, setting.frames or frames, height, width), fps=fps)

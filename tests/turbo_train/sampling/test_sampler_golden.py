"""Do our UNet, autoencoder and sampler together make the clips of the original pipeline?"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import fill
from torch import Tensor
from torch.testing import assert_close

from turbo_train.diffusion.schedule import make_schedule
from turbo_train.diffusion.solver import videocrafter2_x0_scale
from turbo_train.nets.model import Model
from turbo_train.nets.vae import FrameVAE
from turbo_train.nets.videocrafter2.denoiser import VideoCrafter2Denoiser
from turbo_train.nets.videocrafter2.unet import UNetConfig, VideoCrafterUNet
from turbo_train.nets.videocrafter2.vae import VAEConfig, vae_of
from turbo_train.sampling.consistency import sample_consistency
from turbo_train.sampling.noise import StepNoise

META, EXPECTED = fill.load("sampler")
INPUTS = fill.inputs_of(META)
VAE_META, _ = fill.load("vc2_vae")


class Traced:
    """The network, with a record of what it was given and what it said.

    It is given the recorded guidance embedding, whose float32 sines of up to 7,500 radians no other formula repeats
    (README of the goldens); how far apart the two are is asserted.
    """

    prediction_type = "epsilon"

    def __init__(self, denoiser: VideoCrafter2Denoiser) -> None:
        self.denoiser = denoiser
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        self.motions: list[Tensor] = []
        self.times: list[int] = []
        self.fps: set[Any] = set()

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
        recorded = EXPECTED["timestep_cond"].expand(len(x_BCTHW), -1)
        assert timestep_cond_BE is not None
        assert_close(timestep_cond_BE, recorded, atol=5e-4, rtol=0)
        out = self.denoiser(
            x_BCTHW, t_B, context_BLD, fps=fps, timestep_cond_BE=recorded, motion_cond_BE=motion_cond_BE
        )
        self.inputs.append(x_BCTHW)
        self.outputs.append(out)
        self.motions += [] if motion_cond_BE is None else [motion_cond_BE]
        self.times.append(int(t_B[0]))
        self.fps.add(fps)
        return out


def pipeline(label: str, fps: int) -> tuple[Model, Traced]:
    """The fixture's networks, filled by the recipe, as a student. Its x0_scale plays no part."""
    config, known = META["models"][label]["config"], {field.name for field in fields(UNetConfig)}
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in config.items() if name in known}
    unet = VideoCrafterUNet(UNetConfig(**values)).eval()
    fill.check_layout(META, label, unet)
    assert fill.fill_module(unet) == []
    weights = fill.filled_state_dict(VAE_META["models"]["vae"]["state_dict"])
    traced = Traced(VideoCrafter2Denoiser(unet))
    model = Model(
        name=label,
        denoiser=traced,
        text=lambda texts: torch.zeros(len(texts), 7, 32),
        vae=FrameVAE(vae_of(weights, VAEConfig((32, 64, 128, 128)))),
        schedule=make_schedule(),
        latent_shape=(4, 4, 4, 8),
        fps=fps,
        timestep_cond_dim=unet.config.time_cond_proj_dim,
        motion_cond_dim=unet.config.motion_cond_proj_dim,
        path=Path(),
        x0_scale=videocrafter2_x0_scale(),
    )
    return model, traced


def drawn(name: str) -> StepNoise:
    return lambda k: INPUTS[f"{name}_{k - 1}"]


def says(name: str, actual: Tensor) -> None:
    fill.compare(META, EXPECTED, name, actual)


def test_four_steps_from_noise_to_frames() -> None:
    model, traced = pipeline("unet", fps=16)
    z = sample_consistency(
        model, INPUTS["prompt_embeds"], INPUTS["latents"], drawn("noise"), num_steps=4, guidance_scale=7.5
    )
    assert traced.times == META["timesteps"] and traced.fps == {16}
    for step in range(4):
        says(f"steps4/input_{step}", traced.inputs[step])
        says(f"steps4/model_output_{step}", traced.outputs[step])
    says("steps4/latents", z)
    with torch.no_grad():
        says("steps4/video", model.vae.decode(z).transpose(1, 2))


@pytest.mark.parametrize(("name", "fps", "steps", "origin"), [("steps1", 16, 1, 50), ("steps4_origin200", 8, 4, 200)])
def test_one_step_and_the_grid_of_the_second_version(name: str, fps: int, steps: int, origin: int) -> None:
    model, traced = pipeline("unet", fps)
    z = sample_consistency(
        model,
        INPUTS["prompt_embeds"],
        INPUTS["latents"],
        drawn("noise"),
        num_steps=steps,
        guidance_scale=7.5,
        origin_steps=origin,
    )
    assert len(traced.inputs) == steps and traced.fps == {fps}
    says(f"{name}/latents", z)


def test_the_motion_condition_holds_in_the_first_part_of_time() -> None:
    model, traced = pipeline("unet_motion", fps=8)
    z = sample_consistency(
        model,
        INPUTS["prompt_embeds"],
        INPUTS["latents"],
        drawn("noise"),
        num_steps=4,
        guidance_scale=7.5,
        origin_steps=200,
        motion_gs=0.05,
        motion_percentage=0.3,
    )
    assert traced.times == [999, 749, 499, 249]
    says("motion/cond", torch.cat(traced.motions))
    says("motion/latents", z)


def test_two_clips_of_each_of_two_prompts() -> None:
    model, _ = pipeline("unet", fps=16)
    context = INPUTS["prompt_embeds_2"].repeat_interleave(2, dim=0)
    z = sample_consistency(model, context, INPUTS["latents_2"], drawn("noise2"), num_steps=2, guidance_scale=7.5)
    says("batch/latents", z)


def test_our_own_guidance_embedding_moves_the_clip_by_less_than_rounding_to_8_bits_does() -> None:
    model, traced = pipeline("unet", fps=16)
    z = sample_consistency(
        replace(model, denoiser=traced.denoiser),
        INPUTS["prompt_embeds"],
        INPUTS["latents"],
        drawn("noise"),
        num_steps=4,
        guidance_scale=7.5,
    )
    with torch.no_grad():
        frames = model.vae.decode(z).transpose(1, 2)
    assert_close(frames, EXPECTED["steps4/video"], atol=1 / 255, rtol=0)
    assert_close(z, EXPECTED["steps4/latents"], atol=2e-3, rtol=0)

"""How is the world's VAE made? diffusers' AutoencoderKL on single frames, factor 4, 4 latent channels.

Loss: mean squared error + 0.05 L1 + KL weight x KL. After training the latents are standardised per channel
exactly, by folding mean and deviation into quant_conv and post_quant_conv, so scaling_factor is 1.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from turbo_train.world.build.clips import make_clips, signed
from turbo_train.world.build.fit import Fit, Report, fit
from turbo_train.world.scene import SIZE_PX

KL_WEIGHT = 1e-6
BATCH_FRAMES = 24
PLAN = Fit(steps=3200, lr=1.5e-3, seed=11, ema=0.998)
TRAIN_SEED, HELD_SEED = 1001, 1002


def new_vae() -> AutoencoderKL:
    """An untrained VAE: 32x32x3 frames to 8x8x4 latents."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(24, 48, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIZE_PX,
        scaling_factor=1.0,
    )


def vae_loss(vae: AutoencoderKL, frames: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """Reconstruction and KL of (N, 3, H, W) frames in [-1, 1]."""
    posterior = vae.encode(frames).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=generator)
    decoded = vae.decode(posterior.mean + posterior.std * noise).sample
    mse = F.mse_loss(decoded, frames)
    kl = posterior.kl().mean()
    return {"loss": mse + 0.05 * F.l1_loss(decoded, frames) + KL_WEIGHT * kl, "mse": mse, "kl": kl}


@torch.no_grad()
def encode(vae: AutoencoderKL, frames_BTCHW: Tensor, chunk: int = 32) -> Tensor:
    """(B, T, 3, H, W) uint8 clips to (B, 4, T, h, w) latents: the posterior means, scaled."""
    scale = float(vae.config["scaling_factor"])
    out = []
    for part in frames_BTCHW.split(chunk):
        mean = vae.encode(signed(part.flatten(0, 1))).latent_dist.mean * scale
        out.append(mean.unflatten(0, part.shape[:2]).transpose(1, 2).contiguous())
    return torch.cat(out)


@torch.no_grad()
def standardise(vae: AutoencoderKL, frames: Tensor) -> None:
    """Fold the latents' mean and deviation per channel into the 1x1 convolutions around them, in place."""
    latents = torch.cat([vae.encode(signed(part)).latent_dist.mean for part in frames.split(256)])
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    before, after = vae.quant_conv, vae.post_quant_conv
    channels = len(mean)
    before.weight[:channels] /= std[:, None, None, None]
    before.bias[:channels] = (before.bias[:channels] - mean) / std
    before.bias[channels:] -= 2 * std.log()
    after.bias += (after.weight[:, :, 0, 0] * mean).sum(1)
    after.weight *= std[None, :, None, None]


@torch.no_grad()
def psnr_db(vae: AutoencoderKL, frames: Tensor) -> float:
    """Peak signal-to-noise ratio of reconstructions from the posterior mean, in dB (peak 2, range [-1, 1])."""
    error = 0.0
    for part in frames.split(256):
        x = signed(part)
        error += float(F.mse_loss(vae.decode(vae.encode(x).latent_dist.mean).sample.clamp(-1, 1), x)) * len(part)
    return 10 * math.log10(4 / (error / len(frames)))


def train_vae(folder: Path, report: Report | None = None, plan: Fit = PLAN) -> tuple[AutoencoderKL, dict[str, float]]:
    """Train, standardise and measure. Returns the VAE and its figures."""
    torch.manual_seed(plan.seed)
    vae = new_vae()
    frames = make_clips(4000, TRAIN_SEED, pair_share=0.3).frames_BTCHW.flatten(0, 1)

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rows = torch.randint(len(frames), (BATCH_FRAMES,), generator=generator)
        return vae_loss(vae, signed(frames[rows]), generator)

    fit(plan, vae, loss, folder, report)
    standardise(vae, frames[:4096])
    held = make_clips(100, HELD_SEED, split="test").frames_BTCHW.flatten(0, 1)
    return vae, {"psnr_db": psnr_db(vae, held)}

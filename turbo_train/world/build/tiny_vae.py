"""How is the world's tiny VAE made? diffusers' AutoencoderTiny, distilled from the world's own VAE frame by frame.

TAESD's way (github.com/madebyollin/taesd): the decoder learns what the full decoder makes of latents, the encoder what
the full encoder makes of frames. Decoder: mean squared error + 0.05 L1 against the full decoder, + 0.1 x squared error
against the true frames; half of the latents with noise, since a denoiser's latents are not quite an encoder's.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.nn import functional as F

from turbo_train.nets.vae import FrameVAE
from turbo_train.world.build.clips import make_clips, signed
from turbo_train.world.build.fit import Fit, Report, fit

NOISE_STD = 0.1  # of latents, whose own is 1
TRUE_FRAMES_WEIGHT = 0.1
BATCH_FRAMES = 24
WIDTH = 16
PLAN = Fit(steps=4000, lr=5e-3, seed=51, ema=0.998)
CLIPS, TRAIN_SEED, HELD_SEED = 3000, 5001, 5002


def new_tiny_vae() -> AutoencoderTiny:
    """An untrained one: 32x32x3 frames to 8x8x4 latents and back, 16 channels wide where TAESD has 64."""
    return AutoencoderTiny(
        encoder_block_out_channels=(WIDTH,) * 3,
        decoder_block_out_channels=(WIDTH,) * 3,
        num_encoder_blocks=(1, 1, 1),
        num_decoder_blocks=(3, 3, 1),
    )


def tiny_vae_loss(
    tiny: AutoencoderTiny, full: FrameVAE, frames: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Decoder and encoder against the full VAE's on (N, 3, H, W) frames in [-1, 1]."""
    with torch.no_grad():
        z = full.encode(frames[:, None])[:, :, 0]
        noisy = torch.rand(len(z), 1, 1, 1, generator=generator) < 0.5
        noise = NOISE_STD * torch.randn(z.shape, generator=generator)
        given = torch.where(noisy, z + noise, z)
        wanted = full.decode(given[:, :, None])[:, 0]
    decoded, encoded = tiny.decode(given).sample, tiny.encode(frames).latents
    mse, latent_mse = F.mse_loss(decoded, wanted), F.mse_loss(encoded, z)
    true = TRUE_FRAMES_WEIGHT * F.mse_loss(decoded, frames)
    loss = mse + 0.05 * F.l1_loss(decoded, wanted) + true + latent_mse
    return {"loss": loss, "mse": mse, "latent_mse": latent_mse}


@torch.no_grad()
def figures_of(tiny: AutoencoderTiny, full: FrameVAE, frames: Tensor) -> dict[str, float]:
    """On (N, 3, H, W) uint8 frames: the decoder against the full one and the true frames in dB, latents' error."""
    sums = torch.zeros(4, dtype=torch.float64)
    for part in frames.split(256):
        x = signed(part)
        z = full.encode(x[:, None])
        wanted, decoded = full.decode(z)[:, 0].clamp(-1, 1), tiny.decode(z[:, :, 0]).sample.clamp(-1, 1)
        pairs = ((decoded, wanted), (decoded, x), (wanted, x), (tiny.encode(x).latents, z[:, :, 0]))
        sums += torch.stack([F.mse_loss(*pair) for pair in pairs]).double() * len(part)
    errors = (sums / len(frames)).tolist()
    names = ("psnr_full_decoder_db", "psnr_db", "full_decoder_psnr_db")
    return {name: 10 * math.log10(4 / e) for name, e in zip(names, errors[:3], strict=True)} | {"latent_mse": errors[3]}


def train_tiny_vae(
    full: FrameVAE, folder: Path, report: Report | None = None, plan: Fit = PLAN
) -> tuple[AutoencoderTiny, dict[str, float]]:
    """Train on rendered frames, round to float16 as it is written, and measure on held-out captions' clips."""
    torch.manual_seed(plan.seed)
    tiny = new_tiny_vae()
    frames = make_clips(CLIPS, TRAIN_SEED, pair_share=0.3).frames_BTCHW.flatten(0, 1)

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        rows = torch.randint(len(frames), (BATCH_FRAMES,), generator=generator)
        return tiny_vae_loss(tiny, full, signed(frames[rows]), generator)

    fit(plan, tiny, loss, folder, report)
    tiny.half().float()
    held = make_clips(100, HELD_SEED, split="test").frames_BTCHW.flatten(0, 1)
    return tiny, figures_of(tiny, full, held)

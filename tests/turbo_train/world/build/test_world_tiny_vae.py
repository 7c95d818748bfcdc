"""Does the tiny VAE learn from the full one, which stays what it is, and the same from the same seed?"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderTiny

from turbo_train.errors import UserError
from turbo_train.nets.vae import FrameVAE
from turbo_train.world.build.clips import make_clips, signed
from turbo_train.world.build.stages import build
from turbo_train.world.build.tiny_vae import figures_of, new_tiny_vae, tiny_vae_loss
from turbo_train.world.build.vae import new_vae


@pytest.fixture
def full() -> FrameVAE:
    torch.manual_seed(0)
    return FrameVAE(new_vae().eval().requires_grad_(False))


def fresh() -> AutoencoderTiny:
    torch.manual_seed(1)
    return new_tiny_vae()


def test_a_few_steps_bring_both_halves_nearer_to_the_full_vae(full: FrameVAE) -> None:
    frames = signed(make_clips(1, seed=5).frames_BTCHW.flatten(0, 1))
    tiny = fresh()
    optimizer = torch.optim.AdamW(tiny.parameters(), lr=5e-3)
    terms = []
    for _ in range(15):
        terms.append(tiny_vae_loss(tiny, full, frames, torch.Generator().manual_seed(3)))
        optimizer.zero_grad()
        terms[-1]["loss"].backward()
        assert all(weight.grad is not None and weight.grad.any() for weight in tiny.parameters())
        optimizer.step()
    assert terms[-1]["mse"] < 0.5 * terms[0]["mse"] and terms[-1]["latent_mse"] < 0.9 * terms[0]["latent_mse"]
    assert all(weight.grad is None for weight in full.parameters())
    again = tiny_vae_loss(fresh(), full, frames, torch.Generator().manual_seed(3))
    assert all(torch.equal(again[name], value) for name, value in terms[0].items())


def test_figures_are_of_frames_as_they_are_shown(full: FrameVAE) -> None:
    """Against the full decoder's frames and the true ones, both cut to [-1, 1]; peak 2."""
    frames, tiny = make_clips(1, seed=6).frames_BTCHW.flatten(0, 1)[:4], fresh().eval()
    figures = figures_of(tiny, full, frames)
    x = signed(frames)
    z = full.encode(x[:, None])
    with torch.no_grad():
        shown, wanted = tiny.decode(z[:, :, 0]).sample.clamp(-1, 1), full.decode(z)[:, 0].clamp(-1, 1)
    for name, pair in {
        "psnr_full_decoder_db": (shown, wanted),
        "psnr_db": (shown, x),
        "full_decoder_psnr_db": (wanted, x),
    }.items():
        error = float((pair[0] - pair[1]).square().mean())
        assert figures[name] == pytest.approx(10 * math.log10(4 / error), abs=1e-3)


def test_the_stage_wants_a_teacher(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*teacher; expected a teacher's folder"):
        build(tmp_path, tmp_path / "work", ["tiny_vae"])

"""Does folding the latents' mean and deviation into the VAE leave its pictures alone?"""

from __future__ import annotations

import torch

from turbo_train.world.build.clips import make_clips, signed
from turbo_train.world.build.vae import encode, new_vae, standardise


def test_standardised_latents_have_mean_0_and_deviation_1_and_decode_to_the_same_frames() -> None:
    torch.manual_seed(0)
    vae = new_vae().eval()
    clips = make_clips(4, seed=5)
    frames = clips.frames_BTCHW.flatten(0, 1)
    with torch.no_grad():
        before = vae.encode(signed(frames)).latent_dist
        shown = vae.decode(before.mean).sample
        standardise(vae, frames)
        after = vae.encode(signed(frames)).latent_dist
        torch.testing.assert_close(vae.decode(after.mean).sample, shown, atol=2e-4, rtol=1e-4)
    assert after.mean.mean((0, 2, 3)).abs().max() < 1e-3
    torch.testing.assert_close(after.mean.std((0, 2, 3)), torch.ones(4), atol=1e-3, rtol=0)
    # the posterior's width is scaled with its mean
    torch.testing.assert_close(
        after.std / before.std,
        (after.std / before.std).mean((0, 2, 3), keepdim=True).expand_as(after.std),
        atol=1e-3,
        rtol=1e-3,
    )
    assert encode(vae, clips.frames_BTCHW).shape == (4, 4, 8, 8, 8)

"""Are frames encoded and decoded in chunks whose size changes the memory and nothing else?"""

from __future__ import annotations

import pytest
import tiny_models
import torch
from torch import Tensor
from torch.testing import assert_close

from turbo_train.nets.vae import FrameVAE

FRAMES = torch.rand(2, 5, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def vae() -> FrameVAE:
    torch.manual_seed(1)
    return FrameVAE(tiny_models.vae().eval().requires_grad_(False))


@pytest.mark.parametrize(("chunk", "calls"), [(16, [10]), (4, [4, 4, 2]), (1, [1] * 10)])
def test_no_more_frames_are_in_flight_than_were_asked_for(vae: FrameVAE, chunk: int, calls: list[int]) -> None:
    z, frames, seen = vae.encode(FRAMES), vae.decode(vae.encode(FRAMES)), []
    vae.chunk_frames = chunk
    for part in (vae.vae.encoder, vae.vae.decoder):
        part.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    assert_close(vae.encode(FRAMES), z, atol=1e-5, rtol=0)
    assert seen == calls
    seen.clear()
    assert_close(vae.decode(z), frames, atol=1e-5, rtol=0)
    assert seen == calls


def test_a_sample_is_drawn_from_the_posterior_and_does_not_depend_on_the_chunks(vae: FrameVAE) -> None:
    def sample(chunk: int) -> Tensor:
        vae.chunk_frames = chunk
        return vae.encode(FRAMES, torch.Generator().manual_seed(7))

    whole = sample(16)
    for chunk in (1, 3, 10):
        assert_close(sample(chunk), whole, atol=1e-5, rtol=0)
    posterior = vae.vae.encode(FRAMES.flatten(0, 1)).latent_dist
    direct = posterior.sample(torch.Generator().manual_seed(7)) * vae.scaling_factor
    assert_close(whole, direct.unflatten(0, (2, 5)).transpose(1, 2), atol=1e-5, rtol=0)


def test_latents_are_float32_and_scaled_in_it_whatever_the_network_is_in(vae: FrameVAE) -> None:
    vae.to(torch.bfloat16)
    vae.scaling_factor = 0.18215  # which bfloat16 does not hold
    posterior = vae.vae.encode(FRAMES.flatten(0, 1).bfloat16()).latent_dist
    z = vae.encode(FRAMES)
    assert z.dtype == torch.float32
    assert torch.equal(z, (posterior.mean.float() * 0.18215).unflatten(0, (2, 5)).transpose(1, 2))
    assert vae.encode(FRAMES, torch.Generator().manual_seed(0)).dtype == torch.float32
    assert vae.double().encode(FRAMES.double()).dtype == torch.float64


@pytest.mark.parametrize("chunk", [0, -1])
def test_chunks_of_no_frames_are_refused(vae: FrameVAE, chunk: int) -> None:
    vae.chunk_frames = chunk
    for call, given in ((vae.encode, FRAMES), (vae.decode, torch.zeros(1, 4, 2, 4, 4))):
        with pytest.raises(ValueError, match=f"chunk_frames {chunk}, not 1 or more"):
            call(given)

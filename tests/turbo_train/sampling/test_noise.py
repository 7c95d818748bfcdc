"""Does a clip's noise depend on what names the clip, and on nothing else?"""

from __future__ import annotations

import torch

from turbo_train.sampling.noise import clip_noise

SHAPE = (4, 3, 4, 4)


def test_same_name_same_noise_whatever_the_global_generator_did() -> None:
    first = clip_noise(1, "p-1", 0, SHAPE, "initial")
    torch.manual_seed(77)
    torch.randn(5)
    assert torch.equal(first, clip_noise(1, "p-1", 0, SHAPE, "initial"))
    assert first.shape == SHAPE and first.dtype == torch.float32 and first.device.type == "cpu"


def test_every_part_of_the_name_counts() -> None:
    names = [(1, "p-1", 0, "initial"), (2, "p-1", 0, "initial"), (1, "p-2", 0, "initial")]
    names += [(1, "p-1", 1, "initial"), (1, "p-1", 0, "step-1"), (1, "p-1,0", 0, "initial")]
    noises = [clip_noise(seed, prompt, index, SHAPE, purpose) for seed, prompt, index, purpose in names]
    for i, noise in enumerate(noises):
        assert not any(torch.equal(noise, other) for other in noises[i + 1 :])


def test_noise_is_standard_normal() -> None:
    noise = torch.stack([clip_noise(0, "p", k, (4, 16, 16), "initial") for k in range(200)])  # 204,800 numbers
    assert abs(float(noise.mean())) < 4 / 204_800**0.5
    assert abs(float(noise.var()) - 1) < 4 * (2 / 204_800) ** 0.5


def test_noise_of_one_clip_is_this_forever() -> None:
    first = clip_noise(0, "world-000", 0, (8,), "initial")
    assert [round(float(value), 4) for value in first[:3]] == [-0.919, 0.3249, -0.3909]

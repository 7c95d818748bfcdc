"""Is float16 compared as torch compares it, and is VBench's bias on a GPU kept?"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders import consistency, cosine, style_cosines
from turbo_eval.scorers.vbench.encoders.half import half_cosine


def test_every_step_is_torchs():
    torch.manual_seed(0)
    a, b = (torch.randn(500, 512).add(0.5).half() for _ in range(2))
    official = F.cosine_similarity(F.normalize(a, dim=-1, p=2), F.normalize(b, dim=-1, p=2))
    ours = half_cosine(a.numpy(), b.numpy())
    apart = np.abs(ours - official.double().numpy())
    # Sums in another order may round a product or a length the other way: one step of float16 below 1 at most.
    assert apart.max() <= 2**-11
    assert (apart > 0).mean() < 0.05


def test_a_style_is_a_logit_in_float16_by_a_hundred():
    torch.manual_seed(0)
    pictures, text = torch.randn(200, 512).half(), torch.randn(512).half()
    official = (
        torch.tensor(100.0) * (pictures / pictures.norm(dim=1, keepdim=True)) @ (text / text.norm(dim=0, keepdim=True))
    )
    ours = style_cosines(pictures.numpy(), text.numpy())
    np.testing.assert_allclose(ours, official.double().numpy() / 100, rtol=2**-9, atol=1e-7)
    np.testing.assert_allclose((ours * 100).astype(np.float16), ours * 100, rtol=1e-12)  # a number of float16
    # which is the cosine, as far as float16 goes
    assert np.abs(ours - cosine(pictures.float().numpy(), text.float().numpy())).max() < 1e-3


@pytest.mark.parametrize("alike", [0.90, 0.95, 0.99])
def test_similarities_come_out_larger_by_two_ten_thousandths(alike):
    """Trap 4 of the specification: +1.8e-4 to +2.1e-4 on a CPU, up to 1.1e-3; CLIP's features are 5 to 20 long."""
    rng, count = np.random.default_rng(0), 2000
    cosines = alike + rng.uniform(-0.005, 0.005, (count, 1))  # not one value, which might lie on float16's grid
    a = rng.normal(size=(count, 512))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b = rng.normal(size=a.shape)
    b -= (b * a).sum(1, keepdims=True) * a
    b *= np.sqrt(1 - cosines**2) / np.linalg.norm(b, axis=1, keepdims=True)
    length_a, length_b = rng.uniform(5, 20, (2, count, 1))
    first, second = (length_a * a).astype(np.float16), (length_b * (cosines * a + b)).astype(np.float16)
    bias = half_cosine(first, second) - cosines[:, 0]
    assert 1.5e-4 < bias.mean() < 2.4e-4  # the mean's own deviation is 7e-6
    assert 8e-4 < np.abs(bias).max() < 1.2e-3
    assert np.abs((cosine(first, second) - cosines[:, 0]).mean()) < 1e-6


def test_consistency_keeps_it():
    features = np.random.default_rng(1).normal(1, 0.3, (16, 512))
    whole, half = consistency(features.astype(np.float32)), consistency(features.astype(np.float16))
    assert half != whole
    assert half == pytest.approx(whole, abs=1e-3)
    # with float16 features, but compared in float32, there is next to no difference
    assert consistency(features.astype(np.float16).astype(np.float32)) == pytest.approx(whole, abs=1e-6)

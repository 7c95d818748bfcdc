"""Are linear layers on a CPU torch's own, whichever way they take?"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from turbo_eval.scorers.vbench.encoders.linear import Linear, linear, quicken


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(40, 24), (3, 50, 24), (1, 1, 24), (2, 0, 24), (2, 3, 16, 24)])
def test_linear_is_torchs(shape):
    x, weight, bias = randn(*shape), randn(10, 24, seed=1), randn(10, seed=2)
    for b in (bias, None):
        torch.testing.assert_close(linear(x, weight, b), F.linear(x, weight, b), rtol=1e-5, atol=1e-5)


def test_linear_of_a_view_neither_copies_its_result_nor_minds_strides():
    x, weight = randn(24, 64).t(), randn(30, 24, seed=1)[:10]
    out = linear(x, weight)
    assert out.is_contiguous()
    torch.testing.assert_close(out, F.linear(x, weight), rtol=1e-5, atol=1e-5)


def test_other_precisions_are_torchs_bit_for_bit():
    x, weight = randn(64, 24), randn(10, 24, seed=1)
    assert torch.equal(linear(x.double(), weight.double()), F.linear(x.double(), weight.double()))
    with torch.autocast("cpu", torch.bfloat16):
        out = linear(x, weight)
        assert out.dtype == torch.bfloat16 and torch.equal(out, F.linear(x, weight))


def test_quicken_changes_plain_linear_layers_and_nothing_else():
    net = nn.Sequential(nn.Linear(24, 10), nn.LayerNorm(10), nn.MultiheadAttention(10, 2))
    x = randn(64, 24)
    want, names = net[0](x), set(net.state_dict())
    inner = type(net[2].out_proj)
    assert quicken(net) is net and type(net[0]) is Linear and type(net[2].out_proj) is inner
    assert set(net.state_dict()) == names
    torch.testing.assert_close(net[0](x), want, rtol=1e-5, atol=1e-5)

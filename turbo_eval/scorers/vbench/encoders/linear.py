"""How do a vision transformer's matrix products run fastest on a CPU, exactly? As 1x1 convolutions.

The products are the same float32 ones; only the order of their sums differs. torch gives matrix products to MKL and
convolutions to oneDNN, and on AMD's cores oneDNN is about twice as fast (EPYC with AVX-512, torch 2.14, 3136 rows of
1024 to 4096 on two threads: 179 against 372 GFLOP/s; attention among 3136 tokens, 64 a head: 1.6 times as fast as
scaled_dot_product_attention); where MKL is as fast nothing is lost. On other devices, in other precisions and under
autocast these are torch's own functions.
Shape legend: I and O features in and out, R rows, B clips or images, H heads, L tokens, D width of a head.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

N = TypeVar("N", bound=nn.Module)
FEWEST_ROWS = 32  # with fewer, oneDNN's reordering of the weights costs more than it saves
FEWEST_TOKENS = 1024  # with fewer, torch's attention is as fast
TOKENS_AT_ONCE = 392  # that ask: their row of scores against 3136 tokens is 5 MB, and stays in the cache


def linear(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """x W^T + b of (..., I), as torch's own."""
    if x.numel() < FEWEST_ROWS * x.shape[-1] or not _gains(x):
        return F.linear(x, weight_OI, bias_O)
    # (1, R, 1, I) read as channels last: neither contiguous rows nor the result are copied. F.conv2d would not do:
    # on one thread it takes a batch of one to MKL again.
    rows = x.contiguous().view(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
    kernel = weight_OI[:, :, None, None]
    out = torch.mkldnn_convolution(rows, kernel, bias_O, (0, 0), (1, 1), (1, 1), 1)
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def attention(query_BHLD: Tensor, key_BHLD: Tensor, value_BHLD: Tensor) -> Tensor:
    """softmax(q k^T / sqrt D) v, (B, H, L, D), as torch's own; no L x L matrix is kept."""
    batch, heads, tokens, width = query_BHLD.shape
    asked = key_BHLD.shape[2]
    if tokens < FEWEST_TOKENS or asked < FEWEST_TOKENS or torch.is_grad_enabled() or not _gains(query_BHLD):
        return F.scaled_dot_product_attention(query_BHLD, key_BHLD, value_BHLD)
    mixed_BLHD = query_BHLD.new_empty(batch, tokens, heads, width)
    shares = query_BHLD.new_empty(TOKENS_AT_ONCE, asked)
    for image in range(batch):
        for head in range(heads):
            key_LD = key_BHLD[image, head] * width**-0.5
            value_DL = value_BHLD[image, head].t().contiguous()
            for first in range(0, tokens, TOKENS_AT_ONCE):
                scores = linear(query_BHLD[image, head, first : first + TOKENS_AT_ONCE], key_LD)
                torch.softmax(scores, -1, out=shares[: len(scores)])
                mixed_BLHD[image, first : first + TOKENS_AT_ONCE, head] = linear(shares[: len(scores)], value_DL)
    return mixed_BLHD.transpose(1, 2)


def _gains(x: Tensor) -> bool:
    kind = x.device.type
    exact = kind == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled(kind)
    return exact and torch.backends.mkldnn.is_available()


class Linear(nn.Linear):
    """torch's linear layer by the faster way."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        return linear(input, self.weight, self.bias)


def quicken(net: N) -> N:
    """Let every plain linear layer of a network, whoever wrote it, take the faster way. Returns the network."""
    for module in net.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
    return net

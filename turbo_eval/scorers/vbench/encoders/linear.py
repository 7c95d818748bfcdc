"""How do a vision transformer's matrix products run fastest on a CPU, exactly? As 1x1 convolutions.

The products are the same float32 ones; only the order of their sums differs. torch gives matrix products to MKL and
convolutions to oneDNN, and on AMD's cores oneDNN is about twice as fast (EPYC with AVX-512, torch 2.14, 3136 rows of
1024 to 4096 on two threads: 179 against 372 GFLOP/s); where MKL is as fast nothing is lost. On other devices, in other
precisions and under autocast this is torch's own function. Attention is left to torch: by the same way it was 1.4 times
as fast on an idle machine, and ten times as slow beside another process (reports/LOG.md).
Shape legend: I and O features in and out, R rows, B clips or images, L tokens, D width.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

N = TypeVar("N", bound=nn.Module)
MLP_ROWS = 784  # tokens in one pass of an MLP on a CPU: results larger than 32 MB are slow to allocate
FEWEST_ROWS = 32  # with fewer, oneDNN's reordering of the weights costs more than it saves


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


def _gains(x: Tensor) -> bool:
    kind = x.device.type
    exact = kind == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled(kind)
    return exact and torch.backends.mkldnn.is_available()


class Linear(nn.Linear):
    """torch's linear layer by the faster way."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., I) to (..., O)."""
        return linear(input, self.weight, self.bias)


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        at_once = MLP_ROWS if x_BLD.device.type == "cpu" else x_BLD.numel()
        parts = [self.fc2(F.gelu(self.fc1(part))) for part in x_BLD.flatten(0, 1).split(at_once)]
        return torch.cat(parts).view_as(x_BLD)


def quicken(net: N) -> N:
    """Let every plain linear layer of a network, whoever wrote it, take the faster way. Returns the network."""
    for module in net.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
    return net

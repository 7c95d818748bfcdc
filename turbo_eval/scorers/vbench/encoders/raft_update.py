"""How does RAFT come from what its encoders saw to a flow? Twenty updates (arXiv 2003.12039, section 3.3) and one flow.

A recurrent unit convolves [hidden, context, motion], of which the context never changes. A convolution is linear in its
input, so its context part is computed once: conv([h, c, m]) = conv_hm([h, m]) + conv_c(c). The update and the reset
gate read the same input and are one convolution. In real numbers nothing changes; the order of the sums does.
Shape legend: N pairs, C channels, H W padded pixels, h w an eighth of them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.optical_flow._utils import make_coords_grid, upsample_flow


class Gate:
    """One or more convolutions of the same [hidden, context, motion], with the context's part in hand."""

    def __init__(self, convolutions: list[nn.Conv2d], hidden: int, context_NChw: Tensor) -> None:
        weight = torch.cat([convolution.weight for convolution in convolutions])
        bias = torch.cat([convolution.bias for convolution in convolutions if convolution.bias is not None])
        end = hidden + context_NChw.shape[1]
        self.padding = convolutions[0].padding
        self.weight = torch.cat([weight[:, :hidden], weight[:, end:]], 1)
        self.constant = F.conv2d(context_NChw, weight[:, hidden:end].contiguous(), bias, padding=self.padding)

    def __call__(self, hidden_and_motion: Tensor) -> Tensor:
        """What the convolutions give, one after the other in the channels."""
        return self.constant + F.conv2d(hidden_and_motion, self.weight, padding=self.padding)


class RecurrentUnit:
    """torchvision's ConvGRU on one context."""

    def __init__(self, unit: Any, hidden: int, context_NChw: Tensor) -> None:
        self.gates = Gate([unit.convz, unit.convr], hidden, context_NChw)
        self.candidate = Gate([unit.convq], hidden, context_NChw)

    def __call__(self, hidden: Tensor, motion: Tensor) -> Tensor:
        """The next hidden state."""
        update, reset = torch.sigmoid(self.gates(torch.cat([hidden, motion], 1))).chunk(2, 1)
        new = torch.tanh(self.candidate(torch.cat([reset * hidden, motion], 1)))
        return (1 - update) * hidden + update * new


def refine(net: Any, first_NChw: Tensor, second_NChw: Tensor, context_NChw: Tensor, updates: int) -> Tensor:
    """(N, 2, H, W) flow from the encoders' outputs: the last of the flows that torchvision's RAFT returns."""
    net.corr_block.build_pyramid(first_NChw, second_NChw)
    size = net.update_block.hidden_state_size
    hidden, context = context_NChw.split([size, context_NChw.shape[1] - size], 1)
    hidden, context = torch.tanh(hidden), torch.relu(context)
    block = net.update_block.recurrent_block
    units = [RecurrentUnit(unit, size, context) for unit in (block.convgru1, block.convgru2)]
    start = make_coords_grid(len(first_NChw), *first_NChw.shape[-2:]).to(first_NChw.device)
    there = start
    for _ in range(updates):
        seen = net.corr_block.index_pyramid(centroids_coords=there)
        motion = net.update_block.motion_encoder(there - start, seen)
        for unit in units:
            hidden = unit(hidden, motion)
        there = there + net.update_block.flow_head(hidden)
    net.corr_block.corr_pyramid = []
    flow: Tensor = upsample_flow(flow=there - start, up_mask=net.mask_predictor(hidden))
    return flow

"""In which order do a network's convolutions keep their numbers? Channels last, as matrix units want them."""

from __future__ import annotations

import torch
from torch import nn


def to_channels_last(net: nn.Module) -> None:
    """Weights of two-dimensional convolutions in that order, in place; activations follow. Values stay what they are.

    Three-dimensional ones keep theirs: of the UNets here they are convolutions over time alone, between permutations.
    """
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.to(memory_format=torch.channels_last)

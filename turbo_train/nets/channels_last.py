"""In which order do a network's convolutions keep their numbers? Channels last, as matrix units want them."""

from __future__ import annotations

import torch
from torch import nn

_ORDERS = {nn.Conv2d: torch.channels_last, nn.Conv3d: torch.channels_last_3d}


def to_channels_last(net: nn.Module) -> None:
    """Weights of its convolutions in that order, in place; activations follow. Values stay what they are.

    Frames in a row, each with its channels last, are a clip with its channels last: between convolutions over pictures
    and those over time nothing has to be moved.
    """
    for layer in net.modules():
        for kind, order in _ORDERS.items():
            if isinstance(layer, kind):
                layer.to(memory_format=order)

"""How does a network learn with less memory? Its layers are computed again in the backward pass, not kept.

Gradient checkpointing (Chen et al. 2016, "Training deep nets with sublinear memory cost"). diffusers has none for
UNet3DConditionModel (0.42.1), so the layers' own classes are changed, which moves neither a name nor a weight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Recomputed(nn.Module):
    """A layer whose forward pass keeps only its inputs while gradients are wanted."""

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the layer computes."""
        if not torch.is_grad_enabled():
            return super().forward(*inputs, **options)
        return checkpoint(super().forward, *inputs, use_reentrant=False, **options)


def recompute(net: nn.Module, kinds: tuple[type[nn.Module], ...]) -> None:
    """Make every layer of these kinds a Recomputed one, in place; again changes nothing."""
    for kind in {type(layer) for layer in net.modules() if isinstance(layer, kinds)}:
        if not issubclass(kind, Recomputed):
            changed = type(kind.__name__, (Recomputed, kind), {})
            for layer in net.modules():
                if type(layer) is kind:
                    layer.__class__ = changed


def is_recomputed(net: nn.Module) -> bool:
    """Whether `recompute` was called on it."""
    return any(isinstance(layer, Recomputed) for layer in net.modules())

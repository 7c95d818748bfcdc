"""How does a network on the meta device take a published checkpoint's weights? All or none, and none is copied."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from turbo_train.nets.key_layout import check_layout


def take_weights(net: nn.Module, state: Mapping[str, Tensor], where: Path, expected: str) -> None:
    """Make the tensors the network's own, in the precision they have.

    expected: which weights these should be. UserError: keys missing or unknown, or other shapes.
    """
    check_layout(state, {key: value.shape for key, value in net.state_dict().items()}, where, expected)
    net.load_state_dict(state, assign=True)

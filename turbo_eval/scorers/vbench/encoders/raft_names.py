"""What does RAFT's published file call the parameters of torchvision's RAFT? The same parts have other names.

The encoders' names are AMT's feature encoder's too, which is RAFT's small one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

# torchvision's name -> the published one; the first rule that fits ends the search of its column
ENCODER = (
    (r"^convnormrelu\.0", "conv1"),
    (r"^convnormrelu\.1", "norm1"),
    (r"^conv\.", "conv2."),
    (r"convnormrelu(\d)\.0", r"conv\1"),
    (r"convnormrelu(\d)\.1", r"norm\1"),
)
UPDATE = (
    (r"^motion_encoder\.conv(corr|flow)(\d)\.0", lambda found: f"encoder.conv{found[1][0]}{found[2]}"),
    (r"^motion_encoder\.conv\.0", "encoder.conv"),
    (r"^recurrent_block\.convgru(\d)\.conv([zrq])", r"gru.conv\2\1"),
)
MASK = ((r"^convrelu\.0", "0"), (r"^conv\.", "2."))
PARTS = {
    "feature_encoder": ("fnet", ENCODER),
    "context_encoder": ("cnet", ENCODER),
    "update_block": ("update_block", UPDATE),
    "mask_predictor": ("update_block.mask", MASK),
}
# A third name of the projection's norm: the original holds it twice, and reads the projection's own later.
TWICE = re.compile(r"^(module\.cnet\.layer\d\.0)\.downsample\.1\.")


def encoder_name(name: str) -> str:
    """The published name of a parameter of torchvision's FeatureEncoder."""
    for pattern, published in ENCODER:
        name, changed = re.subn(pattern, published, name)
        if changed:
            break
    return name


def raft_name(name: str) -> str:
    """The published name of a parameter of torchvision's RAFT."""
    part, _, rest = name.partition(".")
    published, rules = PARTS[part]
    for pattern, other in rules:
        rest, changed = re.subn(pattern, other, rest)
        if changed:
            break
    return f"module.{published}.{rest}"


def raft_layout(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """What a published file of RAFT holds, from the state dict of torchvision's."""
    names = {raft_name(key): value.shape for key, value in state.items()}
    twice = {TWICE.sub(r"\1.norm3.", name): shape for name, shape in names.items() if TWICE.match(name)}
    return names | twice

"""How did T2V-Turbo publish its LoRA? As a list without names, which only the order of the layers can undo.

unet_lora.pt is [up_0, down_0, up_1, down_1, ...] over the layers in registration order (T2V-Turbo eaae323); 575 layers,
1,150 tensors for VideoCrafter2 and for ModelScope. down is PEFT's lora_A, up its lora_B, the scale is 1. Nothing in the
file says which layer an entry is of, so every length and shape is checked here before any is believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from turbo_train.errors import UserError
from turbo_train.nets.lora import lora_targets


def list_shapes(net: nn.Module, rank: int) -> list[tuple[str, torch.Size, torch.Size]]:
    """(layer, shape of up, shape of down) of the layers that take LoRA, in order; rank at most min(in, out)."""
    shapes = []
    for name, most in lora_targets(net).items():
        weight = net.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        r, kernel = min(rank, most), weight.shape[2:]
        shapes.append(
            (name, torch.Size((weight.shape[0], r, *(1 for _ in kernel))), torch.Size((r, *weight.shape[1:])))
        )
    return shapes


def from_list(
    tensors: Sequence[Tensor], net: nn.Module, rank: int, where: Path | str = "the list"
) -> dict[str, Tensor]:
    """`<layer>.lora_A.weight` and `<layer>.lora_B.weight` for nets.lora.load_lora. The network has no LoRA yet.

    UserError: another length, or an entry of another shape than its layer's.
    """
    shapes = list_shapes(net, rank)
    if len(tensors) != 2 * len(shapes):
        raise UserError(
            found=f"{len(tensors)} tensors in {where}",
            expected=f"{2 * len(shapes)}: up and down of {len(shapes)} layers",
            run_next="the published list of this network (the order has no names to go by)",
        )
    weights = {}
    for index, (name, up, down) in enumerate(shapes):
        for offset, part, shape in ((0, "lora_B", up), (1, "lora_A", down)):
            tensor = tensors[2 * index + offset]
            if tensor.shape != shape:
                raise UserError(
                    found=f"entry {2 * index + offset} of {where} has shape {tuple(tensor.shape)}",
                    expected=f"{tuple(shape)}, the {'up' if part == 'lora_B' else 'down'} of {name} at rank {rank}",
                    run_next="the published list of this network, or another rank",
                )
            weights[f"{name}.{part}.weight"] = tensor.detach()
    return weights


def to_list(weights: Mapping[str, Tensor], net: nn.Module) -> list[Tensor]:
    """The list of LoRA weights by name, in the order that `from_list` reads. KeyError for a layer that is missing."""
    return [weights[f"{name}.{part}.weight"] for name in lora_targets(net) for part in ("lora_B", "lora_A")]

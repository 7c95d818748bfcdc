"""How did T2V-Turbo publish its LoRA? As a list without names, which only the order of the layers can undo.

unet_lora.pt is [up_0, down_0, up_1, down_1, ...] over the layers in registration order (T2V-Turbo eaae323); 575 layers,
1,150 tensors for VideoCrafter2 and for ModelScope. down is PEFT's lora_A, up its lora_B, the scale is 1. Nothing in the
file says which layer an entry is of, so every length and shape is checked here before any is believed.

ModelScope has an older list too, of 125 layers: with diffusers up to 0.26 and without PEFT most layers were of classes
that the original's injection did not know, and only these were left (seen on diffusers 0.24): the layers into and out
of the temporal transformers, the guidance projection, conv_in and conv_out, and the temporal convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from diffusers import UNet3DConditionModel
from torch import Tensor, nn

from turbo_train.errors import UserError
from turbo_train.nets.lora import inject, load_lora, lora_targets, merge

_OLDER_LAYER = re.compile(
    r"conv_in|conv_out|time_embedding\.cond_proj|(transformer_in|.+\.temp_attentions\.\d+)\.proj_(in|out)"
)


def list_layers(net: nn.Module) -> list[list[str]]:
    """The layers of each list that was ever written for this network, in the list's order; today's comes first."""
    layers = list(lora_targets(net))
    if not isinstance(net, UNet3DConditionModel):
        return [layers]
    older = [n for n in layers if _OLDER_LAYER.fullmatch(n) or isinstance(net.get_submodule(n), nn.Conv3d)]
    return [layers, older]


def list_shapes(
    net: nn.Module, rank: int, layers: Iterable[str] | None = None
) -> list[tuple[str, torch.Size, torch.Size]]:
    """(layer, shape of up, shape of down), in order; rank at most min(in, out). None: every layer that takes LoRA."""
    most = lora_targets(net)
    shapes = []
    for name in most if layers is None else layers:
        weight = net.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        r, kernel = min(rank, most[name]), weight.shape[2:]
        shapes.append(
            (name, torch.Size((weight.shape[0], r, *(1 for _ in kernel))), torch.Size((r, *weight.shape[1:])))
        )
    return shapes


def list_rank(tensors: Sequence[Tensor]) -> int:
    """The largest rank in a list: LoRA's own, since only layers that are narrower have less."""
    return max((len(down) for down in tensors[1::2] if down.ndim), default=1)


def from_list(
    tensors: Sequence[Tensor], net: nn.Module, rank: int, where: Path | str = "the list"
) -> dict[str, Tensor]:
    """`<layer>.lora_A.weight` and `<layer>.lora_B.weight` for nets.lora.load_lora. The network has no LoRA yet.

    The length decides which list it is. UserError: another length, an entry of another shape than its layer's, or one
    that is not of finite floating-point numbers.
    """
    known = {2 * len(layers): layers for layers in list_layers(net)}
    if len(tensors) not in known:
        lengths = " or ".join(f"{length}: up and down of {length // 2} layers" for length in known)
        raise UserError(
            found=f"{len(tensors)} tensors in {where}",
            expected=lengths,
            run_next="the published list of this network (the order has no names to go by)",
        )
    weights = {}
    for index, (name, up, down) in enumerate(list_shapes(net, rank, known[len(tensors)])):
        for offset, part, shape in ((0, "lora_B", up), (1, "lora_A", down)):
            tensor = tensors[2 * index + offset]
            if tensor.shape != shape:
                raise UserError(
                    found=f"entry {2 * index + offset} of {where} has shape {tuple(tensor.shape)}",
                    expected=f"{tuple(shape)}, the {'up' if part == 'lora_B' else 'down'} of {name} at rank {rank}",
                    run_next="the published list of this network, or another rank",
                )
            if not _sound(tensor):
                raise UserError(
                    found=f"entry {2 * index + offset} of {where} ({name}) with NaN, infinity or whole numbers",
                    expected="finite floating-point weights",
                    run_next="the published list of this network",
                )
            weights[f"{name}.{part}.weight"] = tensor.detach()
    return weights


def to_list(weights: Mapping[str, Tensor], net: nn.Module) -> list[Tensor]:
    """The list of LoRA weights by name, in the order that `from_list` reads; the number of weights decides which list.

    For exports; nothing else writes lists. A student of ours has no LoRA on the guidance projection, which it trains
    whole: no list can hold it, since the difference from any start has a larger rank; turbo_train.export gives it a
    part of zeros and lays the matrix beside the list.
    UserError: a layer without LoRA, one that is not the network's, or a shape that `from_list` would not read.
    """
    layers = min(list_layers(net), key=lambda layers: abs(2 * len(layers) - len(weights)))
    rank = max((len(value) for name, value in weights.items() if ".lora_A." in name and value.ndim), default=1)
    shapes = {
        f"{name}.{part}.weight": shape
        for name, up, down in list_shapes(net, rank, layers)
        for part, shape in (("lora_B", up), ("lora_A", down))
    }
    wrong = [f"none for {name}" for name in shapes if name not in weights]
    wrong += [f"{name} of no such layer" for name in weights if name not in shapes]
    wrong += [
        f"{name} of shape {tuple(weights[name].shape)}, not {tuple(shape)}"
        for name, shape in shapes.items()
        if name in weights and weights[name].shape != shape
    ]
    if wrong:
        raise UserError(
            found=f"LoRA weights that no list can hold: {', '.join(wrong[:3])}{', ...' if len(wrong) > 3 else ''}",
            expected=f"up and down of all {len(layers)} layers: a list has no names, and leaves none out",
            run_next="PEFT's folder, or the merged UNet as a whole state dict",
        )
    return [weights[name] for name in shapes]


def save_list(path: Path, weights: Mapping[str, Tensor], net: nn.Module) -> None:
    """Write unet_lora.pt as the original does: a plain list of float32 tensors on the CPU. UserError: `to_list`'s."""
    tensors = [tensor.detach().float().cpu().contiguous() for tensor in to_list(weights, net)]
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, path)


def merge_list(net: nn.Module, tensors: Sequence[Tensor], rank: int, where: Path | str = "the list") -> None:
    """Add a list to the weights of a network that has every layer of it, in place. UserError: `from_list`'s."""
    weights = from_list(tensors, net, rank, where)
    layers = {name.rpartition(".lora_")[0] for name in weights}
    inject(net, rank, leave_out=lora_targets(net).keys() - layers)
    load_lora(net, weights)
    merge(net)


def _sound(tensor: Tensor) -> bool:
    """Finite numbers with a fraction; on the meta device there are none to look at."""
    return tensor.is_floating_point() and (tensor.is_meta or bool(tensor.isfinite().all()))

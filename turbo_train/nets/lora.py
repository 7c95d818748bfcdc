"""Which weights does a student learn? Low-rank additions to linear and convolution layers, by PEFT.

W + B A with A (r, in, k...) and B (out, r, 1...) (Hu et al. 2021, section 4.1). As in T2V-Turbo (code at
eaae323): every Linear, Conv2d and Conv3d, r = min(rank, in, out), scale 1 (alpha = r per layer). Differs: no dropout
on the addition; and A starts as PEFT draws it, uniform in +-1/sqrt(fan-in), where the original draws it from a normal
distribution of standard deviation 1/r. B starts at zero in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

ADAPTER = "default"
_KINDS = (nn.Linear, nn.Conv2d, nn.Conv3d)


def lora_targets(net: nn.Module, leave_out: Iterable[str] = ()) -> dict[str, int]:
    """Name -> largest useful rank min(in, out) of the layers that take LoRA, in registration order.

    ValueError: it has LoRA already, whose own layers are not to be counted.
    """
    if any(isinstance(module, LoraLayer) for module in net.modules()):
        raise ValueError("the network has LoRA already: merge it first")
    left_out = set(leave_out)
    return {
        name: min(module.weight.shape[:2])
        for name, module in net.named_modules()
        if isinstance(module, _KINDS) and name not in left_out
    }


def lora_config(targets: Mapping[str, int], rank: int) -> LoraConfig:
    """PEFT's configuration for the layers of `lora_targets`: r = min(rank, in, out) and alpha = r in each, no other."""
    # Anchored patterns: PEFT matches plain names as suffixes, and "conv_in" would catch "block.conv_in" too.
    small = {f"^{re.escape(name)}": most for name, most in targets.items() if most < rank}
    return LoraConfig(
        r=rank,
        lora_alpha=rank,
        lora_dropout=0.0,
        bias="none",
        target_modules="|".join(re.escape(name) for name in targets),
        rank_pattern=small,
        alpha_pattern=dict(small),
    )


def inject(net: nn.Module, rank: int, leave_out: Iterable[str] = ()) -> None:
    """Add LoRA of zeros' effect to `net` in place; then only its A and B have requires_grad.

    ValueError: `lora_targets`'s.
    """
    targets = lora_targets(net, leave_out)
    inject_adapter_in_model(lora_config(targets, rank), net, ADAPTER)
    injected = [name for name, _ in _layers(net)]
    assert injected == list(targets), "PEFT injected other layers than it was given"


def lora_weights(net: nn.Module) -> dict[str, nn.Parameter]:
    """`<layer>.lora_A.weight` and `<layer>.lora_B.weight`, in registration order: PEFT's names without its prefix."""
    return {
        f"{name}.{part}.weight": getattr(layer, part)[ADAPTER].weight
        for name, layer in _layers(net)
        for part in ("lora_A", "lora_B")
    }


@torch.no_grad()
def load_lora(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy weights into an injected `net`. KeyError, which lists them, if a name or shape is not exactly the net's."""
    own = lora_weights(net)
    want = {name: tuple(value.shape) for name, value in own.items()}
    have = {name: tuple(value.shape) for name, value in weights.items()}
    wrong = sorted(name for name in want.keys() | have.keys() if want.get(name) != have.get(name))
    if wrong:
        shown = ", ".join(f"{name} {have.get(name, 'missing')}" for name in wrong[:3])
        raise KeyError(f"{len(wrong)} LoRA weights are missing, unknown or of another shape: {shown}")
    for name, value in weights.items():
        own[name].copy_(value)


def merge(net: nn.Module) -> None:
    """Add B A to the weights and put the plain layers back, in place."""
    for name, layer in list(_layers(net)):
        layer.merge(safe_merge=False)
        parent, _, child = name.rpartition(".")
        setattr(net.get_submodule(parent), child, layer.get_base_layer())
    if hasattr(net, "peft_config"):
        del net.peft_config


def _layers(net: nn.Module) -> Iterator[tuple[str, LoraLayer]]:
    return ((name, module) for name, module in net.named_modules() if isinstance(module, LoraLayer))

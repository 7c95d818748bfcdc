"""How does a student's LoRA reach other programs? As PEFT's folder: adapter_config.json, adapter_model.safetensors.

`peft.PeftModel.from_pretrained(net, folder)` reads it, for a `net` that has the guidance projection. That projection
is no LoRA in a student of ours: it lies beside the adapter in guidance_projection.safetensors, under its name in the
network, and has to be loaded into the network first. For exports; nothing else writes this folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor, nn

from turbo_train.nets.lora import lora_config, lora_targets
from turbo_train.nets.source import PROJECTION_FILE
from turbo_train.nets.unet_denoiser import UNetDenoiser

WEIGHTS_FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."


def peft_config(weights: Mapping[str, Tensor], net: nn.Module, rank: int) -> LoraConfig:
    """PEFT's configuration for LoRA weights by name (`<layer>.lora_A.weight`); `net` has no LoRA. Names match exactly.

    ValueError: weights of a layer that the network lacks, half a layer, or another rank than min(rank, in, out).
    """
    layers = {name.rpartition(".lora_")[0] for name in weights}
    targets = {name: most for name, most in lora_targets(net).items() if name in layers}
    want = {f"{name}.lora_{part}.weight" for name in targets for part in "AB"}
    if wrong := sorted(want ^ weights.keys()):
        raise ValueError(f"{len(wrong)} LoRA weights are missing or of unknown layers: {', '.join(wrong[:3])}")
    for name, most in targets.items():
        ranks = len(weights[f"{name}.lora_A.weight"]), weights[f"{name}.lora_B.weight"].shape[1]
        if set(ranks) != {min(rank, most)}:
            raise ValueError(f"LoRA of {name} has rank {ranks[0]} and {ranks[1]}, not {min(rank, most)}")
    config = lora_config(targets, rank)
    config.inference_mode = True
    return config


def save_peft(
    folder: Path,
    weights: Mapping[str, Tensor],
    denoiser: UNetDenoiser,
    rank: int,
    projection: Tensor | None = None,
) -> None:
    """Write LoRA weights, and the guidance projection's whole matrix, as PEFT's folder. The denoiser has no LoRA.

    weights: of `lora_list.from_list` or `lora.lora_weights`, kept in their dtype. ValueError: `peft_config`'s; a
    denoiser that knows the guidance scale, and weights for it neither in LoRA nor in `projection`; another shape.
    """
    config, name = peft_config(weights, denoiser.unet, rank), f"{denoiser.cond_proj}.weight"
    learned = f"{denoiser.cond_proj}.lora_A.weight" in weights
    if projection is None and denoiser.timestep_cond_dim is not None and not learned:
        raise ValueError(
            f"no LoRA of {denoiser.cond_proj}: without its matrix the student would lose the guidance scale"
        )
    if projection is not None and projection.shape != denoiser.projection.weight.shape:
        want = tuple(denoiser.projection.weight.shape)
        raise ValueError(f"{name} of shape {tuple(projection.shape)}, the network's is {want}")
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(str(folder))
    save_file({PREFIX + key: _plain(value) for key, value in weights.items()}, folder / WEIGHTS_FILE)
    if projection is not None:
        save_file({name: _plain(projection)}, folder / PROJECTION_FILE)


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()

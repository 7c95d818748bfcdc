"""What lies in a student's adapter.safetensors, and how does it reach the network?

Of a LoRA student: up and down of every layer, and the guidance projection. Of a student whose whole denoiser was
trained (rank 0): every weight of the denoiser under its own name, the guidance projection among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from turbo_train.errors import UserError
from turbo_train.nets.folder_files import first_line, remedy
from turbo_train.nets.lora import load_lora, lora_weights
from turbo_train.nets.student_config import StudentConfig
from turbo_train.nets.unet_denoiser import UNetDenoiser

ADAPTER_FILE = "adapter.safetensors"
_DESCRIBED = "the weights that config.json describes"


def weights_of(denoiser: UNetDenoiser) -> dict[str, nn.Parameter]:
    """What a student learns, by name, always in the same order.

    ValueError: a network without LoRA of which not everything is trained: a teacher, a student that was merged.
    """
    lora = lora_weights(denoiser.unet)
    if lora:
        name = f"{denoiser.cond_proj}.weight"
        return {**lora, name: denoiser.unet.get_parameter(name)}
    whole = dict(denoiser.unet.named_parameters())
    if denoiser.timestep_cond_dim is None or not all(weight.requires_grad for weight in whole.values()):
        raise ValueError("this model has no LoRA: it is a teacher, or a student that was merged")
    assert whole.keys() == denoiser.unet.state_dict().keys(), "a network with buffers, which nobody would save"
    return whole


def rank_of(weights: Mapping[str, Tensor]) -> int:
    """Of LoRA weights by name: the largest, since only narrow layers have less. 0: there is no LoRA."""
    return max((len(weight) for name, weight in weights.items() if ".lora_A." in name), default=0)


def read_adapter(path: Path, config: StudentConfig) -> dict[str, Tensor]:
    """The weights by name, float32. UserError: a broken file, weights that are not finite, or of the other kind."""
    try:
        weights = {name: value.float() for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        found = f"{path} cannot be read ({first_line(error)})"
        raise UserError(found=found, expected="a whole safetensors file", run_next=remedy(path)) from error
    if wrong := [name for name, value in weights.items() if not value.isfinite().all()]:
        found = f"{path}: {len(wrong)} weights with NaN or infinity, {wrong[0]} among them"
        raise UserError(found=found, expected="finite weights", run_next=remedy(path))
    lora = any(".lora_" in name for name in weights)
    if lora != (config.rank > 0):
        kinds = {True: "LoRA", False: "a whole denoiser without LoRA"}
        raise UserError(
            found=f"{path} with {kinds[lora]}, while config.json says rank {config.rank}",
            expected=f"{kinds[not lora]}: rank 0 means that the whole denoiser was trained",
            run_next=remedy(path),
        )
    return weights


def fill(denoiser: UNetDenoiser, weights: Mapping[str, Tensor], where: Path) -> None:
    """Copy a LoRA student's weights into a network with LoRA. UserError: a name or shape that is not the network's."""
    key = f"{denoiser.cond_proj}.weight"
    own = denoiser.projection.weight
    given = weights.get(key)
    try:
        if given is None or given.shape != own.shape:
            raise KeyError(f"{key} is {None if given is None else tuple(given.shape)}, expected {tuple(own.shape)}")
        load_lora(denoiser.unet, {name: value for name, value in weights.items() if name != key})
    except KeyError as error:
        raise UserError(found=f"{where}: {error.args[0]}", expected=_DESCRIBED, run_next=remedy(where)) from error
    with torch.no_grad():
        own.copy_(given)


def whole_denoiser(
    teacher: UNetDenoiser, weights: Mapping[str, Tensor], config: StudentConfig, where: Path
) -> UNetDenoiser:
    """A network of the teacher's sizes with a fully trained student's weights; frozen. UserError: they do not fit."""
    made = teacher.with_weights(weights, where)
    if made.timestep_cond_dim != config.time_cond_dim:
        found = f"{where} with a guidance condition of width {made.timestep_cond_dim}"
        raise UserError(found=found, expected=f"{_DESCRIBED}: {config.time_cond_dim}", run_next=remedy(where))
    return made

"""How does a reward model lie on disk? config.json, model.safetensors and tokenizer/, read and written here.

config.json: {"format": 1, "class": ..., "model_cfg": the network's constructor arguments,
"preprocess_cfg": {"mean", "std", "resize_mode"}}. tokenizer/ is a transformers PreTrainedTokenizerFast.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from turbo_train.errors import UserError
from turbo_train.rewards.table import FOLDER_FILES

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FORMAT = 1
REBUILD = "turbo-train world build, or the folder of another model"


@dataclass(frozen=True)
class Stored:
    """What a folder holds. Weights are on the CPU, as stored."""

    model_cfg: Mapping[str, Any]
    preprocess_cfg: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    tokenizer: PreTrainedTokenizerFast


def read_folder(folder: Path, kind: str) -> Stored:
    """Read a model of class `kind`. A missing or foreign file is a UserError that names it."""
    for name in FOLDER_FILES:
        if not (folder / name).is_file():
            raise UserError(
                found=f"no {name} in {folder}",
                expected="a reward model's folder: config.json, model.safetensors, tokenizer/",
                run_next=REBUILD,
            )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(
            found=f"{folder / 'config.json'} is not JSON ({error})", expected="a JSON object", run_next=REBUILD
        ) from error
    if not isinstance(config, dict):
        raise UserError(found=f"{folder / 'config.json'} is not a JSON object", expected="one", run_next=REBUILD)
    if config.get("format") != FORMAT or config.get("class") != kind:
        raise UserError(
            found=f"{folder / 'config.json'}: format {config.get('format')}, class {config.get('class')}",
            expected=f"format {FORMAT}, class {kind}",
            run_next=REBUILD,
        )
    from transformers import PreTrainedTokenizerFast

    try:
        weights = load_file(folder / "model.safetensors")
    except SafetensorError as error:
        raise UserError(
            found=f"{folder / 'model.safetensors'} cannot be read ({error})",
            expected="a whole safetensors file",
            run_next=REBUILD,
        ) from error
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder / "tokenizer")
    return Stored(config["model_cfg"], config["preprocess_cfg"], weights, tokenizer)


def load_weights(net: nn.Module, weights: Mapping[str, Tensor], where: Path) -> None:
    """Copy weights into the network. Keys or shapes that differ are a UserError that names some."""
    want = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    have = {key: tuple(value.shape) for key, value in weights.items()}
    wrong = sorted(key for key in want.keys() | have.keys() if want.get(key) != have.get(key))
    if wrong:
        shown = ", ".join(f"{key} {have.get(key, 'missing')}" for key in wrong[:3])
        raise UserError(
            found=f"{len(wrong)} weights in {where} that are missing, unknown or of another shape: {shown}",
            expected="the weights that config.json describes",
            run_next=REBUILD,
        )
    net.load_state_dict(weights)


def write_folder(
    folder: Path,
    kind: str,
    net: nn.Module,
    model_cfg: Mapping[str, Any],
    preprocess_cfg: Mapping[str, Any],
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    """Write a model with fp16 weights. Everything is a function of the arguments: no times, no hosts."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"format": FORMAT, "class": kind, "model_cfg": dict(model_cfg), "preprocess_cfg": dict(preprocess_cfg)}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    half = {key: value.detach().cpu().half().contiguous() for key, value in net.state_dict().items()}
    save_file(half, folder / "model.safetensors")
    tokenizer.save_pretrained(folder / "tokenizer")

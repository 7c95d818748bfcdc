"""Which training runs do tests make? The real loop on a tiny random teacher, whose steps take milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import tiny_models
import torch
from diffusers import UNet3DConditionModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from turbo_train.checkpoint import checkpoints, read_state
from turbo_train.config import TrainConfig, checked, parse_reward
from turbo_train.loop import Ended, train
from turbo_train.nets.source import ClipFormat
from turbo_train.nets.teacher import save_teacher
from turbo_train.runlog import LOG_FILE, read_log
from turbo_train.step_figures import Figures

IMAGE, VIDEO = "world-image-reward:1:2", "world-video-reward:2"
TOKENS = 24


def write_teacher(folder: Path, seed: int = 0) -> Path:
    """A tiny teacher whose tokenizer holds the world's captions; every layer counts."""
    torch.manual_seed(seed)
    unet = UNet3DConditionModel(
        sample_size=4,
        down_block_types=("CrossAttnDownBlock3D",),
        up_block_types=("CrossAttnUpBlock3D",),
        block_out_channels=(8,),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=12,
        attention_head_dim=4,
    )
    with torch.no_grad():
        for parameter in unet.parameters():
            if not parameter.any():
                parameter.normal_(std=0.05)
    like = tiny_models.text_encoder().config.to_dict() | {"max_position_embeddings": TOKENS}
    save_teacher(
        folder,
        unet=unet,
        vae=tiny_models.vae(),
        text_encoder=CLIPTextModel(CLIPTextConfig(**like)),
        tokenizer=tiny_models.tokenizer(TOKENS),
        scheduler=tiny_models.scheduler(),
        clip=ClipFormat(frames=8, fps=8),
    )
    return folder


def recipe(teacher: Path, *rewards: str, **changes: Any) -> TrainConfig:
    """Four steps of two rendered clips, one in each pass, with all that a checkpoint has to hold."""
    config = TrainConfig(
        preset="tiny",
        teacher=str(teacher),
        data="world",
        rewards=tuple(parse_reward(text) for text in rewards),
        rank=2,
        seed=3,
        steps=4,
        batch_size=2,
        lr=1e-2,
        frames=8,
        size=(8, 8),
        ema_decay=0.9,
        dropout=0.1,
        save_every=2,
        log_every=1,
    )
    return checked(replace(config, **changes))


def settings(config: TrainConfig) -> list[str]:
    """The options that make the world-vcm preset this recipe."""
    texts = {
        "teacher": config.teacher,
        "rewards": ",".join(map(str, config.rewards)) or "none",
        "size": "x".join(map(str, config.size or ())) or "none",
        "validation_prompts": "|".join(config.validation_prompts),
    }
    names = (
        "rank seed steps batch_size micro_batch_size lr lr_schedule warmup_steps frames ema_decay dropout save_every"
    )
    names += (
        " keep log_every num_ddim_steps guidance_min guidance_max guidance_scale precision validate_every max_nonfinite"
    )
    texts |= {name: str(getattr(config, name)) for name in names.split()}
    return [part for name, text in texts.items() for part in ("--set", f"{name}={text}")]


def quietly(config: TrainConfig, folder: Path, watch: Callable[[int, int, Figures], None] | None = None) -> Ended:
    """`train` that says nothing."""
    return train(config, folder, watch=watch, say=lambda text: None)


def outcome(folder: Path) -> dict[str, Tensor]:
    """Every number that a run ended with: its student's, and its last checkpoint's, by name."""
    found = {f"student/{k}": v for k, v in load_file(folder / "student" / "adapter.safetensors").items()}
    state = read_state(checkpoints(folder)[-1])
    found |= {f"{part}/{k}": v for part in ("weights", "average") for k, v in state[part].items()}
    for number, moments in state["optimizer"]["state"].items():
        found |= {f"optimizer/{number}/{k}": v for k, v in moments.items()}
    return found


def check_same(folder: Path, other: Path) -> None:
    """To the last bit, the student's file included."""
    here, there = outcome(folder), outcome(other)
    assert here.keys() == there.keys()
    assert [name for name in here if not torch.equal(here[name], there[name])] == []
    files = [place / "student" / "adapter.safetensors" for place in (folder, other)]
    assert files[0].read_bytes() == files[1].read_bytes()


def logged(folder: Path, event: str) -> list[dict[str, Any]]:
    """The log's entries of a kind."""
    return [entry for entry in read_log(folder / LOG_FILE) if entry["event"] == event]

"""How are the world's rewards and judges made? Contrastive training (InfoNCE) from nothing, one table of four.

    loss = (CE over captions for each clip + CE over clips for each caption) / 2,  logits = cosine / TEMPERATURE
(CLIP, Radford et al. 2021, figure 3; captions that mean the same as a row's own are left out of its sum).
Rewards and judges share the class and nothing else: other seeds for data and weights, other width, depth and
heads; no judge is ever a reward. The temperature is constant: a learnt one saves nothing here, and could
collapse within so few steps.
Shape legend: B clips in a batch, K captions per clip, M = B K captions, L tokens, D features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from turbo_train.errors import UserError
from turbo_train.rewards import openclip, viclip, viclip_net
from turbo_train.rewards.base import unit
from turbo_train.rewards.folder import write_folder
from turbo_train.rewards.openclip import OpenClipModel
from turbo_train.rewards.tokens import Pieces
from turbo_train.rewards.viclip import ViCLIPModel
from turbo_train.world.build.contrastive_data import Pairs, augment, make_pairs
from turbo_train.world.build.fit import Fit, Report, fit
from turbo_train.world.build.retrieval import measure_retrieval
from turbo_train.world.scene import FRAMES, SIZE_PX
from turbo_train.world.tokenizer import MAX_TOKENS, build_tokenizer, token_ids

TEMPERATURE = 0.07  # CLIP's initial value
TRAIN_CLIPS = 6000
MEAN, STD = 0.5, 0.3
PREPROCESS = {"mean": [MEAN] * 3, "std": [STD] * 3, "resize_mode": "squash"}


@dataclass(frozen=True)
class Towers:
    """Sizes of one model. `video` chooses the class: ViCLIP, else open_clip's CLIP."""

    video: bool
    patch: int
    width: int
    layers: int
    heads: int
    text_width: int
    text_layers: int
    features: int

    def model_cfg(self) -> dict[str, Any]:
        """The network's constructor arguments, as config.json holds them."""
        vocabulary = len(token_ids())
        if self.video:
            vision = {"input_resolution": SIZE_PX, "patch_size": self.patch, "width": self.width}
            vision |= {"layers": self.layers, "heads": self.heads, "output_dim": self.features, "num_frames": FRAMES}
            text = {"embed_dim": self.features, "context_length": MAX_TOKENS, "vocab_size": vocabulary}
            text |= {"transformer_width": self.text_width, "transformer_heads": 4}
            return {"vision": vision, "text": text | {"transformer_layers": self.text_layers}}
        vision = {"image_size": SIZE_PX, "patch_size": self.patch, "width": self.width, "layers": self.layers}
        text = {"context_length": MAX_TOKENS, "vocab_size": vocabulary, "width": self.text_width}
        return {
            "embed_dim": self.features,
            "vision_cfg": vision | {"head_width": self.width // self.heads},
            "text_cfg": text | {"heads": 4, "layers": self.text_layers},
        }


@dataclass(frozen=True)
class Plan:
    """One model of the table: its sizes, how it is trained, and the seed of its clips."""

    towers: Towers
    fit: Fit
    data_seed: int
    batch: int = 64


MODELS: Mapping[str, Plan] = {
    "reward_image": Plan(Towers(False, 8, 96, 3, 4, 64, 2, 64), Fit(2000, 2e-3, seed=2011), data_seed=2001),
    "reward_video": Plan(Towers(True, 8, 96, 4, 4, 64, 2, 64), Fit(5200, 1.5e-3, seed=2012), data_seed=2002, batch=48),
    "judge_image": Plan(Towers(False, 4, 80, 3, 5, 48, 3, 48), Fit(2000, 2e-3, seed=3011), data_seed=3001, batch=48),
    "judge_video": Plan(Towers(True, 8, 112, 3, 7, 48, 3, 48), Fit(6500, 1.5e-3, seed=3012), data_seed=3002, batch=48),
}


class TwoTowers(nn.Module):
    """The part of a network that contrastive training needs: (clips, ids) to two sets of features of length 1."""

    net: Any  # ViCLIP, or open_clip's CLIP, which is untyped

    def __init__(self, towers: Towers) -> None:
        super().__init__()
        self.cfg = towers.model_cfg()
        self.video = towers.video
        self.net = viclip_net.new_viclip(self.cfg) if towers.video else openclip.new_clip(self.cfg)
        with torch.no_grad():  # constant, and stored, so that the logits of the training can be had again
            if towers.video:
                self.net.temp.fill_(TEMPERATURE).requires_grad_(False)
            else:
                self.net.logit_scale.fill_(-math.log(TEMPERATURE)).requires_grad_(False)

    def forward(self, clips_BTCHW: Tensor, ids_ML: Tensor) -> tuple[Tensor, Tensor]:
        """Clips in [0, 1] (one frame each for an image model) and token ids to (B, D) and (M, D)."""
        normal = (clips_BTCHW - MEAN) / STD
        if self.video:
            return unit(self.net.vision_encoder(normal)), unit(self.net.text_encoder(ids_ML))
        return unit(self.net.encode_image(normal[:, 0])), unit(self.net.encode_text(ids_ML))

    def wrapped(self) -> OpenClipModel | ViCLIPModel:
        """The frozen model that scores; it shares the network."""
        tokenizer = Pieces(build_tokenizer(), MAX_TOKENS)
        wrap: Callable[..., OpenClipModel | ViCLIPModel] = viclip.wrap_viclip if self.video else openclip.wrap_clip
        return wrap(self.net, self.cfg, PREPROCESS, tokenizer)


def info_nce(
    seen_BD: Tensor, said_MD: Tensor, meaning_M: Tensor, temperature: float = TEMPERATURE
) -> dict[str, Tensor]:
    """Contrastive loss; caption i < B is clip i's own, the rest are negatives without a clip.

    A caption with the meaning of a row's own caption, other than it, takes no part in that row.
    """
    batch = len(seen_BD)
    logits = seen_BD @ said_MD.T / temperature
    own = torch.eye(batch, len(said_MD), dtype=torch.bool, device=logits.device)
    twins = (meaning_M[:batch, None] == meaning_M[None]) & ~own
    logits = logits.masked_fill(twins, -torch.inf)
    target = torch.arange(batch, device=logits.device)
    loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits[:, :batch].T, target)) / 2
    return {"loss": loss, "accuracy": (logits.argmax(1) == target).float().mean()}


def batch_loss(towers: TwoTowers, pairs: Pairs, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
    """One step's loss: random clips, augmented; a random frame of each for an image model."""
    device = next(towers.parameters()).device
    rows = torch.randint(len(pairs), (batch,), generator=generator)
    frames = pairs.frames_NTCHW[rows]
    if not towers.video:
        moment = torch.randint(frames.shape[1], (batch,), generator=generator)
        frames = frames[torch.arange(batch), moment][:, None]
    clips = augment(frames.to(device).float() / 255, generator)
    # own captions first, then all first hard negatives, all second ones ...
    ids = pairs.ids_NKL[rows].transpose(0, 1).flatten(0, 1).to(device)
    meaning = pairs.meaning_NK[rows].T.flatten().to(device)
    seen, said = towers(clips, ids)
    return info_nce(seen, said, meaning)


def plan_of(name: str) -> Plan:
    """A model of the table, by name."""
    if name not in MODELS:
        raise UserError(
            found=f"model {name!r}", expected=f"one of {', '.join(MODELS)}", run_next="turbo-train world build"
        )
    return MODELS[name]


def train_contrastive(
    name: str,
    folder: Path,
    report: Report | None = None,
    plan: Plan | None = None,
    device: torch.device | str = "cpu",
    clips: int = TRAIN_CLIPS,
) -> tuple[TwoTowers, dict[str, float]]:
    """Train one model of the table and measure it as it will be stored (fp16 weights). `folder` is for resuming."""
    plan = plan or plan_of(name)
    torch.manual_seed(plan.fit.seed)
    towers = TwoTowers(plan.towers).to(device)
    pairs = make_pairs(clips, plan.data_seed, Pieces(build_tokenizer(), MAX_TOKENS), motion_seen=plan.towers.video)

    def loss(step: int, generator: torch.Generator) -> dict[str, Tensor]:
        return batch_loss(towers, pairs, plan.batch, generator)

    fit(plan.fit, towers, loss, folder, report)
    with torch.no_grad():
        for weight in towers.net.parameters():
            weight.copy_(weight.half())
    return towers, measure_retrieval(towers.wrapped(), device=device)


def save_contrastive(towers: TwoTowers, folder: Path) -> None:
    """Write config.json, model.safetensors (fp16) and tokenizer/."""
    kind = viclip.KIND if towers.video else openclip.KIND
    write_folder(folder, kind, towers.net, towers.cfg, PREPROCESS, build_tokenizer())

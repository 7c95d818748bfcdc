"""Of which networks does a recipe consist, in shape alone? The real classes at their real sizes, without weights.

To be made while the meta device is the default one, where tensors have no numbers. The teacher's networks are those of
nets/shaped.py. Of folders the configurations are read, and nothing else; the published models need no file at all. A
file is taken for a VideoCrafter2 checkpoint of the published sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from turbo_train.assembly import check_frames, no_teacher
from turbo_train.config import RewardWeight
from turbo_train.nets.folder_files import read_json
from turbo_train.nets.model import Model
from turbo_train.nets.shaped import shaped_folder, shaped_modelscope, shaped_videocrafter2
from turbo_train.nets.videocrafter2.checkpoint import CheckpointConfig
from turbo_train.rewards.base import RewardModel
from turbo_train.rewards.internvideo2.model import InternVideo2, InternVideo2Config, InternVideo2Model
from turbo_train.rewards.openclip import VIT_H_14, OpenClipModel, new_clip
from turbo_train.rewards.preprocess import CLIP_MEAN, CLIP_STD, Preprocess
from turbo_train.rewards.table import RewardEntry, find_reward
from turbo_train.rewards.viclip import VICLIP_L_14, ViCLIPModel
from turbo_train.rewards.viclip_net import new_viclip
from turbo_train.world import WEIGHTS


@dataclass
class Padding:
    """A tokenizer without a vocabulary: every text is padding."""

    length: int

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(N, L) int64 zeros."""
        return torch.zeros(len(texts), self.length, dtype=torch.int64)

    def lost_words(self, text: str) -> str:
        """Nothing."""
        return ""


def shaped_teacher(name: str, sizes: CheckpointConfig | None = None) -> Model:
    """Of vc2, ms, world or a path, frozen. UserError: no such path, a configuration that cannot be read."""
    if name == "vc2" or Path(name).is_file():
        return shaped_videocrafter2(sizes, Path(name))
    if name == "ms":
        return shaped_modelscope()
    folder = WEIGHTS / "teacher" if name == "world" else Path(name)
    if not folder.is_dir():
        raise no_teacher(name)
    return shaped_folder(folder)


def shaped_reward(term: RewardWeight) -> RewardModel:
    """A reward of the table, frozen. UserError: an unknown name, frames that it does not take."""
    entry = find_reward(term.name)
    check_frames(entry, term.frames)
    kind = entry.loader.partition(".")[0]
    config = {} if entry.place is None else read_json(entry.place / "config.json")["model_cfg"]
    preprocess = Preprocess(entry.size_px, CLIP_MEAN, CLIP_STD, entry.resize)
    model = _FAMILIES.get(kind, _openclip)(entry, config, preprocess, term.frames)
    model.rows = entry.rows
    return model


def _openclip(entry: RewardEntry, config: Mapping[str, object], preprocess: Preprocess, frames: int) -> RewardModel:
    return OpenClipModel(new_clip(config or VIT_H_14), preprocess, Padding(entry.tokens))


def _viclip(entry: RewardEntry, config: Mapping[str, object], preprocess: Preprocess, frames: int) -> RewardModel:
    return ViCLIPModel(new_viclip(config or VICLIP_L_14), preprocess, Padding(entry.tokens))


def _internvideo2(entry: RewardEntry, config: Mapping[str, object], preprocess: Preprocess, frames: int) -> RewardModel:
    sizes = InternVideo2Config()
    net = InternVideo2(replace(sizes, vision=replace(sizes.vision, num_frames=frames)))
    return InternVideo2Model(net, Padding(entry.tokens))


_FAMILIES = {"viclip": _viclip, "internvideo2": _internvideo2}

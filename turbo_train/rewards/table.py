"""Which reward models have a name, what does each look at, and how is one loaded?

The published ones are rows of weights.lock; the world's ship with this package. Judges are rewards' twins that nothing
is ever trained on: they say whether a student has learned more than to please its rewards. Imports no torch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from turbo_train.errors import UserError, near
from turbo_train.rewards.modes import CROPS, Crop, Mode
from turbo_train.weights.hashes import file_sha256
from turbo_train.weights.missing import require
from turbo_train.weights.table import files_for
from turbo_train.weights.whole import locate_whole

if TYPE_CHECKING:
    import torch

    from turbo_train.rewards.base import RewardModel

Role = Literal["reward", "judge"]
PACKAGE = "turbo_train.rewards"
WORLD = Path(__file__).parents[1] / "world" / "weights"  # turbo_train.world.WEIGHTS, which rewards may not import
FOLDER_FILES = ("config.json", "model.safetensors", "tokenizer/tokenizer.json")


@dataclass(frozen=True)
class RewardEntry:
    """One reward model.

    loader: `module.function` of this package; it takes the published files by name, or the folder `place`. frames: how
    many of a clip a video reward sees; None: an image reward, which scores every frame. other_frames: what else it can
    be loaded for. size_px, resize: how frames become its square (preprocess.py). tokens: of a text, start and end among
    them. parameters: of what the score needs. lineage: the weights from which it was trained: rewards that share them
    agree by more than what they measure. rows: images or clips in one forward pass.
    """

    name: str
    loader: str
    frames: int | None
    size_px: int
    resize: Mode
    tokens: int
    parameters: int
    source: str
    lineage: str
    rows: int
    other_frames: tuple[int, ...] = ()
    place: Path | None = None
    role: Role = "reward"

    @property
    def kind(self) -> Literal["image", "video"]:
        """Whether a frame or a clip has a score."""
        return "image" if self.frames is None else "video"

    @property
    def licence(self) -> str:
        """Of its weights."""
        if self.place is not None:
            return "Apache-2.0"
        return ", ".join(dict.fromkeys(file.terms for file in files_for(self.name)))

    def missing(self) -> list[str]:
        """What is not there, or not whole, for people."""
        if self.place is not None:
            return [str(self.place / name) for name in FOLDER_FILES if not (self.place / name).is_file()]
        return [file.name for file in files_for(self.name) if locate_whole(file) is None]

    def files(self) -> dict[str, Path]:
        """Its files by name. UserError: all that are missing, with their sizes and the command that fetches them."""
        if self.place is None:
            return require(files_for(self.name), self.name)
        if gaps := self.missing():
            raise UserError(
                found=f"no {', '.join(gaps)}",
                expected=f"the weights of {self.name}",
                run_next="turbo-train world build",
            )
        return {name: self.place / name for name in FOLDER_FILES}

    def weights_sha256(self) -> str:
        """One sha256 over its files and their names. UserError where one is missing."""
        digests = "".join(f"{name} {file_sha256(path)}\n" for name, path in sorted(self.files().items()))
        return hashlib.sha256(digests.encode()).hexdigest()


CLIP_H = "CLIP ViT-H-14 (LAION-2B)"
CLIP_H_PARAMETERS = 986_109_441


def _on_clip_h(name: str, loader: str, resize: Mode, source: str) -> RewardEntry:
    """An image reward with the sizes of open_clip's ViT-H-14."""
    return RewardEntry(name, loader, None, 224, resize, 77, CLIP_H_PARAMETERS, source, CLIP_H, rows=16)


def _of_world(name: str, folder: str, frames: int | None, parameters: int, role: Role) -> RewardEntry:
    """One of the four that `turbo-train world build` trains from nothing."""
    loader = "openclip.load_openclip" if frames is None else "viclip.load_viclip"
    source = "the embedded world (turbo-train world build)"
    return RewardEntry(
        name, loader, frames, 32, "squash", 18, parameters, source, name, rows=64, place=WORLD / folder, role=role
    )


REWARDS: tuple[RewardEntry, ...] = (
    # Inputs and text lengths of the first five: T2V-Turbo's reward functions (code at eaae323).
    _on_clip_h("hpsv2.1", "hpsv2.load_hpsv2", "longest", "HPS v2.1 (arXiv 2306.09341)"),
    _on_clip_h("clip", "clip.load_clip", "squash", "OpenCLIP (arXiv 2212.07143)"),
    _on_clip_h("pickscore", "pickscore.load_pickscore", "squash", "PickScore (arXiv 2305.01569)"),
    RewardEntry(
        "viclip",
        "viclip.load_published_viclip",
        frames=8,
        size_px=224,
        resize="shortest",
        tokens=32,
        parameters=427_590_145,
        source="ViCLIP-L/14 (arXiv 2307.06942)",
        lineage="ViCLIP-L/14",
        rows=2,
    ),
    RewardEntry(
        "internvideo2",
        "internvideo2.load.load_internvideo2",
        frames=8,
        size_px=224,
        resize="shortest",
        tokens=40,
        parameters=1_293_100_160,  # the whole build for 8 frames: 1,411,946,368
        source="InternVideo2 Stage-2 1B (arXiv 2403.15377)",
        lineage="InternVideo2 Stage-2 1B",
        rows=1,
        other_frames=(4,),
    ),
    _of_world("world-image-reward", "reward_image", None, 471_073, "reward"),
    _of_world("world-video-reward", "reward_video", 8, 583_681, "reward"),
    _of_world("world-image-judge", "judge_image", None, 337_521, "judge"),
    _of_world("world-video-judge", "judge_video", 8, 576_913, "judge"),
)


def find_reward(name: str) -> RewardEntry:
    """The row of a name. UserError for an unknown one."""
    for entry in REWARDS:
        if entry.name == name:
            return entry
    names = [entry.name for entry in REWARDS]
    raise UserError(
        found=f"unknown reward {name!r}{near(name, names)}",
        expected=f"one of {', '.join(names)}",
        run_next="turbo-eval list rewards",
    )


def load_reward(
    name: str,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    frames: int | None = None,
    crop: Crop = "centre",
    checkpointing: bool = False,
) -> RewardModel:
    """A reward model by its name, frozen.

    dtype: of its weights and products; None: float32. Features, norms and the cosine are float32 at least. frames: that
    a video reward sees, where it can be had for several numbers. crop: "random" crops the video rewards' frames
    wherever the generator of each call says, as T2V-Turbo's training does. checkpointing: see use_checkpointing.
    torch's random state, grad mode and default dtype stay as they are; whatever they are, the model can train others.
    UserError: an unknown name, frames or a crop it cannot be had for, files that are missing or are not what they
    should be.
    """
    import torch

    entry = find_reward(name)
    choices = (entry.frames, *entry.other_frames)
    if frames is not None and frames not in choices:
        had = " or ".join(map(str, choices)) if entry.frames else "no number: it scores every frame"
        raise UserError(found=f"{frames} frames for {name}", expected=had)
    if crop != "centre" and (crop not in CROPS or entry.resize != "shortest"):
        had = ", ".join(CROPS) if entry.resize == "shortest" else "centre: its frames are not cropped"
        raise UserError(found=f"crop {crop!r} for {name}", expected=had)
    module, function = f"{PACKAGE}.{entry.loader}".rsplit(".", 1)
    options = {"frames": frames} if entry.other_frames and frames else {}
    where = entry.files() if entry.place is None else entry.place
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):  # weights that autograd may meet
        model: RewardModel = getattr(import_module(module), function)(where, **options)
        model.rows = entry.rows
        model.preprocess = replace(model.preprocess, crop=crop)
        if checkpointing:
            model.use_checkpointing()
        return model.to(device, dtype or torch.float32)

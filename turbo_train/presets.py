"""Which training runs have a name, and what did each of them reach?

`reached` states the score and the report that shows it, or that the preset has not been run for want of weights.
Recipes of the full-size ones: T2V-Turbo, arXiv 2405.18750, section 5 (10,000 steps of 8 clips, learning rate 1e-5,
guidance 5 to 15, k = 20, M = 6; rewards' weights 1 and 2 for VideoCrafter2 at 16 fps, 2 and 3 for ModelScope at 8), and
defaults of the code at eaae323 (rank 64, Huber's c 0.001, gradient norm 1, bfloat16, 8 frames for InternVideo2); it has
no script for ModelScope. Differs from that code: every process has the whole loss (there 6 + 2, loss_placement split);
M = 6 (there 5); no dropout in LoRA and networks (there 0.1); frames are cropped (there squashed); AdamW in 32 bits,
since 8 save nothing where only LoRA is trained; x_0 is the mean of the VAE's posterior (there a sample of it), as in
cached latents; checkpoints every 500 steps (there 2,000), clips of 4 steps (there 16).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from turbo_train.config import TrainConfig, parse_reward
from turbo_train.errors import UserError, near

NOT_RUN = "not run: needs weights"
REPORT = "reports/2026-11-22-paper-in-miniature"


def _reached(oracle: str, judges: str) -> str:
    """Of the world's presets, by 4 steps on suite world; the teacher by 50: 0.965, 0.955, 0.927."""
    return f"all attributes right {oracle}; image and video judge {judges}: {REPORT}"


@dataclass(frozen=True)
class Preset:
    """A recipe, what it is for, and what it reached."""

    config: TrainConfig
    purpose: str
    reached: str = NOT_RUN

    @property
    def name(self) -> str:
        """The recipe's."""
        return self.config.preset


# The grid of 25 holds the 4-step times; latents of 8x8 and 0.8 M trainable numbers allow the large learning rate.
WORLD = TrainConfig(
    preset="world-vcm",
    teacher="world",
    data="world",
    rank=16,
    steps=400,
    batch_size=8,
    micro_batch_size=8,
    lr=1e-3,
    lr_schedule="cosine",
    warmup_steps=20,
    num_ddim_steps=25,
    guidance_min=0.5,
    guidance_max=3.0,
    guidance_scale=1.0,
    ema_decay=0.98,
    save_every=50,
    keep=8,
    log_every=10,
    validation_prompts=("a red circle moves up on a black background", "a blue square rests on a white background"),
)
VC2 = TrainConfig(
    preset="vc2-vcm",
    teacher="vc2",
    data="shards/{00000..99999}.tar",
    rank=64,
    frames=16,
    size=(320, 512),
    fps=16,
    cond_fps=16,
    precision="bf16",
    gradient_checkpointing=True,
    checkpoint_decode=True,
    random_crop=True,
    validate_every=500,
    save_every=500,
    validation_prompts=("a red fox runs through the snow", "a sailing boat on a calm lake at sunset"),
)
MS = replace(VC2, preset="ms-vcm", teacher="ms", rank=32, size=(256, 256), fps=8, cond_fps=None)


def _with(config: TrainConfig, name: str, *rewards: str) -> TrainConfig:
    return replace(config, preset=name, rewards=tuple(parse_reward(text) for text in rewards))


IMAGE, VIDEO = "world-image-reward:1", "world-video-reward:2"
_ALL = (
    Preset(WORLD, "the world's student without rewards", _reached("0.854 (seeds 0.924, 0.972, 0.667)", "0.846, 0.850")),
    Preset(
        _with(WORLD, "world-rimg", IMAGE), "with the image reward alone", _reached("1.000 (one seed)", "0.959, 0.931")
    ),
    Preset(
        _with(WORLD, "world-rvid", VIDEO), "with the video reward alone", _reached("0.986 (one seed)", "0.951, 0.928")
    ),
    Preset(
        _with(WORLD, "world-turbo", IMAGE, VIDEO),
        "with both rewards: the paper's method in miniature",
        _reached("0.961 (seeds 1.000, 1.000, 0.882)", "0.944, 0.919"),
    ),
    Preset(MS, "ModelScope's consistency student without rewards"),
    Preset(_with(MS, "ms-turbo", "hpsv2.1:2", "viclip:3"), "T2V-Turbo of ModelScope"),
    Preset(VC2, "VideoCrafter2's consistency student without rewards"),
    Preset(_with(VC2, "vc2-turbo", "hpsv2.1:1", "internvideo2:2"), "T2V-Turbo of VideoCrafter2"),
)
PRESETS: Mapping[str, Preset] = {preset.name: preset for preset in _ALL}


def find_preset(name: str) -> Preset:
    """The preset of a name. UserError for an unknown one."""
    if name not in PRESETS:
        raise UserError(
            found=f"unknown preset {name!r}{near(name, PRESETS)}",
            expected=f"one of {', '.join(PRESETS)}",
            run_next="turbo-train presets",
        )
    return PRESETS[name]

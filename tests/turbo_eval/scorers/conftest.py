"""Clips of the world, and judges of the real classes with random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from turbo_eval.records import Prompt
from turbo_eval.scorers.base import Clip
from turbo_train.world.render import render
from turbo_train.world.scene import Scene, Thing

MakeClip = Callable[..., Clip]


@pytest.fixture(scope="session")
def world_clip() -> MakeClip:
    """A rendered clip of one object: colour, shape, motion, background."""

    def make(colour: str, shape: str, motion: str, background: str, **more: object) -> Clip:
        travel_px = 0.0 if motion == "still" else 13.0
        scene = Scene(background, (Thing(shape, colour, motion, 16.0, 16.0, 8.0, travel_px),))
        frames_THWC = np.rint(render([scene]).frames_BTHWC[0] * 255).astype(np.uint8)
        attributes = {"colour": colour, "shape": shape, "motion": motion, "background": background}
        text = f"a {colour} {shape} moves {motion} on a {background} background"
        prompt = Prompt(prompt_id="p-000", prompt=text, **{"attributes": attributes} | more)
        return Clip(("model", "p-000", 0), prompt, frames_THWC, 8.0)

    return make


@pytest.fixture(scope="session")
def judge_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """judge_image/ and judge_video/ as `turbo-train world build` writes them; tiny, random weights."""
    import torch

    from turbo_train.rewards.folder import write_folder
    from turbo_train.rewards.openclip import KIND as CLIP_KIND
    from turbo_train.rewards.openclip import new_clip
    from turbo_train.rewards.viclip import KIND as VICLIP_KIND
    from turbo_train.rewards.viclip_net import new_viclip
    from turbo_train.world.tokenizer import MAX_TOKENS, build_tokenizer, token_ids

    folder = tmp_path_factory.mktemp("weights")
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.3, 0.3, 0.3], "resize_mode": "squash"}
    words = {"context_length": MAX_TOKENS, "vocab_size": len(token_ids())}
    image = {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 2, "head_width": 8},
        "text_cfg": words | {"width": 16, "heads": 2, "layers": 2},
    }
    sizes = {"input_resolution": 16, "patch_size": 8, "width": 16, "layers": 2, "heads": 2}
    video = {
        "vision": sizes | {"output_dim": 12, "num_frames": 8},
        "text": words | {"embed_dim": 12, "transformer_width": 16, "transformer_heads": 2, "transformer_layers": 2},
    }
    torch.manual_seed(0)
    write_folder(folder / "judge_image", CLIP_KIND, new_clip(image), image, preprocess, build_tokenizer())
    write_folder(folder / "judge_video", VICLIP_KIND, new_viclip(video), video, preprocess, build_tokenizer())
    return folder

"""Is the class token that the shortcuts compute the one that the whole tower computes?"""

from __future__ import annotations

import pytest
import torch
from open_clip.model import CLIP
from tiny_encoders import CLIP_SIZES, DINO_SIZES, VICLIP_SIZES, clip_state, random_state

from turbo_eval.scorers.vbench.encoders.dino import class_tokens, new_dino
from turbo_eval.scorers.vbench.encoders.vit_blocks import quicken_clip, quicken_timm
from turbo_train.rewards.viclip_net import new_viclip

TIGHT = {"rtol": 2e-5, "atol": 2e-5}


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def test_of_open_clips_tower():
    sizes = CLIP_SIZES
    vision = {"image_size": sizes.image_px, "patch_size": sizes.patch_px, "width": sizes.width, "layers": sizes.layers}
    net = CLIP(sizes.embed_dim, vision | {"head_width": sizes.head_width}, {"width": 16, "heads": 2, "layers": 2}, True)
    net.load_state_dict({name: value.float() for name, value in clip_state().items()})
    net.eval()
    pixels = torch.randn(3, 3, sizes.image_px, sizes.image_px)
    whole = net.encode_image(pixels)
    quicken_clip(net.visual.transformer.resblocks)
    torch.testing.assert_close(net.encode_image(pixels), whole, **TIGHT)


def test_of_viclips_tower():
    net = new_viclip(VICLIP_SIZES)
    net.load_state_dict(random_state(net))
    clips = torch.randn(2, 8, 3, 32, 32)
    whole = net.vision_encoder(clips)
    quicken_clip(net.vision_encoder.transformer.resblocks)
    torch.testing.assert_close(net.vision_encoder(clips), whole, **TIGHT)


def test_of_timms_tower_and_its_own_forward():
    net = new_dino(DINO_SIZES)
    net.load_state_dict(random_state(net))
    net.eval()
    frames = torch.randn(3, 3, DINO_SIZES.image_px, DINO_SIZES.image_px)
    whole = net(frames)  # timm's: the class token after the last norm
    torch.testing.assert_close(class_tokens(net, frames), whole, **TIGHT)
    quicken_timm(net.blocks)
    torch.testing.assert_close(class_tokens(net, frames), whole, **TIGHT)


def test_the_last_block_computes_one_token():
    net = new_dino(DINO_SIZES)
    net.load_state_dict(random_state(net))
    quicken_timm(net.blocks)
    tokens = torch.randn(2, 17, DINO_SIZES.width)
    assert [block(tokens).shape[1] for block in net.blocks] == [17, 17, 1]

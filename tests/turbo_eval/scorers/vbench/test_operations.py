"""Do the formulas say what the real networks do? Counted at full size on the meta device, where nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models.optical_flow import raft_large

from turbo_eval.generators.cost import operations_of
from turbo_eval.scorers.vbench import operations as of
from turbo_eval.scorers.vbench import operations_captions as captions
from turbo_eval.scorers.vbench.encoders.amt_net import AmtNet
from turbo_eval.scorers.vbench.encoders.beam_search import BeamRules, beam_search
from turbo_eval.scorers.vbench.encoders.clip import B_32, L_14, outline
from turbo_eval.scorers.vbench.encoders.dino import DinoSizes, class_tokens, new_dino
from turbo_eval.scorers.vbench.encoders.grit.net import GritNet
from turbo_eval.scorers.vbench.encoders.musiq import prepare
from turbo_eval.scorers.vbench.encoders.musiq_net import MusiqNet
from turbo_eval.scorers.vbench.encoders.raft import Raft
from turbo_eval.scorers.vbench.encoders.raft_update import refine
from turbo_eval.scorers.vbench.encoders.tag2text.net import Tag2TextNet
from turbo_eval.scorers.vbench.encoders.transforms import clip_transform, dino_transform
from turbo_eval.scorers.vbench.encoders.umt_net import UmtNet
from turbo_eval.scorers.vbench.encoders.vit_blocks import quicken_clip, quicken_timm
from turbo_eval.scorers.vbench.operations import Operations
from turbo_train.nets.counted import Counted
from turbo_train.rewards.viclip import VICLIP_L_14
from turbo_train.rewards.viclip_net import new_viclip


@pytest.fixture(autouse=True)
def meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # torch has none for the meta device
    # sampling is neither product nor convolution, and slow to be told of on the meta device
    monkeypatch.setattr(F, "grid_sample", lambda x, to, **_: x.new_empty(*x.shape[:2], *to.shape[1:3]))
    with torch.device("meta"), torch.no_grad():
        yield


def frozen(net: nn.Module) -> Any:
    return net.eval().requires_grad_(False)


@cache
def grit() -> Any:
    return frozen(GritNet())


@cache
def tag2text() -> Any:
    return frozen(Tag2TextNet())


@cache
def dino() -> Any:
    net = frozen(new_dino(DinoSizes()))
    quicken_timm(net.blocks)
    return net


@cache
def musiq() -> Any:
    return frozen(MusiqNet())


@cache
def raft() -> Any:
    return frozen(raft_large())


@cache
def amt() -> Any:
    return frozen(AmtNet())


def assert_counted(compute: Callable[[], object], formula: Operations) -> None:
    with Counted() as count:
        compute()
    real = operations_of(count)
    assert formula.products == pytest.approx(real.products, rel=1e-9)
    assert formula.convolutions == pytest.approx(real.convolutions, rel=1e-9)
    assert formula.total


@pytest.mark.parametrize(("height", "width"), [(250, 334), (360, 640)])
def test_image_towers(height: int, width: int) -> None:
    frame = torch.empty(1, height, width, 3, dtype=torch.uint8)
    assert_counted(lambda: class_tokens(dino(), dino_transform(frame)), of.dino(height, width))
    assert_counted(lambda: musiq()(prepare(frame)), of.musiq(height, width))


def test_towers_of_one_size() -> None:
    clip = frozen(outline(B_32))
    quicken_clip(clip.visual.transformer.resblocks)
    frame = torch.empty(1, 250, 334, 3, dtype=torch.uint8)
    assert_counted(lambda: clip.encode_image(clip_transform(frame)), of.clip_b32())
    clip = frozen(outline(L_14))
    quicken_clip(clip.visual.transformer.resblocks)
    head = nn.Linear(768, 1)
    assert_counted(lambda: head(clip.encode_image(torch.empty(1, 3, 224, 224))), of.aesthetic())
    viclip = frozen(new_viclip(VICLIP_L_14))
    quicken_clip(viclip.vision_encoder.transformer.resblocks)
    assert_counted(lambda: viclip.vision_encoder(torch.empty(1, 8, 3, 224, 224)), of.viclip())
    umt = frozen(UmtNet())
    assert_counted(lambda: umt(torch.empty(1, 16, 3, 224, 224)), of.umt())


@pytest.mark.parametrize(("height", "width", "updates"), [(320, 512, 2), (250, 334, Raft.UPDATES)])
def test_flow_and_interpolation(height: int, width: int, updates: int) -> None:
    assert of.raft_pair(height, width) == of.raft_pair(height, width, Raft.UPDATES)
    rows, columns = -(-height // 8), -(-width // 8)
    padded = torch.empty(1, 3, 8 * rows, 8 * columns)
    for encoder in (raft().feature_encoder, raft().context_encoder):
        assert_counted(lambda encoder=encoder: encoder(padded), of.raft_encoder(height, width))  # type: ignore[misc]
    seen = torch.empty(1, 256, rows, columns)
    assert_counted(lambda: refine(raft(), seen, seen, seen, updates), of.raft_pair(height, width, updates))
    pair = torch.empty(2, 1, 3, -(-height // 16) * 16, -(-width // 16) * 16)
    assert_counted(lambda: amt()(*pair), of.amt(height, width))


@pytest.mark.parametrize(("height", "width"), [(250, 334), (800, 1000)])
def test_the_detector(height: int, width: int) -> None:
    net = grit().detection
    looked_at = (height, width) if height <= 768 else (720, 900)
    frame = torch.empty(1, 3, *(-(-side // 32) * 32 for side in looked_at))

    def look() -> None:
        levels = net.backbone(frame)
        net.proposal_generator.centernet_head(levels)
        for head, predictor in zip(net.roi_heads.box_head, net.roi_heads.box_predictor, strict=True):
            predictor(head(torch.empty(captions.PROPOSALS, 256, 7, 7)))

    assert_counted(look, captions.grit_frame(height, width))


@pytest.mark.parametrize(("objects", "words"), [(3, 2), (2, 5)])
def test_words_for_objects(objects: int, words: int) -> None:
    text = grit().text
    features = torch.empty(objects, 256, 14, 14)
    rooms: list[Any] = []
    assert_counted(lambda: rooms.extend(text.remember(features)), captions.grit_objects(objects))
    last = torch.zeros(objects, dtype=torch.int64)
    assert_counted(lambda: [text.logits(last, rooms) for _ in range(words + 1)], captions.grit_texts(objects, words))


def test_the_captioner() -> None:
    net = tag2text()
    words, seen = torch.zeros(1, captions.TAG_TOKENS, dtype=torch.int64), torch.ones(1, 40, dtype=torch.bool)

    def look() -> None:
        picture = net.visual_encoder(torch.empty(1, 3, 384, 384))
        net.tag_logits(picture)
        net.tag_encoder(words, seen, picture)

    assert_counted(look, captions.tag2text_picture())


@pytest.mark.parametrize("words", [2, 3])
def test_a_caption_by_beam_search(words: int) -> None:
    """The search runs on numbers, with its own shapes; the decoder on shapes alone."""
    net = tag2text()
    with Counted() as memory:
        write = net.text_decoder.about(torch.empty(1, captions.TAG_TOKENS, 768))
    rules = BeamRules(end=0, min_length=captions.BEGINNING + words + 1, max_length=captions.BEGINNING + words + 1)
    calls = []

    def step(words_PbL: torch.Tensor, rows_N: torch.Tensor, pictures_P: torch.Tensor) -> torch.Tensor:
        calls.append((words_PbL.to("meta"), rows_N.to("meta"), pictures_P.to("meta")))
        with torch.device("cpu"):
            return torch.arange(5.0).expand(words_PbL.shape[0] * words_PbL.shape[1], -1)

    with torch.device("cpu"):
        beam_search(step, torch.ones(1, captions.BEGINNING, dtype=torch.int64), rules)
    with Counted() as real:
        for call in calls:
            write(*call)
    assert captions.tag2text_caption(words).total == pytest.approx(
        operations_of(real).total + operations_of(memory).total, rel=1e-9
    )

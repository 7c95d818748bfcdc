"""Are counted operations a fair price? Against processor seconds of the networks at full size, random weights, CPU.

`pytest -m slow -s tests/turbo_eval/test_cost_measured.py` prints the table of reports/LOG.md. Seconds of one thread,
the second of two runs; pooling, suppression of boxes and beam search are in them, though they are not counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models.optical_flow import raft_large

from turbo_eval.scorers.vbench import operations as of
from turbo_eval.scorers.vbench import operations_captions as captions
from turbo_eval.scorers.vbench.cost import CAPTION_WORDS, NAME_WORDS, OBJECTS
from turbo_eval.scorers.vbench.encoders.amt_net import AmtNet
from turbo_eval.scorers.vbench.encoders.beam_search import BeamRules, beam_search
from turbo_eval.scorers.vbench.encoders.clip import B_32, L_14, outline
from turbo_eval.scorers.vbench.encoders.dino import DinoSizes, class_tokens, new_dino
from turbo_eval.scorers.vbench.encoders.grit.detection import pictures
from turbo_eval.scorers.vbench.encoders.grit.net import GritNet
from turbo_eval.scorers.vbench.encoders.musiq_net import MusiqNet
from turbo_eval.scorers.vbench.encoders.raft import Raft
from turbo_eval.scorers.vbench.encoders.raft_update import refine
from turbo_eval.scorers.vbench.encoders.tag2text.net import Tag2TextNet
from turbo_eval.scorers.vbench.encoders.vit_blocks import quicken_clip, quicken_timm
from turbo_eval.scorers.vbench.operations import Operations

HEIGHT, WIDTH = 320, 512


def filled(make: Callable[[], nn.Module]) -> Any:
    """With weights of no meaning, in ordinary numbers."""
    with torch.device("meta"):
        net = make()
    net = net.to_empty(device="cpu").eval().requires_grad_(False)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            value.fill_(1.0) if name.endswith("running_var") else value.normal_(std=0.02)
        elif "position_ids" in name:
            value.copy_(torch.arange(value.shape[1])[None])
        else:
            value.zero_()
    return net


def tower(sizes: Any) -> Callable[[], object]:
    visual = filled(lambda: outline(sizes).visual)
    quicken_clip(visual.transformer.resblocks)
    return lambda: visual(torch.randn(4, 3, 224, 224))


def dino() -> Callable[[], object]:
    net = filled(lambda: new_dino(DinoSizes()))
    quicken_timm(net.blocks)
    return lambda: class_tokens(net, torch.randn(4, 3, 224, 358))


def musiq() -> Callable[[], object]:
    net = filled(MusiqNet)
    return lambda: net(torch.rand(4, 3, HEIGHT, WIDTH))


def raft() -> Callable[[], object]:
    net, frame = filled(raft_large), torch.randn(1, 3, HEIGHT, WIDTH)

    def flow() -> None:
        first, context = net.feature_encoder(frame), net.context_encoder(frame)
        refine(net, first, first, context, Raft.UPDATES)

    return flow


def amt() -> Callable[[], object]:
    net, frame = filled(AmtNet), torch.rand(1, 3, HEIGHT, WIDTH)
    return lambda: net(frame, frame)


def detector() -> Callable[[], object]:
    net, frames = filled(GritNet), torch.randint(0, 256, (1, HEIGHT, WIDTH, 3), dtype=torch.uint8)

    def look() -> None:
        net.detection.detect(pictures(frames), [(HEIGHT, WIDTH)])
        rooms = net.text.remember(torch.randn(OBJECTS, 256, 14, 14))
        last = torch.full((OBJECTS,), 101)
        for _ in range(NAME_WORDS + 1):
            last = net.text.logits(last, rooms).argmax(1)

    return look


def captioner() -> Callable[[], object]:
    net = filled(Tag2TextNet)
    words, seen = torch.ones(1, captions.TAG_TOKENS, dtype=torch.int64), torch.ones(1, 40, dtype=torch.bool)
    length = captions.BEGINNING + CAPTION_WORDS + 1
    rules = BeamRules(end=102, min_length=length, max_length=length)

    def say() -> None:
        picture = net.visual_encoder(torch.randn(1, 3, 384, 384))
        net.tag_logits(picture)
        about = net.text_decoder.about(net.tag_encoder(words, seen, picture))
        beam_search(about, torch.ones(1, captions.BEGINNING, dtype=torch.int64), rules)

    return say


def grit_frame() -> Operations:
    texts = captions.grit_objects(OBJECTS) + captions.grit_texts(OBJECTS, NAME_WORDS)
    return captions.grit_frame(HEIGHT, WIDTH) + texts


COUNTED: dict[str, tuple[Callable[[], Callable[[], object]], Operations]] = {
    "CLIP-L/14": (lambda: tower(L_14), 4 * of.aesthetic()),
    "CLIP-B/32": (lambda: tower(B_32), 4 * of.clip_b32()),
    "DINO-B/16": (dino, 4 * of.dino(HEIGHT, WIDTH)),
    "MUSIQ": (musiq, 4 * of.musiq(HEIGHT, WIDTH)),
    "RAFT": (raft, 2 * of.raft_encoder(HEIGHT, WIDTH) + of.raft_pair(HEIGHT, WIDTH)),
    "AMT-S": (amt, of.amt(HEIGHT, WIDTH)),
    "GRiT-B": (detector, grit_frame()),
    "Tag2Text": (captioner, captions.tag2text_picture() + captions.tag2text_caption(CAPTION_WORDS)),
}


@pytest.mark.slow
@torch.inference_mode()
def test_operations_a_second_are_alike_in_all_networks() -> None:
    """Within a factor of two of their median; AMT-S, much of which is sampling, and captions word by word, of three."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    rates = {}
    try:
        for name, (make, operations) in COUNTED.items():
            compute = make()
            seconds = []
            for _ in range(2):
                start = time.process_time()
                compute()
                seconds.append(time.process_time() - start)
            rates[name] = operations.total / seconds[-1] / 1e9
            print(f"{name:10} {operations.total / 1e12:8.3f} TFLOP {seconds[-1]:7.2f} s {rates[name]:6.0f} GFLOP/s")
            del compute
    finally:
        torch.set_num_threads(threads)
    median = sorted(rates.values())[len(rates) // 2]
    for name, rate in rates.items():
        allowed = 3 if name in ("AMT-S", "Tag2Text") else 2
        assert median / allowed < rate < median * allowed, (name, rates)

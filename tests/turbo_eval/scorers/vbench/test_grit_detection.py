"""Does our GRiT find the published network's boxes, once a frame, in any company?"""

from __future__ import annotations

import json

import pytest
import torch
from tiny_grit import TINY, calls_of, noise
from torch import nn
from vbench_checkpoints import CLIPS, plain, rows

from turbo_eval.scorers.vbench.encoders import middle_indices
from turbo_eval.scorers.vbench.encoders.grit import cascade
from turbo_eval.scorers.vbench.encoders.grit.cascade import Detections, moved, pooled
from turbo_eval.scorers.vbench.encoders.grit.detection import GritDetection, pictures
from turbo_train.video_io import read_video

LEFT_OUT = ("roi_heads.mask_head.", "roi_heads.text_decoder.")
SMALL = ("a red car-1.mp4", "grit_dimensions_small_clip_2_frames.json")
LARGE = ("a person is surfing-0.mp4", "object_class_large_clip_2_frames.json")


def tiny_net(heat: float = 2.0) -> GritDetection:
    """heat: of every place, roughly; the box heads say "object" more often than not."""
    torch.manual_seed(0)
    net = GritDetection(TINY.detection).eval().requires_grad_(False)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.1)
    head = net.proposal_generator.centernet_head
    head.agn_hm.weight.mul_(0.2)
    head.agn_hm.bias.fill_(heat)
    head.bbox_pred.bias.fill_(2)
    for number, scale in enumerate(head.scales):
        scale.scale.fill_(0.8 + 0.1 * number)
    for predictor in net.roi_heads.box_predictor:
        predictor.cls_score.bias.copy_(torch.tensor([2.0, 0.0]))
    return net


def results_of(module: nn.Module) -> list:
    """Grows by what the module gives, call by call."""
    given: list = []
    module.register_forward_hook(lambda _, __, result: given.append(result))
    return given


def same(got: Detections, want: Detections) -> None:
    torch.testing.assert_close(got.boxes_N4, want.boxes_N4, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(got.scores_N, want.scores_N, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.features_NCHW, want.features_NCHW, rtol=1e-3, atol=1e-3)


def test_the_layout_is_the_published_checkpoints_without_masks_and_words():
    with torch.device("meta"):
        state = GritDetection().state_dict()
    published = {key: shape for key, shape, _ in rows("grit_b") if not key.startswith(LEFT_OUT)}
    assert {key: tuple(value.shape) for key, value in state.items()} == published


@pytest.mark.slow
@pytest.mark.parametrize(("clip", "golden"), [SMALL, LARGE])
def test_the_boxes_of_random_weights_are_vbenchs_in_their_order(clip, golden):
    with torch.device("meta"):
        net = GritDetection()
    known = net.state_dict().keys()
    net.load_state_dict({key: value for key, value in plain("grit_b").items() if key in known}, assign=True)
    net.eval().requires_grad_(False)
    frames = torch.from_numpy(read_video(CLIPS / clip).frames_THWC)
    frames = frames[middle_indices(len(frames), 2)]
    with torch.inference_mode():
        found = net.detect(pictures(frames), [tuple(frames.shape[1:3])] * 2)
    want = json.loads((CLIPS / golden).read_text(encoding="utf-8"))["object_class"]["intermediate"]
    assert [len(of_frame.boxes_N4) for of_frame in found] == [frame["n"] for frame in want]
    for of_frame, frame in zip(found, want, strict=True):
        tops = [box for _, box, _ in frame["top"]]
        assert of_frame.boxes_N4.int().tolist()[: len(tops)] == tops  # truncated towards 0, as VBench does


def test_a_batch_is_its_frames_and_each_part_is_called_once():
    net = tiny_net()
    frames = torch.randint(0, 256, (2, 50, 90, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x, sizes = pictures(frames), [(50, 90), (64, 70)]
    parts = [net.backbone, net.backbone.bottom_up, net.proposal_generator, net.roi_heads]
    calls = [calls_of(part) for part in (*parts, *net.roi_heads.box_head, *net.roi_heads.box_predictor)]
    together = net.detect(x, sizes)
    assert [len(given) for given in calls] == [1] * 10
    assert [len(found.scores_N) > 1 for found in together] == [True, True]
    for number, (found, (height, width)) in enumerate(zip(together, sizes, strict=True)):
        same(net.detect(x[number : number + 1], sizes[number : number + 1])[0], found)
        assert found.boxes_N4.min() >= 0 and (found.boxes_N4.amax(0)[2:] <= torch.tensor([width, height])).all()
        assert (found.scores_N.diff() <= 0).all() and (found.scores_N > 0.5).all()
    assert not torch.equal(together[0].scores_N[:2], together[1].scores_N[:2])


@pytest.mark.parametrize("heat", [-100.0, -5.0])  # no proposals; proposals, but no sure object
def test_where_nothing_is_found_all_is_empty(heat):
    net = tiny_net(heat)
    for found in net.detect(noise(2, 3, 64, 64), [(64, 64)] * 2):
        assert found.boxes_N4.shape == (0, 4) and found.scores_N.shape == (0,)
        assert found.features_NCHW.shape == (0, 64, 14, 14)


def test_in_bf16_boxes_scores_and_features_stay_in_float32(monkeypatch):
    net, x = tiny_net(), noise(1, 3, 64, 96)
    exact = net.detect(x, [(64, 96)])[0]
    heats, proposed, *stages = (
        results_of(part)
        for part in (net.proposal_generator.centernet_head, net.proposal_generator, *net.roi_heads.box_predictor)
    )
    deltas = []
    monkeypatch.setattr(cascade, "moved", lambda *given: deltas.append(given[1]) or moved(*given))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        half = net.detect(x, [(64, 96)])[0]
        levels = net.backbone(x)
    for part in (half.boxes_N4, half.scores_N, half.features_NCHW):
        assert part.dtype == torch.float32 and len(part) > 0
    assert not torch.equal(half.boxes_N4.bfloat16().float(), half.boxes_N4)
    assert abs(half.scores_N[0] - exact.scores_N[0]) < 0.05
    assert [delta.dtype for delta in deltas] == [torch.float32] * 3
    # What came out of the networks is rounded; what is made of it is not rounded again.
    likely = torch.cat([heat.float().flatten() for heat, _ in heats[0]]).sigmoid().sqrt()
    assert heats[0][0][0].dtype == torch.bfloat16 and torch.isin(proposed[0][0].scores_N, likely).all()
    chances = sum(stage[0][0].float().softmax(-1)[:, 0] for stage in stages) / 3
    assert torch.isin(half.scores_N, (chances * proposed[0][0].scores_N).sqrt()).all()
    want = pooled([level.float() for level in levels[:3]], torch.zeros(len(half.scores_N)), half.boxes_N4, 14)
    torch.testing.assert_close(half.features_NCHW, want)


def test_frames_are_normalised_and_then_padded_with_zeros():
    frames = torch.randint(0, 256, (2, 33, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    x = pictures(frames)
    assert x.shape == (2, 3, 64, 64) and x.dtype == torch.float32 and (x[:, :, 33:] == 0).all()
    for colour, (mean, deviation) in enumerate(zip((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), strict=True)):
        torch.testing.assert_close(x[:, colour, :33], (frames[..., colour].float() - mean) / deviation)
    assert torch.equal(pictures(frames.float()), x)

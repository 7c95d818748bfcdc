"""Are GRiT's proposals CenterNet's, and are they moved, pooled and chosen as detectron2's cascade does it?"""

from __future__ import annotations

import pytest
import torch
from tiny_grit import filled_at_random, noise
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import MultiScaleRoIAlign, box_iou, roi_align
from torchvision.ops.poolers import LevelMapper

from turbo_eval.scorers.vbench.encoders.grit.cascade import (
    Cascade,
    Detections,
    clipped,
    frames_of,
    level_of,
    moved,
    pooled,
    surest,
)
from turbo_eval.scorers.vbench.encoders.grit.centernet import CenterNetHead, Proposals, likeliest, proposals
from turbo_eval.scorers.vbench.encoders.grit.fpn import STRIDES_PX

WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))


def boxes_in(width: int, height: int, count: int, seed: int = 0) -> Tensor:
    spread = torch.rand(count, 4, generator=torch.Generator().manual_seed(seed)) * torch.tensor([width, height] * 2)
    first, last = torch.minimum(spread[:, :2], spread[:, 2:]), torch.maximum(spread[:, :2], spread[:, 2:])
    return torch.cat((first, last + 1), 1)


def naive_nms(boxes: Tensor, scores: Tensor, overlap: float) -> list[int]:
    kept: list[int] = []
    for number in scores.argsort(descending=True, stable=True).tolist():
        if all(box_iou(boxes[number][None], boxes[other][None]) <= overlap for other in kept):
            kept.append(number)
    return kept


def test_proposals_are_the_likeliest_points_and_their_reaches():
    heat, reach = noise(2, 1, 3, 5) * 8, noise(2, 4, 3, 5, seed=1).clamp(min=0) * 2
    assert (heat.sigmoid() < 1e-4).any()
    boxes_BN4, chances_BN = likeliest(heat, reach, 16)
    for frame in range(2):
        boxes, scores = [], []
        for row in range(3):
            for column in range(5):
                chance = heat[frame, 0, row, column].sigmoid()
                if chance > 1e-4:
                    x, y = column * 16 + 8, row * 16 + 8
                    left, up, right, down = (reach[frame, :, row, column] * 16).tolist()
                    x2, y2 = max(x + right, x - left + 0.01), max(y + down, y - up + 0.01)
                    boxes.append([x - left, y - up, x2, y2])
                    scores.append(chance.sqrt())
        boxes, scores = torch.tensor(boxes), torch.stack(scores)
        keep = naive_nms(boxes, scores, 0.9)
        got = proposals(boxes_BN4[frame], chances_BN[frame])
        torch.testing.assert_close(got.boxes_N4, boxes[keep])
        torch.testing.assert_close(got.scores_N, scores[keep])
        assert 0 < len(keep) < 15


def test_boxes_that_overlap_by_more_than_nine_tenths_are_one():
    boxes = torch.tensor([[0.0, 0, 100, 10], [0, 0, 91, 10], [0, 0, 89, 10]])
    chances = torch.tensor([0.81, 0.64, 0.49])
    kept = proposals(boxes, chances)
    assert torch.equal(kept.boxes_N4, boxes[[0, 2]])
    torch.testing.assert_close(kept.scores_N, torch.tensor([0.9, 0.7]))


def test_a_level_gives_a_thousand_places_and_a_frame_256_and_those_that_tie():
    heat, reach = noise(1, 1, 40, 40), torch.full((1, 4, 40, 40), 0.4)
    boxes, chances = likeliest(heat, reach, 8)
    assert chances.shape == (1, 1000)
    torch.testing.assert_close(chances[0], heat.sigmoid().flatten().topk(1000).values)
    kept = proposals(boxes[0], chances[0])
    assert torch.equal(kept.scores_N, chances[0, :256].sqrt()) and torch.equal(kept.boxes_N4, boxes[0, :256])
    even = proposals(boxes[0], chances[0].index_fill(0, torch.arange(250, 300), chances[0, 250].item()))
    assert len(even.scores_N) == 300


def test_places_that_tie_are_taken_in_reading_order():
    boxes, _ = likeliest(torch.zeros(1, 1, 40, 40), torch.zeros(1, 4, 40, 40), 8)
    want = [[place % 40 * 8 + 4.0, place // 40 * 8 + 4.0] for place in range(1000)]
    assert boxes[0, :, :2].tolist() == want


def test_the_head_is_one_for_all_levels_with_a_scale_of_each():
    head = filled_at_random(CenterNetHead(32), std=0.1)
    x = noise(2, 32, 6, 4)
    tower = x
    for number in (0, 3, 6, 9):
        tower = F.conv2d(tower, head.bbox_tower[number].weight, head.bbox_tower[number].bias, padding=1)
        norm = head.bbox_tower[number + 1]
        middle, deviation = tower.mean((2, 3), True), (tower.var((2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
        tower = ((tower - middle) / deviation * norm.weight[:, None, None] + norm.bias[:, None, None]).clamp(min=0)
    raw = F.conv2d(tower, head.bbox_pred.weight, head.bbox_pred.bias, padding=1)
    heat = F.conv2d(tower, head.agn_hm.weight, head.agn_hm.bias, padding=1)
    for (got_heat, got_reach), scale in zip(head([x] * len(STRIDES_PX)), head.scales, strict=True):
        torch.testing.assert_close(got_heat, heat, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(got_reach, (raw * scale.scale).clamp(min=0), rtol=1e-4, atol=1e-4)


def test_boxes_are_pooled_from_the_level_of_their_size():
    boxes = boxes_in(900, 900, 300)
    want = LevelMapper(3, 5)([boxes])
    assert torch.equal(level_of(boxes), want) and set(want.tolist()) == {0, 1, 2}
    edges = torch.tensor([[0.0, 0, 112, 112], [0, 0, 224, 224], [0, 0, 448, 448], [0, 0, 447, 448], [5, 5, 5, 9]])
    assert level_of(edges).tolist() == [0, 1, 2, 1, 0]


@pytest.mark.parametrize("side", [7, 14])
def test_pooling_is_torchvisions_half_a_place_further(side):
    levels = [noise(2, 3, 48 // step, 64 // step, seed=step) for step in (1, 2, 4)]
    frames = [boxes_in(500, 380, 9, seed=3), boxes_in(500, 380, 7, seed=4)]
    boxes = torch.cat(frames)
    frame_N = frames_of([9, 7], boxes.device)
    got = pooled(levels, frame_N, boxes, side)
    # torchvision's pooler is not "aligned": it reads (x, y) at x / stride where aligned is x / stride - 0.5
    stride = torch.tensor(STRIDES_PX)[level_of(boxes)][:, None]
    whole = MultiScaleRoIAlign(["0", "1", "2"], side, sampling_ratio=0)
    named = {str(number): level for number, level in enumerate(levels)}
    wide = ((boxes[:, 2:] - boxes[:, :2]) >= stride).all(1)  # narrower ones it makes a place wide
    want = whole(named, list((boxes - stride / 2).split([9, 7])), [(384, 512)] * 2)
    assert wide.sum() > 10 and len(level_of(boxes).unique()) > 1
    torch.testing.assert_close(got[wide], want[wide], rtol=1e-4, atol=1e-4)


def test_deltas_are_torchvisions():
    boxes, deltas = boxes_in(300, 200, 40), noise(40, 4) * 20
    assert (deltas[:, 2:] / 5 > 4.14).any()
    for weights in WEIGHTS:
        want = BoxCoder(weights).decode(deltas, [boxes])[:, 0]
        torch.testing.assert_close(moved(boxes, deltas, weights), want, rtol=1e-5, atol=1e-3)


def test_boxes_are_clipped_to_the_frame():
    boxes = torch.tensor([[-3.0, -4, 400, 300], [10, 20, 30, 40], [350, 260, 360, 270]])
    got = clipped(boxes, torch.tensor([[334.0, 250, 334, 250]]).expand(3, 4))
    assert got.tolist() == [[0, 0, 334, 250], [10, 20, 30, 40], [334, 250, 334, 250]]


def test_the_surest_boxes_above_a_half_stay_that_overlap_by_half_at_most():
    boxes = boxes_in(60, 60, 80)
    scores = torch.rand(80, generator=torch.Generator().manual_seed(5))
    sure = scores > 0.5
    keep = naive_nms(boxes[sure], scores[sure], 0.5)
    kept, kept_scores = surest(boxes, scores)
    assert torch.equal(kept, boxes[sure][keep]) and torch.equal(kept_scores, scores[sure][keep])
    assert 1 < len(keep) < sure.sum()
    apart = torch.arange(300.0)[:, None] * 10 + torch.tensor([0.0, 0, 5, 5])
    assert len(surest(apart, torch.full((300,), 0.9))[0]) == 256
    some = torch.tensor([[0.0, 0, 9, 9], [20, 0, 20, 9], [50, 0, 59, 9], [70, 0, 79, 9]])
    kept, kept_scores = surest(some, torch.tensor([0.6, 0.8, 0.5, 0.7]))
    assert kept.tolist() == [[70, 0, 79, 9], [0, 0, 9, 9]]  # empty, not above a half: left out
    assert kept_scores.tolist() == pytest.approx([0.7, 0.6])


def plain_cascade(net: Cascade, levels: list[Tensor], proposed: Proposals, size: tuple[int, int]) -> Detections:
    """One frame, one box at a time, up to the choice."""
    boxes, scores = [], []
    for box, score in zip(proposed.boxes_N4[:, None], proposed.scores_N, strict=True):
        chance = 0.0
        for stage in range(3):
            level = LevelMapper(3, 5, eps=0)([box]).item()
            pool = roi_align(levels[level], [box], 7, 1 / STRIDES_PX[level], -1, True)
            head, predictor = net.box_head[stage], net.box_predictor[stage]
            y = F.relu(head.fc2(F.relu(head.fc1(pool.flatten(1)))))
            no_and_yes = predictor.cls_score(y)[0]
            chance += (no_and_yes[0] - no_and_yes[1]).sigmoid() / 3
            deltas = predictor.bbox_pred[2](F.relu(predictor.bbox_pred[0](y)))
            box = BoxCoder(WEIGHTS[stage]).decode(deltas, [box])[:, 0]
            box = torch.stack([box[:, i].clamp(0, size[1 - i % 2]) for i in range(4)], 1)
        boxes.append(box[0])
        scores.append((chance * score) ** 0.5)
    kept, kept_scores = surest(torch.stack(boxes), torch.stack(scores))
    level = LevelMapper(3, 5, eps=0)([kept])
    pools = [
        roi_align(levels[n], [box[None]], 14, 1 / STRIDES_PX[n], -1, True)[0]
        for n, box in zip(level.tolist(), kept, strict=True)
    ]
    return Detections(kept, kept_scores, torch.stack(pools))


def same(got: Detections, want: Detections) -> None:
    torch.testing.assert_close(got.boxes_N4, want.boxes_N4, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(got.scores_N, want.scores_N, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(got.features_NCHW, want.features_NCHW, rtol=1e-3, atol=1e-3)


def test_the_cascade_moves_boxes_three_times_and_frames_without_proposals_are_empty():
    net = filled_at_random(Cascade(4, 16), std=0.15)
    for predictor in net.box_predictor:
        predictor.cls_score.bias.copy_(torch.tensor([1.0, 0.0]))
    levels = [noise(4, 4, 48 // step, 64 // step, seed=step) for step in (1, 2, 4)]
    nothing = Proposals(torch.empty(0, 4), torch.empty(0))
    some = Proposals(boxes_in(500, 380, 12) - 30, torch.rand(12, generator=torch.Generator().manual_seed(1)))
    more = Proposals(boxes_in(500, 380, 20, seed=2) - 30, torch.rand(20, generator=torch.Generator().manual_seed(2)))
    sizes = [(380, 500), (370, 510), (384, 512), (384, 512)]
    found = net(levels, [nothing, some, more, nothing], sizes)
    for number, proposed in ((1, some), (2, more)):
        want = plain_cascade(net, [level[number : number + 1] for level in levels], proposed, sizes[number])
        assert 1 < len(want.scores_N) < len(proposed.scores_N)
        same(found[number], want)
    none = net(levels, [nothing] * 4, sizes)
    for empty in (found[0], found[3], *none):
        assert empty.boxes_N4.shape == (0, 4) and empty.scores_N.shape == (0,)
        assert empty.features_NCHW.shape == (0, 4, 14, 14)

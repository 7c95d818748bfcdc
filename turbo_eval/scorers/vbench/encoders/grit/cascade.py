"""Which proposals are objects, and where exactly? Three box heads in a row (Cai and Vasconcelos, arXiv 1712.00726).

Each pools 7x7 features of every box, says whether it is an object (softmax of two, the first is "yes") and moves it:
the next head sees the moved box, clipped to the frame. With weights (10,10,5,5), (20,20,10,10), (30,30,15,15) for d:
    centre += d_xy / weight * size;   size *= exp(min(d_wh / weight, log(1000 / 16)))     (Girshick, arXiv 1311.2524)
score = sqrt(mean of the three chances * the proposal's score). Above 0.5; of boxes that overlap by more than 0.5 only
the best stays; at most 256; boxes that are empty after clipping are left out. What the text decoder reads is pooled
from these last boxes, 14x14. A box is pooled (RoIAlign, aligned) from P3, P4 or P5, level floor(4 + log2(sqrt(area) /
224)) (Lin et al., arXiv 1612.03144, equation 1). Facts: VBench 0.1.5's configuration of GRiT, detectron2's defaults.
Shape legend: B frames, C channels, N boxes of all frames together or of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import nms, roi_align

from turbo_eval.scorers.vbench.encoders.backbone import finite
from turbo_eval.scorers.vbench.encoders.grit.centernet import Proposals
from turbo_eval.scorers.vbench.encoders.grit.fpn import STRIDES_PX
from turbo_eval.scorers.vbench.encoders.linear import Linear

BOX_SIDE, OBJECT_SIDE = 7, 14
WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
MOST_GROWTH = math.log(1000 / 16)
CANONICAL_PX, CANONICAL_LEVEL, FIRST_LEVEL, LAST_LEVEL = 224, 4, 3, 5
SURE = 0.5  # VBench's confidence threshold; GRiT's own is 0.02
OVERLAP = 0.5
MOST = 256


@dataclass(frozen=True)
class Detections:
    """Of one frame, the surest first; all empty where nothing is found.

    boxes_N4: float32 x1, y1, x2, y2 in px of the frame, clipped to it; VBench reports them truncated to integers.
    scores_N: float32 in (0.5, 1]. features_NCHW: (N, 256, 14, 14) float32, of each box.
    """

    boxes_N4: Tensor
    scores_N: Tensor
    features_NCHW: Tensor


class BoxHead(nn.Module):
    """Pooled features to a vector."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = Linear(channels * BOX_SIDE**2, hidden)
        self.fc2 = Linear(hidden, hidden)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, hidden)."""
        return F.relu(self.fc2(F.relu(self.fc1(x_NCHW.flatten(1)))))


class BoxPredictor(nn.Module):
    """A vector to two logits, object or not, and four deltas."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.cls_score = Linear(hidden, 2)
        self.bbox_pred = nn.Sequential(Linear(hidden, hidden), nn.ReLU(), Linear(hidden, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 2) and (N, 4)."""
        return self.cls_score(x), self.bbox_pred(x)


class Cascade(nn.Module):
    """The box heads, with the names of the published checkpoint. Boxes of all frames go through each at once."""

    def __init__(self, channels: int = 256, hidden: int = 1024) -> None:
        super().__init__()
        self.box_head = nn.ModuleList(BoxHead(channels, hidden) for _ in WEIGHTS)
        self.box_predictor = nn.ModuleList(BoxPredictor(hidden) for _ in WEIGHTS)

    def forward(
        self, levels: Sequence[Tensor], proposed: Sequence[Proposals], sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """Of each frame. levels: P3, P4, P5 (B, C, H, W). sizes: each frame's height and width in px, unpadded."""
        levels = [level.float() for level in levels]
        counts = [len(p.scores_N) for p in proposed]
        boxes = torch.cat([p.boxes_N4 for p in proposed])
        frame_N = frames_of(counts, boxes.device)
        limits_N4 = boxes.new_tensor([(width, height) * 2 for height, width in sizes])[frame_N]
        chances = boxes.new_zeros(len(boxes))
        for head, predictor, weights in zip(self.box_head, self.box_predictor, WEIGHTS, strict=True):
            logits, deltas = predictor(head(pooled(levels, frame_N, boxes, BOX_SIDE)))
            # before they are bounded: an infinite one becomes a chance of 0, or an empty box
            chances = chances + finite(logits.float(), "GRiT's chances").softmax(-1)[:, 0]
            deltas = finite(deltas.float(), "GRiT's boxes")
            boxes = clipped(finite(moved(boxes, deltas, weights), "GRiT's boxes"), limits_N4)
        scores = (chances / len(WEIGHTS) * torch.cat([p.scores_N for p in proposed])).sqrt()
        chosen = [surest(b, s) for b, s in zip(boxes.split(counts), scores.split(counts), strict=True)]
        return _with_features(levels, chosen)


def _with_features(levels: Sequence[Tensor], chosen: Sequence[tuple[Tensor, Tensor]]) -> list[Detections]:
    counts = [len(scores) for _, scores in chosen]
    boxes = torch.cat([boxes for boxes, _ in chosen])
    features = pooled(levels, frames_of(counts, boxes.device), boxes, OBJECT_SIDE).split(counts)
    return [Detections(b, s, f) for (b, s), f in zip(chosen, features, strict=True)]


def frames_of(counts: Sequence[int], device: torch.device) -> Tensor:
    """(N,) int64: the number of the frame that each box lies in, of `counts` boxes a frame."""
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(device)


def level_of(boxes_N4: Tensor) -> Tensor:
    """(N,) int64: 0 for P3, 1 for P4, 2 for P5."""
    width, height = (boxes_N4[:, 2:] - boxes_N4[:, :2]).unbind(1)
    ratio = (width * height).sqrt() / CANONICAL_PX + torch.finfo(torch.float64).eps
    level = (CANONICAL_LEVEL + ratio.log2()).floor()
    return level.clamp(FIRST_LEVEL, LAST_LEVEL).long() - FIRST_LEVEL


def pooled(levels: Sequence[Tensor], frame_N: Tensor, boxes_N4: Tensor, side: int) -> Tensor:
    """(N, C, side, side) features of each box in its frame, from the level of its size."""
    rows_N5 = torch.cat((frame_N[:, None].to(boxes_N4.dtype), boxes_N4), 1)
    level_N = level_of(boxes_N4)
    out = levels[0].new_zeros(len(boxes_N4), levels[0].shape[1], side, side)
    for number, (level, stride) in enumerate(zip(levels, STRIDES_PX[: len(levels)], strict=True)):
        here = (level_N == number).nonzero()[:, 0]
        out[here] = roi_align(level, rows_N5[here], side, 1 / stride, sampling_ratio=0, aligned=True)
    return out


def moved(boxes_N4: Tensor, deltas_N4: Tensor, weights: Sequence[float]) -> Tensor:
    """(N, 4) the boxes after their deltas dx, dy, dw, dh, divided by their weights."""
    size = boxes_N4[:, 2:] - boxes_N4[:, :2]
    deltas = deltas_N4 / deltas_N4.new_tensor(weights)
    centre = deltas[:, :2] * size + (boxes_N4[:, :2] + 0.5 * size)
    half = 0.5 * (deltas[:, 2:].clamp(max=MOST_GROWTH).exp() * size)
    return torch.cat((centre - half, centre + half), 1)


def clipped(boxes_N4: Tensor, limits_N4: Tensor) -> Tensor:
    """Inside the frame. limits: width, height, width, height."""
    return boxes_N4.clamp(min=0).minimum(limits_N4)


def surest(boxes_N4: Tensor, scores_N: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes and scores of a frame's objects, the surest first."""
    sure = scores_N > SURE
    boxes, scores = boxes_N4[sure], scores_N[sure]
    keep = nms(boxes, scores, OVERLAP)[:MOST]
    boxes, scores = boxes[keep], scores[keep]
    there = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return boxes[there], scores[there]

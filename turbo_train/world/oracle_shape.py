"""Which shape is a soft mask, and where is it? Template alignment, the second half of the oracle.

Each shape of the world is rendered with the mask's area and centroid, and the best soft IoU wins:
    IoU = sum min(alpha, template) / sum max(alpha, template), over all frames and all pixels that can be seen.
An object that leaves the frame or lies under another biases area and centroid of what is visible. So the
template is cut in the same way, and its centre and radius move until the cut template has the mask's moments;
its centre is then the object's own, which is what the motion is read from.

Shape legend: S shapes, T frames, H, W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turbo_train.world.oracle_segment import centroid
from turbo_train.world.render import distance
from turbo_train.world.scene import SHAPES

Array = NDArray[np.float32]

ROUNDS = 8
CLOSE_PX = 0.05
SOFT_PX = 1.0  # of the second template: a blurred square must not be taken for a circle


@dataclass(frozen=True)
class Fit:
    """How each shape lies on a mask: iou_S, centre_ST2 (x, y px) and radius_ST (px)."""

    iou_S: Array
    centre_ST2: Array
    radius_ST: Array


def template(shape: str, centre_T2: Array, radius_T: Array, high_px: int, wide_px: int) -> Array:
    """(T, H, W) anti-aliased coverage, by the law that clips are rendered with."""
    x = np.arange(wide_px, dtype=np.float32)[None, None, :] + np.float32(0.5) - centre_T2[:, 0, None, None]
    y = np.arange(high_px, dtype=np.float32)[None, :, None] + np.float32(0.5) - centre_T2[:, 1, None, None]
    cover: Array = np.clip(np.float32(0.5) - distance(shape, x, y, radius_T[:, None, None]), 0.0, 1.0)
    return cover


def _align(shape: str, alpha_THW: Array, care_THW: Array) -> tuple[float, Array, Array]:
    """IoU, centres (T, 2) and radii (T,) of one shape, by fixed-point moment matching."""
    import cv2

    high, wide = alpha_THW.shape[1:]
    seen = alpha_THW * care_THW
    area = np.maximum(seen.sum((1, 2)), 1.0)
    where = centroid(seen)
    centre, radius = where.copy(), np.sqrt(area / np.pi).astype(np.float32)
    for _ in range(ROUNDS):
        cut = template(shape, centre, radius, high, wide) * care_THW
        mass = np.maximum(cut.sum((1, 2)), 1.0)
        shift = np.clip(np.nan_to_num(where - centroid(cut)), -3.0, 3.0)
        grow = np.clip(np.sqrt(area / mass), 0.8, 1.25)
        if np.abs(shift).max() < CLOSE_PX and np.abs(grow - 1).max() < 0.01:
            break
        centre = (centre + shift).astype(np.float32)
        radius = np.minimum(radius * grow, max(high, wide) / 2).astype(np.float32)
    sharp = template(shape, centre, radius, high, wide)
    soft = np.stack([cv2.GaussianBlur(frame, (0, 0), SOFT_PX) for frame in sharp])
    return max(_iou(seen, sharp * care_THW), _iou(seen, soft * care_THW)), centre, radius


def _iou(a: Array, b: Array) -> float:
    return float(np.minimum(a, b).sum() / max(1.0, float(np.maximum(a, b).sum())))


def fit(alpha_THW: Array, care_THW: Array) -> Fit:
    """Align every shape of the world to a mask, frame by frame. care_THW: 0 where something else hides it."""
    found = [_align(shape, alpha_THW, care_THW) for shape in SHAPES]
    return Fit(
        np.array([iou for iou, _, _ in found], np.float32),
        np.stack([centre for _, centre, _ in found]),
        np.stack([radius for _, _, radius in found]),
    )

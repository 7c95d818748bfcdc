"""How does a scene become pixels, and what exactly is in them?

Signed-distance shapes, one-pixel anti-aliasing (coverage = clip(1/2 - distance, 0, 1)), vectorised over
clips and frames. The ground truth is computed from the same distances: masks, boxes, centres, flow.
Radii are area-normalised: every shape of radius r covers pi r^2 px^2, so size does not betray shape.
Shape legend: B clips, O objects (padded to the largest count), T frames, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turbo_train.world.scene import DIRECTION, FRAMES, LEAD, RGB, SHAPES, SIZE_PX, Scene

Array = NDArray[np.float32]

SQUARE_HALF = float(np.sqrt(np.pi) / 2)  # half side of the square of area pi
TRIANGLE_R = float(np.sqrt(4 * np.pi / (3 * np.sqrt(3))))  # circumradius of the triangle of area pi


@dataclass(frozen=True)
class Rendered:
    """Clips and their exact ground truth.

    frames_BTHWC: float32 in [0, 1]. mask_BOTHW: visible coverage of each object in [0, 1].
    box_BOT4: x0, y0, x1, y1 px of the visible mask (> 1/2), NaN where nothing is visible.
    centre_BOT2: x, y px. flow_BTHW2: px per frame from frame t to t+1 at frame t's pixels (T-1 entries).
    """

    frames_BTHWC: Array
    mask_BOTHW: Array
    box_BOT4: Array
    centre_BOT2: Array
    flow_BTHW2: Array


def distance(shape: str, x: Array, y: Array, radius: Array) -> Array:
    """Signed distance in px (negative inside) from a shape of area pi radius^2 at the origin, y downwards."""
    reach: Array
    if shape == "circle":
        reach = np.asarray(np.hypot(x, y) - radius, np.float32)
        return reach
    if shape == "square":
        reach = np.asarray(np.maximum(np.abs(x), np.abs(y)) - radius * SQUARE_HALF, np.float32)
        return reach
    if shape == "triangle":  # apex up, centroid at the origin; each side lies R/2 from the centroid
        inner = radius * TRIANGLE_R / 2
        slanted = np.abs(x) * np.float32(np.sqrt(3) / 2) - y / 2
        reach = np.asarray(np.maximum(slanted, y) - inner, np.float32)
        return reach
    raise ValueError(f"unknown shape {shape!r}; shapes are {', '.join(SHAPES)}")


def centres(scene: Scene, frames: int = FRAMES) -> Array:
    """(O, T, 2) centre path in px: a straight line at constant speed; LEAD of it lies before the thing's own place."""
    phase: Array = np.linspace(-LEAD, 1 - LEAD, frames).astype(np.float32)
    path = np.empty((scene.count, frames, 2), np.float32)
    for o, thing in enumerate(scene.things):
        dx, dy = DIRECTION[thing.motion]
        path[o, :, 0] = thing.x_px + dx * thing.travel_px * phase
        path[o, :, 1] = thing.y_px + dy * thing.travel_px * phase
    return path


def coverage(shape: str, centre_BT2: Array, radius_B: Array, size_px: int = SIZE_PX) -> Array:
    """(B, T, H, W) anti-aliased coverage in [0, 1] of one shape per clip."""
    axis = np.arange(size_px, dtype=np.float32) + np.float32(0.5)
    x = axis[None, None, None, :] - centre_BT2[:, :, 0, None, None]
    y = axis[None, None, :, None] - centre_BT2[:, :, 1, None, None]
    dist = distance(shape, x, y, radius_B[:, None, None, None])
    covered: Array = np.clip(np.float32(0.5) - dist, 0.0, 1.0).astype(np.float32)
    return covered


def boxes(mask_BOTHW: Array) -> Array:
    """(B, O, T, 4) tight x0, y0, x1, y1 around mask > 1/2; NaN where it is empty."""
    on: NDArray[np.bool_] = np.greater(mask_BOTHW, 0.5)
    size = on.shape[-1]
    columns, rows = np.logical_or.reduce(on, axis=-2), np.logical_or.reduce(on, axis=-1)
    seen = columns.any(-1)
    box: Array = np.stack(
        [
            columns.argmax(-1),
            rows.argmax(-1),
            size - columns[..., ::-1].argmax(-1),
            size - rows[..., ::-1].argmax(-1),
        ],
        axis=-1,
    ).astype(np.float32)
    box[~seen] = np.nan
    return box


def render(scenes: Sequence[Scene], frames: int = FRAMES, size_px: int = SIZE_PX) -> Rendered:
    """Render scenes. Later things lie on top of earlier ones; masks are of what is visible."""
    count = max(scene.count for scene in scenes)
    batch = len(scenes)
    alpha = np.zeros((batch, count, frames, size_px, size_px), np.float32)
    colour = np.zeros((batch, count, 3), np.float32)
    centre = np.full((batch, count, frames, 2), np.nan, np.float32)
    for b, scene in enumerate(scenes):
        centre[b, : scene.count] = centres(scene, frames)
        colour[b, : scene.count] = [RGB[thing.colour] for thing in scene.things]
    for o in range(count):
        for shape in SHAPES:
            rows = [b for b, s in enumerate(scenes) if s.count > o and s.things[o].shape == shape]
            if rows:
                radius = np.array([scenes[b].things[o].radius_px for b in rows], np.float32)
                alpha[rows, o] = coverage(shape, centre[rows, o], radius, size_px)
    background = np.array([RGB[scene.background] for scene in scenes], np.float32)
    canvas = np.broadcast_to(background[:, None, None, None] / 255, (batch, frames, size_px, size_px, 3)).copy()
    visible = alpha.copy()
    flow = np.zeros((batch, frames - 1, size_px, size_px, 2), np.float32)
    step = np.nan_to_num(centre[:, :, 1:] - centre[:, :, :-1])
    for o in range(count):
        cover = alpha[:, o, ..., None]
        canvas = canvas * (1 - cover) + colour[:, o, None, None, None] / 255 * cover
        visible[:, :o] *= 1 - alpha[:, None, o]
        on = cover[:, :-1] > 0.5
        flow = np.where(on, step[:, o, :, None, None, :], flow)
    return Rendered(canvas.astype(np.float32), visible, boxes(visible), centre, flow)

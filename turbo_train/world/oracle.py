"""What does a clip of the embedded world show? Read back by classical vision, in place of a human eye.

`read` answers for any uint8 clip: the pixels' objects and colours (oracle_segment), then shape and place of each
by template alignment (oracle_shape), then motion from the path of the aligned template (oracle_motion) and
relation from the centres. Deterministic, no learning. Every attribute has a confidence in [0, 1]; it is 0 exactly
where the value is None: nothing there, or nothing that can be read.

Confidence is an evidence score, not a probability: the product of the share of frames (or pixels) that agree,
the margin over the second best answer, and a factor that falls with pixel noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turbo_train.world.oracle_motion import motion_of, shift_of
from turbo_train.world.oracle_segment import ROUGH_RGB, Ground, Segments, ground_of, roughness, segment
from turbo_train.world.oracle_shape import fit
from turbo_train.world.scene import RGB, SHAPES, SIZE_PX

Array = NDArray[np.float32]

ATTRIBUTES = ("shape", "colour", "motion", "background", "count", "relation")
LEAST = 0.01  # confidence of a value that was read, but barely


@dataclass(frozen=True)
class Seen:
    """One object. Pixels of a 32 px wide frame: mean centre, radius of equal area, shift from first to last frame."""

    shape: str
    colour: str | None
    centre_px: tuple[float, float]
    radius_px: float
    shift_px: tuple[float, float]
    iou: float


@dataclass(frozen=True)
class Reading:
    """What a clip shows; None is unread. shape, colour and motion are the first thing's.

    things: the objects, ordered from left to right (relation `left`) or from top to bottom (`above`).
    """

    shape: str | None
    colour: str | None
    motion: str | None
    background: str | None
    count: int | None
    relation: str | None
    confidence: Mapping[str, float]
    things: tuple[Seen, ...]

    def value(self, attribute: str) -> str | int | None:
        """The value of one of ATTRIBUTES."""
        value: str | int | None = getattr(self, attribute)
        return value


@dataclass(frozen=True)
class _Thing:
    seen: Seen
    motion: str | None
    sure: Mapping[str, float]


def _at_size(frames_THWC: NDArray[np.uint8]) -> Array:
    """Float RGB in 0..255, the longer side brought to the world's 32 px."""
    import cv2

    high, wide = frames_THWC.shape[1:3]
    scale = SIZE_PX / max(high, wide)
    if scale != 1.0:
        size = (max(8, round(wide * scale)), max(8, round(high * scale)))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        frames_THWC = np.stack([cv2.resize(frame, size, interpolation=way) for frame in frames_THWC])
    return frames_THWC.astype(np.float32)


def _thing(segments: Segments, n: int, clear: float) -> _Thing:
    """Shape, place and motion of the n-th object. clear: factor of every confidence."""
    seen_T = segments.seen_NT()[n]
    at = np.flatnonzero(seen_T)
    alpha = segments.alpha_NTHW[n][at]
    others = np.delete(segments.alpha_NTHW, n, axis=0)[:, at]
    hidden = others.max(0) > 0.5 if len(others) else np.zeros_like(alpha, bool)
    found = fit(alpha, (~hidden).astype(np.float32))
    best = int(found.iou_S.argmax())
    second, first = np.sort(found.iou_S)[-2:]
    there = len(at) / len(seen_T) * clear
    sure = {"shape": there * min(1.0, float(first - second) / 0.08) * min(1.0, max(0.0, float(first) - 0.4) / 0.4)}
    path = found.centre_ST2[best]
    shift, motion = np.zeros(2, np.float32), None
    if len(at) >= 2:
        shift, rms = shift_of(path, at)
        motion, steady = motion_of(shift, rms)
        sure["motion"] = there * steady
    name = segments.names[n]
    if name is not None:
        off = float(np.linalg.norm(segments.rgb_N3[n] - np.array(RGB[name], np.float32)))
        sure["colour"] = there * segments.purity[n] / (1 + (off / 100) ** 2)
    centre = path.mean(0)
    seen = Seen(
        SHAPES[best],
        name,
        (float(centre[0]), float(centre[1])),
        float(found.radius_ST[best].mean()),
        (float(shift[0]), float(shift[1])),
        float(first),
    )
    return _Thing(seen, motion, sure)


def _relation(a: Seen, b: Seen) -> tuple[str, float]:
    """Which axis two objects lie along, and how clearly."""
    dx, dy = abs(a.centre_px[0] - b.centre_px[0]), abs(a.centre_px[1] - b.centre_px[1])
    word, axis = ("left", 0) if dx >= dy else ("above", 1)
    gap = (dx, dy)[axis] / max(1.0, a.radius_px + b.radius_px)
    return word, (1 - min(dx, dy) / max(dx, dy, 1e-6)) * min(1.0, gap)


def _count(segments: Segments, frames_THW3: Array, ground: Ground) -> tuple[int, float]:
    """How many objects most frames hold; an empty clip is 0, the less surely the more stands out of its ground."""
    values, times = np.unique(segments.count_T, return_counts=True)
    best = int(times.argmax())
    share = float(times[best] / len(segments.count_T))
    if values[best] == 0:
        loud = (np.linalg.norm(frames_THW3 - ground.rgb_3, axis=3) > 60).mean()
        share *= 1 - min(1.0, float(loud) / 0.05)
    return int(values[best]), share


def read(frames_THWC: NDArray[np.uint8]) -> Reading:
    """Read a clip: uint8 RGB (T, H, W, 3), T >= 1, H and W >= 8. One frame has no motion.

    Raises ValueError for anything that is not such an array.
    """
    shape = frames_THWC.shape
    if len(shape) != 4 or shape[3] != 3 or shape[0] < 1 or min(shape[1:3]) < 8 or frames_THWC.dtype != np.uint8:
        raise ValueError(f"a clip is uint8 (T >= 1, H >= 8, W >= 8, 3), not {frames_THWC.dtype} {shape}")
    frames = _at_size(frames_THWC)
    rough = roughness(frames)
    ground = ground_of(frames) if rough < ROUGH_RGB else None
    if ground is None:
        return _reading({}, {}, ())
    quiet = 1 / (1 + (rough / 80) ** 2)
    clear = quiet * float(ground.kept_T.mean())
    frames = frames[ground.kept_T]
    segments = segment(frames, ground)
    count, share = _count(segments, frames, ground)
    values: dict[str, str | int | None] = {"background": ground.name, "count": count}
    sure = {"background": ground.confidence * quiet, "count": share * clear}
    kept = np.flatnonzero(segments.seen_NT().any(1))
    things = [_thing(segments, int(n), clear) for n in kept]
    if len(things) == 2:
        values["relation"], certain = _relation(things[0].seen, things[1].seen)
        axis = 0 if values["relation"] == "left" else 1
        things.sort(key=lambda thing: thing.seen.centre_px[axis])
        both = float(segments.seen_NT()[kept].all(0).mean())
        sure["relation"] = both * certain * clear
    if things:
        values |= {"shape": things[0].seen.shape, "colour": things[0].seen.colour, "motion": things[0].motion}
        sure |= things[0].sure
    return _reading(values, sure, tuple(thing.seen for thing in things))


def _reading(values: Mapping[str, str | int | None], sure: Mapping[str, float], things: tuple[Seen, ...]) -> Reading:
    """Confidence is 0 where a value is None, and never 0 elsewhere."""
    value = {name: values.get(name) for name in ATTRIBUTES}
    confidence = {
        name: 0.0 if value[name] is None else min(1.0, max(LEAST, float(sure.get(name, 0.0)))) for name in ATTRIBUTES
    }
    count = value["count"]
    text = {name: str(v) if v is not None else None for name, v in value.items() if name != "count"}
    return Reading(
        text["shape"],
        text["colour"],
        text["motion"],
        text["background"],
        int(count) if count is not None else None,
        text["relation"],
        confidence,
        things,
    )

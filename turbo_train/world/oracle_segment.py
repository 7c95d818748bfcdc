"""Which pixels of a clip are its objects, and what colour is each? The first half of the oracle.

1. Ground: the majority of the border pixels (2 px wide, all frames) among the palette's backgrounds.
2. Colour: a pixel that mixes background b and colour c lies on the line b + a (c - b), so the angle between
   (pixel - b) and (c - b) names its colour at any coverage a; that is hue, told apart from anti-aliasing.
3. Masks: with the colours that make up objects known, every pixel goes to the nearest of their lines, its
   position on the line is its soft coverage, and only the largest connected component of each is kept.

Shape legend: T frames, H, W pixels, K palette colours, N objects, 3 RGB in 0..255.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from turbo_train.world.scene import BACKGROUNDS, COLOURS, RGB

Array = NDArray[np.float32]

BORDER_PX = 2
NEAR_RGB = 70.0  # palette backgrounds lie >= 197 apart and >= 111 from any colour
ROUGH_RGB = 90.0  # median step between neighbours: 29 for noise of std 0.05, 59 for 0.1, 170 for uniform noise
COS_NAMED = 0.87  # palette colours seen from any background lie >= 27 degrees apart: half of that, and some noise
COS_OWNED = 0.75
MIN_AREA_PX = 20.0  # a fifth of the smallest object of the world
MIN_SHARE = 0.3  # of the largest object's area; the world's two objects differ by at most (5/6)^2
SEPARATE = 0.8  # least centroid distance over the sum of radii: two halves of one disc have 0.6, real pairs >= 1.08


@dataclass(frozen=True)
class Ground:
    """The background: its name (None where the palette has none like it), its measured colour, confidence.

    kept_T: the frames that have it. A clip can change its background half-way; the rest is not read.
    """

    name: str | None
    rgb_3: Array
    confidence: float
    kept_T: NDArray[np.bool_]


@dataclass(frozen=True)
class Segments:
    """Objects found. names: palette colour or None; purity: share of an object's pixels that have its colour.

    alpha_NTHW: soft coverage in [0, 1]. rgb_N3: measured colour. count_T: objects seen in each frame.
    """

    names: tuple[str | None, ...]
    purity: tuple[float, ...]
    rgb_N3: Array
    alpha_NTHW: Array
    count_T: NDArray[np.int64]

    def seen_NT(self) -> NDArray[np.bool_]:
        """(N, T): whether an object is there in a frame."""
        return np.asarray(self.alpha_NTHW.sum((2, 3)) >= MIN_AREA_PX)


def roughness(frames_THW3: Array) -> float:
    """Median RGB distance between horizontal neighbours: 0 for clean clips, grows with pixel noise."""
    step = np.diff(frames_THW3, axis=2)
    return float(np.sqrt(np.median(np.einsum("thwc,thwc->thw", step, step))))


def ground_of(frames_THW3: Array) -> Ground | None:
    """The background; None where the border is a mess that no background explains."""
    rim = BORDER_PX
    inner = frames_THW3[:, rim:-rim]
    edges = (frames_THW3[:, :rim], frames_THW3[:, -rim:], inner[:, :, :rim], inner[:, :, -rim:])
    border_TN3 = np.concatenate([e.reshape(len(e), -1, 3) for e in edges], axis=1)
    palette = np.array([RGB[b] for b in BACKGROUNDS], np.float32)
    near_BTN = np.linalg.norm(border_TN3 - palette[:, None, None], axis=3) < NEAR_RGB
    share_B = near_BTN.mean((1, 2))
    best = int(share_B.argmax())
    named = share_B[best] >= 0.25
    rgb = np.median(border_TN3[near_BTN[best]] if named else border_TN3.reshape(-1, 3), axis=0).astype(np.float32)
    kept_T = (np.linalg.norm(border_TN3 - rgb, axis=2) < NEAR_RGB).mean(1) >= 0.5
    if not kept_T.any():
        return None
    confidence = float(share_B[best] ** 2 / (share_B[best] + np.sort(share_B)[-2])) if named else 0.0
    return Ground(BACKGROUNDS[best] if named else None, rgb, confidence, kept_T)


def _lines(ground_3: Array) -> tuple[Array, Array]:
    """Unit directions (K, 3) and lengths (K,) of the lines from the background to the palette's colours."""
    ray = np.array([RGB[c] for c in COLOURS], np.float32) - ground_3
    length = np.maximum(np.linalg.norm(ray, axis=1), 1e-3).astype(np.float32)
    return ray / length[:, None], length


def _votes(delta_THW3: Array, ground_3: Array) -> Array:
    """(K, T, H, W) coverage by each palette colour: of every pixel, only its nearest line's is not 0."""
    ray, length = _lines(ground_3)
    along = np.moveaxis(delta_THW3 @ ray.T, -1, 0)
    norm = np.sqrt(np.einsum("thwc,thwc->thw", delta_THW3, delta_THW3))
    along[length < NEAR_RGB / 2] = -1.0  # a colour like this background cannot be seen on it
    best = along.argmax(0)
    top = np.take_along_axis(along, best[None], 0)[0]
    weight = np.where((top > COS_NAMED * norm) & (top > 0.35 * length[best]), np.minimum(top / length[best], 1.0), 0.0)
    return np.where(best == np.arange(len(length))[:, None, None, None], weight, 0.0).astype(np.float32)


def centroid(weight: Array) -> Array:
    """(..., 2) x, y centroid in px of (..., H, W) weights; pixel centres lie at halves; NaN where all is 0."""
    high, wide = weight.shape[-2:]
    mass = weight.sum((-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        x = weight.sum(-2) @ (np.arange(wide, dtype=np.float32) + 0.5) / mass
        y = weight.sum(-1) @ (np.arange(high, dtype=np.float32) + 0.5) / mass
    return np.stack([x, y], axis=-1).astype(np.float32)


def _owners(votes_KTHW: Array) -> list[int]:
    """The palette colours that make up objects of their own, the largest first."""
    area = votes_KTHW.sum((2, 3))
    seen = area >= MIN_AREA_PX
    total = np.where(seen.any(1), area.sum(1), 0.0)
    order = [int(k) for k in np.argsort(-total, kind="stable") if total[k] > 0]
    if not order:
        return []
    owners = order[:1]
    centre, radius = centroid(votes_KTHW), np.sqrt(area / np.pi)
    for k in order[1:]:
        apart = seen[k] & (total[k] >= MIN_SHARE * total[owners[0]])
        for j in owners:
            gap = np.linalg.norm(np.nan_to_num(centre[k] - centre[j]), axis=1)
            apart &= seen[j] & (gap > SEPARATE * (radius[k] + radius[j]))
        if 2 * apart.sum() > len(apart):
            owners.append(k)
    return owners


def _components(alpha_THW: Array, least_px: float) -> tuple[Array, NDArray[np.int64]]:
    """Coverage kept around the largest component of coverage > 1/2 of each frame, and components per frame."""
    import cv2

    kept = np.zeros_like(alpha_THW)
    count = np.zeros(len(alpha_THW), np.int64)
    around = np.ones((5, 5), np.uint8)
    for t, alpha in enumerate(alpha_THW):
        _, label, stats, _ = cv2.connectedComponentsWithStats((alpha > 0.5).astype(np.uint8), connectivity=4)
        area = stats[1:, cv2.CC_STAT_AREA]
        if len(area) and area.max() >= least_px:
            count[t] = int((area >= max(least_px, MIN_SHARE * area.max())).sum())
            largest = (label == 1 + int(area.argmax())).astype(np.uint8)
            kept[t] = alpha * cv2.dilate(largest, around)
    return kept, count


def _rays(delta_THW3: Array, votes_KTHW: Array, owners: list[int]) -> list[Array]:
    """The measured colour of each owner, relative to the background: the median of its well covered pixels."""
    rays = []
    for k in owners:
        core = votes_KTHW[k] > 0.7
        core = core if core.sum() >= MIN_AREA_PX else votes_KTHW[k] > 0
        rays.append(np.median(delta_THW3[core], axis=0).astype(np.float32))
    return rays


def _unnamed(delta_THW3: Array) -> list[Array]:
    """The colour of one object that the palette does not name (a white disc on black), if there is one."""
    norm = np.linalg.norm(delta_THW3, axis=3)
    stands_out = norm > NEAR_RGB
    if 2 * (stands_out.sum((1, 2)) >= MIN_AREA_PX).sum() <= len(norm):
        return []
    ray = np.median(delta_THW3[stands_out], axis=0).astype(np.float32)
    length = float(np.linalg.norm(ray))
    agrees = delta_THW3[stands_out] @ ray > COS_OWNED * length * norm[stands_out]
    return [ray] if length > NEAR_RGB / 2 and agrees.mean() > 0.5 else []


def _name(ray_3: Array, ground_3: Array, owner: int) -> str | None:
    """The palette's name of a measured colour; None for one that is nearer to gray than to its owner."""
    lines, _ = _lines(ground_3)
    gray = abs(float(ray_3.sum())) / np.sqrt(3)
    return COLOURS[owner] if float(ray_3 @ lines[owner]) > gray else None


def _purity(votes_THW: Array, core_THW: NDArray[np.bool_]) -> float:
    """Share of an object's pixels that vote for its colour."""
    return float((votes_THW > 0)[core_THW].mean()) if core_THW.any() else 0.0


def segment(frames_THW3: Array, ground: Ground) -> Segments:
    """The objects of a clip (RGB in 0..255) on a known background, the largest first."""
    import cv2

    delta = frames_THW3 - ground.rgb_3
    votes = _votes(delta, ground.rgb_3)
    owners = _owners(votes)
    rays = _rays(delta, votes, owners) if owners else _unnamed(delta)
    frames, high, wide = delta.shape[:3]
    alpha = np.zeros((len(rays), frames, high, wide), np.float32)
    if not rays:
        return Segments((), (), np.zeros((0, 3), np.float32), alpha, np.zeros(frames, np.int64))
    square = np.einsum("thwc,thwc->thw", delta, delta)
    off = np.empty_like(alpha)
    for n, ray in enumerate(rays):
        along = np.clip(delta @ ray / (ray @ ray), 0.0, None)
        rest = delta - np.minimum(along, 1.0)[..., None] * ray
        off[n] = np.einsum("thwc,thwc->thw", rest, rest)
        limit = np.maximum((1 - COS_OWNED**2) * square, 40.0**2)
        alpha[n] = np.where(off[n] <= limit, np.minimum(along, 1.0), 0.0)
    if len(rays) > 1:
        smooth = np.stack([np.stack([cv2.blur(frame, (3, 3)) for frame in one]) for one in off])
        alpha *= smooth.argmin(0) == np.arange(len(rays))[:, None, None, None]
    parts = [_components(one, MIN_AREA_PX) for one in alpha]
    alpha = np.stack([kept for kept, _ in parts])
    anything = (votes.sum((2, 3)) >= MIN_AREA_PX).any(0)  # a clip can change its object half-way
    count = np.maximum(np.sum([number for _, number in parts], axis=0), anything).astype(np.int64)
    names: tuple[str | None, ...] = (None,)
    purity: tuple[float, ...] = (0.0,)
    if owners:
        names = tuple(_name(ray, ground.rgb_3, k) for ray, k in zip(rays, owners, strict=True))
        purity = tuple(_purity(votes[k], alpha[n] > 0.5) for n, k in enumerate(owners))
    return Segments(names, purity, np.stack(rays) + ground.rgb_3, alpha, count)

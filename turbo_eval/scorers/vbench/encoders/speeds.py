"""How fast do the fastest pixels move between two frames of a clip? What dynamic_degree and the static filter share.

r of a pair is the mean of its largest flow magnitudes (vbench 0.1.5: 5 % of them, the static filter 2 %). Of a whole
flow only those are kept, so that a long clip's flows never are in memory together.
Shape legend: H W pixels, which may be of a padded grid (RAFT's).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from turbo_eval.scorers.base import Features
from turbo_eval.scorers.vbench.encoders import DenseFlow, FloatArray

KEPT_SHARE = 0.05


@dataclass(frozen=True)
class Speeds:
    """A pair's largest magnitudes, px, ascending, float32; pixels: of the whole flow."""

    largest_px: FloatArray
    pixels: int

    @classmethod
    def of(cls, flow_HW2: FloatArray) -> Speeds:
        """Of a flow in px."""
        magnitudes = np.sqrt(flow_HW2[..., 0] ** 2 + flow_HW2[..., 1] ** 2).ravel()
        kept = max(1, int(KEPT_SHARE * magnitudes.size))
        return cls(np.sort(np.partition(magnitudes, -kept)[-kept:]), magnitudes.size)

    def radius(self, share: float) -> float:
        """r: the mean of the largest int(share H W), at least one, of the magnitudes, px. share: at most KEPT_SHARE."""
        return float(np.mean(self.largest_px[-max(1, int(share * self.pixels)) :]))


def clip_speeds(encoder: DenseFlow, features: Features, pairs: Sequence[tuple[int, int]]) -> Iterator[Speeds]:
    """Of each pair of frame numbers, in order: computed when they are asked for, once however many dimensions ask."""
    known: dict[tuple[int, int], Speeds] = features.get(("speeds", encoder.encoder_id), dict)
    lacking = [pair for pair in dict.fromkeys(pairs) if pair not in known]
    flows = iter(encoder.flows(features.clip.frames_THWC, lacking))
    for pair in pairs:
        if pair not in known:
            known[pair] = Speeds.of(next(flows))
        yield known[pair]

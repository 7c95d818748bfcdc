"""How little does a static clip flicker? VBench's temporal_flickering, to the last bit.

score = (255 - mean over consecutive frames of mean |I_{t+1} - I_t|) / 255     (arXiv 2311.17982, section 3.1)
Both means are numpy's float32 means over BGR pixels, as in vbench 0.1.5: channel order does not change the value, but
it changes the order of summation and so the eighth digit. VBench asks this of clips that its static filter has kept.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from turbo_eval.scorers.base import TOO_SHORT, Clip, Features, Score, with_versions
from turbo_eval.scorers.vbench.spec import TEMPORAL_FLICKERING

if TYPE_CHECKING:
    from turbo_eval.scorers.vbench.encoders import DenseFlow
    from turbo_eval.scorers.vbench.static_filter import StaticFilter

NOT_STATIC = "not static: VBench's filter does not keep it"


def flickering(frames_THWC: NDArray[np.uint8]) -> float:
    """Score in [0, 1] of uint8 RGB frames; 1 is a frozen clip."""
    frames_BGR = (np.ascontiguousarray(frame_HWC[..., ::-1]).astype(np.float32) for frame_HWC in frames_THWC)
    steps = np.array([np.mean(np.abs(after - before)) for before, after in pairwise(frames_BGR)])
    return (255.0 - float(np.mean(steps))) / 255.0


class TemporalFlickering:
    """The scorer; it has no encoder, so it is VBench's own number in every tier.

    static_filter: what says whether a clip is static (1) or not (0); a clip that is not has no score. None: all have.
    """

    metric = TEMPORAL_FLICKERING

    def __init__(self, static_filter: StaticFilter | None = None) -> None:
        self.static_filter = static_filter
        kept = f"-static-{static_filter.scorer_id}" if static_filter else ""
        self.scorer_id = with_versions(f"vbench/{TEMPORAL_FLICKERING}@1{kept}", "numpy")

    @property
    def encoder(self) -> DenseFlow | None:
        """The filter's, which dynamic_degree has too."""
        return None if self.static_filter is None else self.static_filter.encoder

    def load(self) -> None:
        """Load the filter's network, where it has one."""
        if self.static_filter is not None:
            self.static_filter.load()

    def relieve(self) -> str:
        """Make the filter's forward pass need less memory."""
        return "" if self.static_filter is None else self.static_filter.relieve()

    def score(self, clip: Clip, features: Features) -> Score:
        """Of the decoded frames."""
        if len(clip.frames_THWC) < 2:
            return Score.none(TOO_SHORT)
        if self.static_filter is not None and not self.static_filter.score(clip, features).value:
            return Score.none(NOT_STATIC)
        return Score.of(flickering(clip.frames_THWC))

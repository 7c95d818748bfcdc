"""How far are two sets of clips from the same noise apart? In 8-bit levels, over all frames.

PSNR = 10 log10(255^2 / mean squared difference) dB (ITU-T J.340), of all pixels together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from turbo_eval.generators.base import Frames
from turbo_eval.timing.record import Difference

WHITE = 255


def difference(frames: Sequence[Frames], reference_frames: Sequence[Frames], than: str) -> Difference:
    """Of clips (T, H, W, 3) uint8 from those of the row `than`, in the same order. psnr_db None: no pixel differs.

    ValueError: another number of clips, or clips of another shape, or none.
    """
    shapes, others = ([clip.shape for clip in clips] for clips in (frames, reference_frames))
    if shapes != others or not sum(clip.size for clip in frames):
        raise ValueError(f"clips of shapes {shapes} against {others}")
    most, total, squares, count = 0, 0, 0, 0
    for clip, reference in zip(frames, reference_frames, strict=True):
        apart = np.abs(clip.astype(np.int32) - reference)
        most = max(most, int(apart.max()))
        total += int(apart.sum(dtype=np.int64))
        squares += int(np.square(apart).sum(dtype=np.int64))
        count += apart.size
    psnr_db = 10 * math.log10(WHITE**2 * count / squares) if squares else None
    return Difference(than, most, total / count, psnr_db)

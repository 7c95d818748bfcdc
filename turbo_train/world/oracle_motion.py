"""Where does an object's path lead? Still, or one of four directions, from centres frame by frame.

The shift is the median of all pairwise slopes times the duration (Theil 1950, Sen 1968), so single frames that
were read wrongly do not turn it; what deviates from the straight line lowers the confidence.
Shape legend: T frames in which the object was seen.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

MOVING_PX = 4.0  # total shift over the clip, at 32 px: the world's things travel 0 or 12 to 15


def shift_of(path_T2: Array, at_T: NDArray[np.int64]) -> tuple[Array, float]:
    """Displacement over the path (median of pairwise slopes times duration) and its rms deviation, px."""
    i, j = np.triu_indices(len(at_T), 1)
    slope = np.median((path_T2[j] - path_T2[i]) / (at_T[j] - at_T[i])[:, None], axis=0)
    line = slope * (at_T - at_T.mean())[:, None]
    rest = path_T2 - path_T2.mean(0) - line
    return (slope * (at_T[-1] - at_T[0])).astype(np.float32), float(np.sqrt((rest**2).sum(1).mean()))


def motion_of(shift_2: Array, rms_px: float) -> tuple[str, float]:
    """Still or the axis of the larger shift, with its confidence."""
    dx, dy = float(shift_2[0]), float(shift_2[1])
    major, minor = max(abs(dx), abs(dy)), min(abs(dx), abs(dy))
    straight = 1 / (1 + (rms_px / 1.5) ** 2)
    margin = min(1.0, abs(major - MOVING_PX) / MOVING_PX)
    if major < MOVING_PX:
        return "still", margin * straight
    word = ("left" if dx < 0 else "right") if abs(dx) >= abs(dy) else ("up" if dy < 0 else "down")
    return word, margin * (1 - minor / major) * straight

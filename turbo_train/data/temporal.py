"""Which frames of a clip are trained on? A window at a random place, thinned out to the wanted speed.

stride = round(native fps / wanted fps), native fps rounded first, halves to even (Python's round), as the code of
T2V-Turbo at eaae323 does: clips of 25 fps with 16 wanted give every second frame, 12.5 per second.
"""

from __future__ import annotations

import numpy as np

from turbo_train.data.skipped import Unusable


def window(
    clip_frames: int, native_fps: float, frames: int, wanted_fps: float, generator: np.random.Generator
) -> range:
    """`frames` frame numbers, `stride` apart; the first is uniform over all places where the window fits.

    Unusable: a clip slower than wanted, or shorter than frames * stride.
    """
    native = round(native_fps)
    if native < wanted_fps:
        raise Unusable(f"{native_fps:.4g} fps, wanted are {wanted_fps:g}")
    stride = max(1, round(native / wanted_fps))
    room = clip_frames - frames * stride
    if room < 0:
        raise Unusable(
            f"{clip_frames} frames at {native_fps:.4g} fps, wanted are {frames * stride} ({frames} x {stride})"
        )
    start = int(generator.integers(room + 1))
    return range(start, start + frames * stride, stride)

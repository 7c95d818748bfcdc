"""Which frames of a clip does a video reward see? Evenly spread ones, the same for everybody who asks.

VBench's `middle` rule (load_video, vbench 0.1.5): the clip is cut into as many equal parts as frames are wanted and
the middle frame of each is taken. Differs: T2V-Turbo takes a strided subset from a random offset, in training.
"""

from __future__ import annotations

from itertools import pairwise

from turbo_train.errors import UserError


def spread(length: int, count: int, *, repeat_last: bool = False) -> list[int]:
    """`count` indices into a clip of `length` frames, in order.

    UserError for a clip that is too short, unless its last frame may be repeated.
    """
    if length < 1 or (length < count and not repeat_last):
        raise UserError(found=f"{length} frames", expected=f"at least {count}", run_next="--repeat-last")
    kept = min(count, length)
    edges = [length * k // kept for k in range(kept + 1)]
    index = [(a + b - 1) // 2 for a, b in pairwise(edges)]
    return index + [index[-1]] * (count - kept)

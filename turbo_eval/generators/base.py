"""What must something offer to make clips?

A clip is named by (prompt_id, sample_index). Its noise is a function of (seed, prompt_id, sample_index) alone, so
two models start from the same noise and neither the batch nor the order nor an interruption changes a clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from turbo_eval.records import Prompt

Frames = NDArray[np.uint8]  # (T, H, W, 3)


class Generator(Protocol):
    """A model that is loaded and set up."""

    @property
    def fps(self) -> float:
        """Frames per second of its clips."""
        ...

    @property
    def batch(self) -> int:
        """How many clips it makes at a time: what an interruption can lose."""
        ...

    def generate(self, prompts: Sequence[Prompt], sample_indices: Sequence[int], seed: int) -> list[Frames]:
        """One (T, H, W, 3) uint8 array for each pair of prompt and sample index, in order."""
        ...

"""What does the embedded world give to training? Scenes rendered without end, with captions as noisy as the teacher's.

Scene n of a stream is a function of (seed, n): place i of step k is scene k * lanes + i.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from turbo_train.data.sample import Drawn, Position, Sample
from turbo_train.world.build.clips import pixels
from turbo_train.world.captions import caption
from turbo_train.world.scene import sample_scene

WRONG_SHARE, MISSING_SHARE = 0.15, 0.15  # as the world's teacher was trained (world/build/teacher.py)
STREAM = 6001  # so that no stream repeats the clips of a network's own data seed


@dataclass(frozen=True)
class WorldStream:
    """A Source of training scenes; held-out combinations never occur."""

    seed: int = 0

    def lane(self, number: int, lanes: int, start: Position | None) -> Iterator[Drawn]:
        """Every `lanes`-th scene."""
        for turn in count(int(start["turn"]) if start else 0):
            n = turn * lanes + number
            rng = np.random.default_rng([STREAM, self.seed, n])
            scene = sample_scene(rng, "train")
            text = caption(rng, scene, WRONG_SHARE, MISSING_SHARE)
            yield Drawn({"turn": turn + 1}, Sample(text, f"scene {n}", frames_TCHW=pixels([scene])[0]))

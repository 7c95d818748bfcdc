"""How do the world's small clips serve a larger teacher? Scaled up, and only their first frames; for trying a path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from turbo_train.data.clips import Wanted
from turbo_train.data.resize import resize
from turbo_train.data.sample import Drawn, Position
from turbo_train.data.world_stream import WorldStream


@dataclass(frozen=True)
class FittedWorld:
    """A Source of rendered scenes at another size; their fps is the world's."""

    inner: WorldStream
    wanted: Wanted

    def lane(self, number: int, lanes: int, start: Position | None) -> Iterator[Drawn]:
        """As the renderer's own."""
        for drawn in self.inner.lane(number, lanes, start):
            if drawn.sample is None or drawn.sample.frames_TCHW is None:
                yield drawn
                continue
            frames_THWC = drawn.sample.frames_TCHW[: self.wanted.frames].permute(0, 2, 3, 1).contiguous().numpy()
            fitted = resize(frames_THWC, self.wanted.height_px, self.wanted.width_px, self.wanted.resize)
            frames_TCHW = torch.from_numpy(fitted).permute(0, 3, 1, 2).contiguous()
            yield replace(drawn, sample=replace(drawn.sample, frames_TCHW=frames_TCHW))

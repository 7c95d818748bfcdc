"""What does a data source give? Samples, in lanes: lane i of a source fills place i of every batch.

A batch of B samples is read from B lanes, whoever reads them: a process takes the lanes of its places, so neither the
number of processes nor a resumed run changes which sample a place meets. A position says where a lane stands; it is
plain JSON and goes into the checkpoint.
Shape legend: T frames, H, W pixels; C latent channels, h, w latent cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from turbo_train.errors import UserError

Position = Mapping[str, Any]


@dataclass(frozen=True)
class Sample:
    """A caption with its clip: frames_TCHW (uint8), or x_0_CTHW (float, latents as the VAE scales them).

    origin: what messages call it: shard.tar/key, a path, or the number of a rendered scene.
    """

    text: str
    origin: str
    frames_TCHW: Tensor | None = None
    x_0_CTHW: Tensor | None = None


@dataclass(frozen=True)
class Drawn:
    """A sample, or why there is none: `skipped` says so with the sample's origin. position: the lane's after it."""

    position: Position
    sample: Sample | None = None
    skipped: str | None = None


class Source(Protocol):
    """Samples without end. UserError, when a lane is opened: nothing to read at all."""

    def lane(self, number: int, lanes: int, start: Position | None) -> Iterator[Drawn]:
        """Lane `number` of `lanes`, from its beginning (None) or from a position. What cannot be read is skipped."""
        ...


class NoData(UserError):
    """A source in which nothing can be read, or nothing but skipped samples."""

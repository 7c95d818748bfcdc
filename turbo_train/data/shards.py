"""Which samples do WebDataset shards give? `<key>.mp4` or `<key>.latents.npy` with `<key>.txt`, in lanes.

A lane reads whole shards, in another order each epoch. Where there are fewer shards than lanes, each is dealt out in
stripes, every n-th sample to one lane, so that no sample is met twice in an epoch. Within a shard the order is that of
the archive.
Differs: T2V-Turbo (code at eaae323) also shuffles through a buffer of 1,000 samples, whose content no checkpoint holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath

from turbo_train.data.clips import Wanted, read_caption, read_clip
from turbo_train.data.latents import LATENTS, read_latents
from turbo_train.data.sample import Drawn, Position, Sample
from turbo_train.data.skipped import Fruitless, Unusable
from turbo_train.data.tar import Packed, read_shard
from turbo_train.data.turns import Line, Turn, seeded
from turbo_train.video_io import VIDEO_SUFFIXES

PLACE = 6003  # of the window in a clip
CLIPS = tuple(suffix.removeprefix(".") for suffix in VIDEO_SUFFIXES)


@dataclass(frozen=True)
class Shards:
    """A Source. urls: paths, or what WebDataset opens. latents: whether they hold latents, else clips.

    epochs: after how many a lane ends; None: never.
    """

    urls: tuple[str, ...]
    wanted: Wanted
    latents: bool = False
    seed: int = 0
    epochs: int | None = None

    def lane(self, number: int, lanes: int, start: Position | None) -> Iterator[Drawn]:
        """UserError: a position in other shards."""
        stripes = -(-lanes // len(self.urls))
        line = _line(self.urls, stripes, self.seed, self.epochs)
        first, passed = line.start(start)
        return self._walk(line, stripes, line.turns(number, lanes, first), passed)

    def _walk(self, line: Line, stripes: int, turns: Iterator[Turn], passed: int) -> Iterator[Drawn]:
        fruitless = Fruitless(len(line.names), f"{len(self.urls)} shards, the first {self.urls[0]}")
        for turn in turns:
            shard, stripe = divmod(turn.unit, stripes)
            for drawn in self._unit(line, turn, shard, stripe, stripes, passed, fruitless):
                if drawn.sample is not None:
                    fruitless.found()
                yield drawn
            fruitless.over(turn.unit)
            passed = 0

    def _unit(
        self, line: Line, turn: Turn, shard: int, stripe: int, stripes: int, passed: int, fruitless: Fruitless
    ) -> Iterator[Drawn]:
        name = _name(self.urls[shard])
        try:
            for packed in read_shard(self.urls[shard], lambda n: n >= passed and n % stripes == stripe):
                position, origin = line.position(turn.number, packed.index + 1), f"{name}/{packed.key}"
                try:
                    sample = self._sample(packed, origin, turn.epoch, shard)
                except Unusable as why:
                    if not packed.cut:  # or else the shard's own damage says it
                        yield Drawn(position, skipped=fruitless.skipped(f"{origin}: {why}"))
                    continue
                yield Drawn(position, sample)
        except Unusable as why:
            told = fruitless.skipped(f"{name}: {why}")
            if stripe == 0:  # once, not by every stripe
                yield Drawn(line.position(turn.number + 1), skipped=told)

    def _sample(self, packed: Packed, origin: str, epoch: int, shard: int) -> Sample:
        parts = packed.parts
        found = LATENTS if self.latents and LATENTS in parts else next((s for s in CLIPS if s in parts), None)
        if self.latents and found != LATENTS:
            raise Unusable(f"no .{LATENTS} among {_listed(parts)}")
        if found is None:
            raise Unusable(f"a caption without a clip: no .mp4 among {_listed(parts)}")
        if "txt" not in parts:
            raise Unusable(f"a clip without a caption: no .txt among {_listed(parts)}")
        text = read_caption(parts["txt"])
        if found == LATENTS:
            return Sample(text, origin, x_0_CTHW=read_latents(parts[LATENTS], self.wanted.latent_shape))
        generator = seeded(PLACE, self.seed, epoch, shard, packed.index)
        return Sample(text, origin, frames_TCHW=read_clip(parts[found], self.wanted, generator))


@lru_cache(maxsize=2)  # one for all lanes: there may be 100,000 shards
def _line(urls: tuple[str, ...], stripes: int, seed: int, epochs: int | None) -> Line:
    return Line(tuple(f"{_name(url)} {stripe}/{stripes}" for url in urls for stripe in range(stripes)), seed, epochs)


def _name(url: str) -> str:
    return PurePosixPath(url.replace("\\", "/")).name


def _listed(parts: dict[str, bytes]) -> str:
    return ", ".join(f".{suffix}" for suffix in sorted(parts)) or "nothing"

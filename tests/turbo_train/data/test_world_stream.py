"""Is scene n of the stream a function of seed and n, whoever reads it, and never one that is held out?"""

from __future__ import annotations

from itertools import islice

import torch

from turbo_train.data.world_stream import WorldStream
from turbo_train.world.oracle import read
from turbo_train.world.scene import FRAMES, SIZE_PX, split_of


def drawn(seed: int, lane: int, lanes: int, count: int, start: int | None = None) -> list[tuple[str, str, int]]:
    position = None if start is None else {"turn": start}
    found = islice(WorldStream(seed).lane(lane, lanes, position), count)
    samples = [each.sample for each in found]
    return [(s.origin, s.text, int(s.frames_TCHW.long().sum())) for s in samples if s and s.frames_TCHW is not None]


def test_lanes_share_one_stream() -> None:
    alone = drawn(5, 0, 1, 12)
    assert [origin for origin, _, _ in alone] == [f"scene {n}" for n in range(12)]
    for lanes in (2, 3):
        shared = [drawn(5, lane, lanes, 12 // lanes) for lane in range(lanes)]
        assert [shared[n % lanes][n // lanes] for n in range(12)] == alone
    assert drawn(6, 0, 1, 3) != alone[:3]


def test_a_lane_goes_on_from_its_position() -> None:
    lane = WorldStream(5).lane(1, 4, None)
    positions = [next(lane).position for _ in range(3)]
    assert drawn(5, 1, 4, 2, start=positions[1]["turn"]) == drawn(5, 1, 4, 4)[2:]


def test_clips_are_the_worlds() -> None:
    sample = next(WorldStream(0).lane(0, 1, None)).sample
    assert sample is not None and sample.frames_TCHW is not None and sample.x_0_CTHW is None
    assert sample.frames_TCHW.shape == (FRAMES, 3, SIZE_PX, SIZE_PX) and sample.frames_TCHW.dtype == torch.uint8
    assert sample.frames_TCHW.float().std() > 5


def test_combinations_that_are_held_out_never_occur() -> None:
    """As the oracle reads them; 27 of the world's 90 combinations are held out."""
    splits = []
    for drawn_ in islice(WorldStream(1).lane(0, 1, None), 30):
        assert drawn_.sample is not None and drawn_.sample.frames_TCHW is not None
        seen = read(drawn_.sample.frames_TCHW.permute(0, 2, 3, 1).numpy())
        if seen.shape and seen.colour and seen.motion:
            splits.append(split_of(seen.shape, seen.colour, seen.motion))
    assert len(splits) > 24 and set(splits) == {"train"}

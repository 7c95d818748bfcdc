"""Which frames does a video reward see? Evenly spread, in order, and none that is not there unless it may repeat."""

from __future__ import annotations

import pytest

from turbo_train.errors import UserError
from turbo_train.rewards.frames import spread


@pytest.mark.parametrize("count", [1, 4, 8])
def test_each_index_is_the_middle_of_its_part(count: int) -> None:
    for length in range(count, 70):
        index = spread(length, count)
        assert len(index) == count and index == sorted(set(index))
        for k, i in enumerate(index):
            first, end = length * k // count, length * (k + 1) // count
            assert first <= i < end and abs((i - first) - (end - 1 - i)) <= 1
    assert spread(16, 8) == [0, 2, 4, 6, 8, 10, 12, 14] and spread(count, count) == list(range(count))


def test_a_short_clip_is_refused_or_its_last_frame_repeated() -> None:
    with pytest.raises(UserError, match="found 3 frames; expected at least 8; try: --repeat-last"):
        spread(3, 8)
    assert spread(3, 8, repeat_last=True) == [0, 1, 2, 2, 2, 2, 2, 2]
    with pytest.raises(UserError, match="found 0 frames"):
        spread(0, 8, repeat_last=True)

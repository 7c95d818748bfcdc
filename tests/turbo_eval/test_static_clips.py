"""Are further clips of a flickering prompt made until five are static, and no others?"""

from __future__ import annotations

import random

import pytest

from turbo_eval.static_clips import Needed, needed


def of(verdicts: list[bool | None], most: int = 25) -> Needed:
    return needed(lambda sample: verdicts[sample] if sample < len(verdicts) else None, 5, most)


def test_five_static_clips_are_enough_wherever_they_stand() -> None:
    assert of([True] * 5) == (5, True)
    assert of([True, False] * 5) == (9, True)
    assert of([False] * 20 + [True] * 5) == (25, True)
    assert of([True] * 9) == (5, True)  # what was made by chance beyond the fifth does not count
    assert of([False] * 25) == (25, True)


def test_one_clip_at_a_time_is_asked_for_beyond_the_first_five() -> None:
    assert of([]) == (5, False)
    assert of([True] * 4) == (5, False)
    assert of([False] + [True] * 3 + [None] + [True] * 20) == (5, False)
    assert of([False] * 5) == (6, False)
    assert of([False] * 23) == (24, False)
    assert of([False] * 24) == (25, True)


@pytest.mark.parametrize("seed", range(20))
def test_the_order_in_which_verdicts_come_changes_nothing(seed: int) -> None:
    draw = random.Random(seed)
    truth = [draw.random() < 0.4 for _ in range(25)]
    static = [k for k, is_static in enumerate(truth) if is_static]
    expected = max(5, static[4] + 1) if len(static) >= 5 else 25
    known: list[bool | None] = [None] * 25
    while True:
        samples, is_final = needed(lambda sample: known[sample], 5, 25)
        assert samples <= expected
        open_ones = [k for k in range(samples) if known[k] is None]
        if not open_ones:
            break
        chosen = draw.choice(open_ones)
        known[chosen] = truth[chosen]
    assert (samples, is_final) == (expected, True)

"""Does the learning rate rise, stay or fall as its words say?"""

from __future__ import annotations

from itertools import pairwise

import pytest

from turbo_train.learning_rate import LAST, learning_rate


def test_warm_up_ends_at_the_peak() -> None:
    rates = [learning_rate(2.0, step, 100, 4, "constant") for step in range(8)]
    assert rates == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0]


def test_a_cosine_falls_from_the_peak_to_its_end() -> None:
    rates = [learning_rate(1.0, step, 104, 4, "cosine") for step in range(4, 105)]
    assert rates[0] == 1.0 and rates[-1] == pytest.approx(LAST) and rates[50] == pytest.approx((1 + LAST) / 2)
    assert all(later < sooner for sooner, later in pairwise(rates))
    assert learning_rate(1.0, 500, 104, 4, "cosine") == pytest.approx(LAST)


@pytest.mark.parametrize("shape", ["constant", "cosine"])
def test_a_warm_up_longer_than_the_run_is_a_ramp(shape: str) -> None:
    assert [learning_rate(1.0, s, 2, 4, shape) for s in (0, 1)] == [0.25, 0.5]  # type: ignore[arg-type]

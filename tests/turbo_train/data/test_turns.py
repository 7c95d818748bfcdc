"""Does every epoch have every unit once, whoever reads the lanes?"""

from __future__ import annotations

from collections import Counter

import pytest

from turbo_train.data.turns import Line
from turbo_train.errors import UserError


def names(count: int) -> tuple[str, ...]:
    return tuple(f"unit {n}" for n in range(count))


@pytest.mark.parametrize(("units", "lanes"), [(1, 1), (5, 1), (5, 2), (5, 5), (5, 8), (12, 4), (1, 3)])
def test_an_epoch_has_every_unit_once(units: int, lanes: int) -> None:
    line = Line(names(units), seed=3, epochs=4)
    met = Counter((turn.epoch, turn.unit) for lane in range(lanes) for turn in line.turns(lane, lanes, 0))
    assert met == {(epoch, unit): 1 for epoch in range(4) for unit in range(units)}


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    orders = {
        tuple(t.unit for t in Line(names(20), seed, epochs=2).turns(0, 1, at)) for seed in (0, 1) for at in (0, 20)
    }
    orders |= {tuple(t.unit for t in Line(names(20), 0, epochs=1).turns(0, 1, 0))}
    assert len(orders) == 5


def test_a_lane_goes_on_at_any_turn() -> None:
    line = Line(names(7), seed=0, epochs=5)
    turns = list(line.turns(1, 3, 0))
    assert all(list(line.turns(1, 3, turn.number)) == turns[turn.number :] for turn in turns)


def test_other_units_are_told() -> None:
    position = Line(names(7), seed=0).position(3, 2)
    assert Line(names(7), seed=0).start(position) == (3, 2)
    for other in (names(8), (*names(6), "renamed")):
        with pytest.raises(UserError, match=r"position in 7 units \(\w+\), and now \d units"):
            Line(other, seed=0).start(position)
    with pytest.raises(UserError, match="another kind of data"):
        Line(names(7), seed=0).start({"turn": 3})

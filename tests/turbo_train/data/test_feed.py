"""Does a process get its own places' samples in order, with where their lanes stand, and is what fails told at once?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import count

import pytest

from turbo_train.data.feed import Feed
from turbo_train.data.sample import Drawn, NoData, Position, Sample

LANES = 6


class Numbers:
    """Lane i gives i, i + lanes, ...; every third of all numbers cannot be read. It counts what was read."""

    def __init__(self, fail: Callable[[int], Exception | None] = lambda n: None) -> None:
        self.fail, self.read = fail, 0

    def lane(self, number: int, lanes: int, start: Position | None) -> Iterator[Drawn]:
        for turn in count(start["turn"] if start else 0):
            n = turn * lanes + number
            if (error := self.fail(n)) is not None:
                raise error
            self.read += 1
            if n % 3 == 2:
                yield Drawn({"turn": turn + 1}, skipped=f"number {n}")
            else:
                yield Drawn({"turn": turn + 1}, Sample(str(n), str(n)))


class Plain(Numbers):
    """All of them can be read."""

    def lane(self, number: int, lanes: int, start: Position | None) -> Iterator[Drawn]:
        return (
            Drawn(drawn.position, drawn.sample or Sample(drawn.skipped or "", ""))
            for drawn in super().lane(number, lanes, start)
        )


def texts(feed: Feed, rows: int) -> list[list[str]]:
    return [[sample.text for sample in feed.next().samples] for _ in range(rows)]


def test_processes_read_together_what_one_reads_alone() -> None:
    with Feed(Plain(), range(LANES), LANES) as whole:
        alone = texts(whole, 4)
    shared: dict[int, tuple[str, ...]] = {}
    for places in ((0, 1, 4, 5), (2, 3)):
        with Feed(Plain(), places, LANES) as feed:
            shared |= dict(zip(places, zip(*texts(feed, 4), strict=True), strict=True))
    assert [[shared[place][row] for place in range(LANES)] for row in range(4)] == alone


@pytest.mark.parametrize("ahead", [1, 3])
def test_positions_are_those_of_the_rows_taken_not_of_those_read_ahead(ahead: int) -> None:
    with Feed(Numbers(), (1, 3), 4, None, ahead) as feed:
        rows = [feed.next() for _ in range(3)]
        time.sleep(0.05)  # in which it reads on
    assert [[sample.text for sample in row.samples] for row in rows] == [["1", "3"], ["9", "7"], ["13", "15"]]
    assert [row.skipped for row in rows] == [(), ("number 5",), ("number 11",)]
    with Feed(Numbers(), (1, 3), 4, rows[1].positions, ahead) as feed:
        again = feed.next()
    assert (again.samples, again.positions, again.skipped) == (rows[2].samples, rows[2].positions, rows[2].skipped)


def test_skipped_samples_are_named_and_the_next_one_taken() -> None:
    with Feed(Numbers(), (0, 1), 2) as feed:
        rows = [feed.next() for _ in range(3)]
    assert [[s.text for s in row.samples] for row in rows] == [["0", "1"], ["4", "3"], ["6", "7"]]
    assert [row.skipped for row in rows] == [(), ("number 2",), ("number 5",)]


def test_what_a_lane_raises_comes_in_its_turn_and_again_when_asked() -> None:
    def fail(n: int) -> Exception | None:
        return NoData(found="the end") if n >= 6 else None

    with Feed(Plain(fail), (0, 1, 2), 3, ahead=4) as feed:
        assert texts(feed, 2) == [["0", "1", "number 2"], ["3", "4", "number 5"]]
        for _ in range(2):
            with pytest.raises(NoData, match="the end"):
                feed.next()


def test_it_reads_no_further_ahead_than_asked_and_stops_when_closed() -> None:
    source = Plain()
    before = threading.active_count()
    with Feed(source, (0,), 1, ahead=2) as feed:
        feed.next()
        deadline = time.monotonic() + 20
        while source.read < 4 and time.monotonic() < deadline:  # one taken, two waiting, one in hand
            time.sleep(0.01)
        time.sleep(0.05)
        assert source.read == 4
    assert threading.active_count() == before

"""Who reads what, when? Units (shards, stripes of a shard, clips) stand in one endless line, epoch after epoch, each in
an order of its own; lane i of L takes the places i, i + L, i + 2L, ... of the line.

    place = turn * L + i     epoch = place // units     unit = order(seed, epoch)[place % units]

So every epoch has every unit once, whoever reads the lanes. A position names the turn, what was passed of its unit, and
the units it belongs to: data that has changed under a run is told, not read in another order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import count

import numpy as np
from numpy.typing import NDArray

from turbo_train.data.sample import Position
from turbo_train.errors import UserError

ORDER = 6002  # so that the order shares its numbers with no other use of the seed


@dataclass(frozen=True)
class Turn:
    """A lane's turn and the unit that it reads in it."""

    number: int
    epoch: int
    unit: int


@dataclass(frozen=True)
class Line:
    """The units in line. names: of all units, in their own order; epochs: after how many the line ends, None: never."""

    names: tuple[str, ...]
    seed: int
    epochs: int | None = None

    def turns(self, lane: int, lanes: int, first: int) -> Iterator[Turn]:
        """Of a lane, from its turn `first` on."""
        units = len(self.names)
        for number in count(first):
            epoch, place = divmod(number * lanes + lane, units)
            if self.epochs is not None and epoch >= self.epochs:
                return
            yield Turn(number, epoch, int(_order(self.seed, epoch, units)[place]))

    def position(self, turn: int, passed: int = 0) -> Position:
        """Where a lane stands: in this turn, `passed` samples of its unit behind it."""
        return {"turn": turn, "passed": passed, "units": self._mark}

    def start(self, position: Position | None) -> tuple[int, int]:
        """Turn and passed samples to go on from. UserError: a position in other data."""
        if position is None:
            return 0, 0
        if position.get("units") != self._mark:
            raise UserError(
                found=f"a position in {position.get('units', 'another kind of data')}, and now {self._mark}",
                expected="the clips or shards that the run began with, under the same names",
                run_next="turbo-train run, which begins anew; or put the data back",
            )
        return int(position["turn"]), int(position["passed"])

    @cached_property
    def _mark(self) -> str:
        """`12 units (3f2a...)`, by a digest of their names."""
        digest = hashlib.sha256("\n".join(self.names).encode()).hexdigest()
        return f"{len(self.names)} units ({digest[:12]})"


def seeded(*key: int) -> np.random.Generator:
    """A generator that is a function of these numbers only, on every machine."""
    return np.random.default_rng(list(key))


@lru_cache(maxsize=4)  # lanes may stand in two epochs at a time
def _order(seed: int, epoch: int, units: int) -> NDArray[np.int64]:
    return seeded(ORDER, seed, epoch).permutation(units)

"""When is a sample skipped, and when has a source nothing to give? What cannot be used is named and counted."""

from __future__ import annotations

from turbo_train.data.sample import NoData

MOST_IN_A_ROW = 10_000  # samples of a lane; shards usually hold as many at most


class Unusable(Exception):
    """A sample that cannot be trained on; the message says why."""


class Fruitless:
    """What a lane has met since its last sample. units: how many shards, stripes or items there are in all."""

    def __init__(self, units: int, where: str) -> None:
        self.units, self.where = units, where
        self._met: set[int] = set()
        self._gave = False
        self._in_a_row = 0
        self._last = ""

    def found(self) -> None:
        """A sample came."""
        self._met.clear()
        self._gave = True
        self._in_a_row = 0

    def skipped(self, why: str) -> str:
        """The reason again. NoData: too many in a row."""
        self._last = why
        self._in_a_row += 1
        if self._in_a_row >= MOST_IN_A_ROW:
            raise self._no_data(f"{self._in_a_row} samples in a row of {self.where} that cannot be used")
        return why

    def over(self, unit: int) -> None:
        """A unit has ended. NoData: by now this lane has met every unit, and none gave it a sample."""
        if not self._gave:
            self._met.add(unit)
        self._gave = False
        if len(self._met) == self.units and self._last:
            raise self._no_data(f"nothing that can be used in {self.where}")

    def _no_data(self, found: str) -> NoData:
        return NoData(
            found=f"{found}; the last: {self._last}",
            expected="clips with captions that are long enough, fast enough and whole, or fitting latents",
            run_next="mend the data, or change --set size, frames, fps",
        )

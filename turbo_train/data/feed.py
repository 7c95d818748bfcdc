"""How does a process get its samples in time? It reads the lanes of its places ahead, in threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from turbo_train.data.sample import Drawn, Position, Sample, Source

THREADS = 8  # at most so many lanes are read at a time


@dataclass(frozen=True)
class Row:
    """One sample for each of a process's places; where their lanes stand after it; what was skipped on the way."""

    samples: tuple[Sample, ...]
    positions: dict[int, Position]
    skipped: tuple[str, ...]


class Feed:
    """Rows without end, `ahead` of them read before they are wanted. Close it, or use it in a `with`.

    places: of a batch, which this process fills; lanes: places of a whole batch; positions: of lanes, to go on from.
    """

    def __init__(
        self,
        source: Source,
        places: Sequence[int],
        lanes: int,
        positions: Mapping[int, Position] | None = None,
        ahead: int = 2,
    ) -> None:
        starts = positions or {}
        self.places = tuple(places)
        self._lanes = [source.lane(place, lanes, starts.get(place)) for place in self.places]
        self._rows: queue.Queue[Row | BaseException] = queue.Queue(max(1, ahead))
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="feed", daemon=True)
        self._thread.start()

    def next(self) -> Row:
        """The next row. What a lane raises is raised here."""
        row = self._rows.get()
        if isinstance(row, BaseException):
            self._rows.put(row)  # whoever asks again is told again: nothing more will come
            raise row
        return row

    def close(self) -> None:
        """Stop reading ahead."""
        self._closed.set()
        self._thread.join()

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _fill(self) -> None:
        with ThreadPoolExecutor(min(THREADS, len(self.places)), "lane") as pool:
            while not self._closed.is_set():
                try:
                    row: Row | BaseException = self._row(list(pool.map(_next_of, self._lanes)))
                except BaseException as error:
                    row = error
                while not self._closed.is_set():
                    try:
                        self._rows.put(row, timeout=0.1)
                        break
                    except queue.Full:
                        continue
                if isinstance(row, BaseException):
                    return

    def _row(self, found: Sequence[tuple[Sample, Position, list[str]]]) -> Row:
        positions = {place: position for place, (_, position, _) in zip(self.places, found, strict=True)}
        skipped = tuple(text for _, _, texts in found for text in texts)
        return Row(tuple(sample for sample, _, _ in found), positions, skipped)


def _next_of(lane: Iterator[Drawn]) -> tuple[Sample, Position, list[str]]:
    skipped: list[str] = []
    for drawn in lane:
        if drawn.sample is not None:
            return drawn.sample, drawn.position, skipped
        skipped.append(drawn.skipped or "no reason given")
    raise RuntimeError("a lane of samples without end has ended")

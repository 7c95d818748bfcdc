"""What does a person see while a run goes on? Everything here goes to stderr; stdout is for results only.

On a terminal a bar with the time left; in a log a line about every ten seconds, so that neither floods nor is mute.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

Advance = Callable[[int], None]
LOG_EVERY_S = 10.0


def say(text: str) -> None:
    """One line for the person."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


@contextmanager
def stage(name: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Progress of one stage with its estimated time left. `done` were there before and do not count as speed."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(name, total, done)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TextColumn("left"), TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task(name, total=total, completed=done)
        yield lambda count: progress.update(bar, advance=count)


def _lines(name: str, total: int, done: int) -> Advance:
    started = said = time.monotonic()
    finished = done

    def advance(count: int) -> None:
        nonlocal said, finished
        finished += count
        now = time.monotonic()
        if finished >= total or now - said >= LOG_EVERY_S:
            said = now
            left_s = (now - started) / max(1, finished - done) * (total - finished)
            say(f"{name}: {finished} of {total}, {now - started:.0f} s, about {left_s:.0f} s left")

    return advance

"""What does a timing say, cell by cell? The tables and sentences that text.py and markdown.py draw, spelled once.

Times are of one clip: a call's by the clips in it. A row's stages are medians over its runs, each for itself, so that
they need not add up to the median of the wall clock. A number that does not exist is a dash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import floor, log10

from turbo_eval.timing.intervals import coefficient_of_variation, median_interval, percentile
from turbo_eval.timing.record import (
    DECODE,
    ENCODE,
    FIRST,
    NOT_COMPILED,
    REMAINING,
    STAGES,
    TEXT,
    WALL,
    Peak,
    SpeedRecord,
    SpeedRow,
)

NOTHING = "-"
MARK = " !"
"""Behind the name of a row that is INVALID, wherever numbers of it stand."""
HEADS = {TEXT: "text", FIRST: "first step", REMAINING: "other steps", DECODE: "VAE decode", ENCODE: "video encode"}
PERCENTILES = (90, 95, 99)
LONG_S = 100.0
FAILED = "failed"
"""To compile, where it was asked for: the row is of the uncompiled network."""
MIB, GIB = 2**20, 2**30


@dataclass(frozen=True)
class Line:
    """A row of a grid; valid: whether its numbers may be quoted."""

    cells: tuple[str, ...]
    valid: bool


@dataclass(frozen=True)
class Grid:
    """A table: the first column stands to the left, the others to the right."""

    title: str
    heads: tuple[str, ...]
    lines: tuple[Line, ...]


def grids(record: SpeedRecord) -> tuple[Grid, ...]:
    """Time of a clip; its spread, and what happens once; operations and memory."""
    return _times(record), _spread(record), _resources(record)


def stages_s(row: SpeedRow) -> dict[str, float]:
    """Stage, or WALL -> seconds of one clip: the median over the runs. Stages that were not measured are not in it."""
    return {stage: median_interval(runs)[0] / row.recipe.batch for stage, runs in row.runs_s.items() if runs}


def walls_s(row: SpeedRow) -> tuple[float, ...]:
    """The wall clock of each call; () where a signal came before the first run."""
    return row.runs_s.get(WALL, ())


def label(row: SpeedRow) -> str:
    """The row's name, marked where it is INVALID."""
    return row.name + MARK * (not row.valid)


def significant(value: float | None, digits: int = 4) -> str:
    """So many digits, without an exponent: 5012, 203.1, 1.913, 0.04215; a dash for nothing."""
    if value is None:
        return NOTHING
    if not value:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    return f"{rounded:.{max(0, digits - 1 - floor(log10(abs(rounded))))}f}"


def batches(record: SpeedRecord) -> tuple[int, ...]:
    """How many clips there are in a call, each number once."""
    return tuple(sorted({row.recipe.batch for row in record.rows}))


def _unit(record: SpeedRecord) -> tuple[str, float]:
    """Of the times of a clip, with how many of it are a second."""
    return (
        ("s", 1.0) if max((stages_s(row).get(WALL, 0.0) for row in record.rows), default=0.0) >= LONG_S else ("ms", 1e3)
    )


def _times(record: SpeedRecord) -> Grid:
    unit, scale = _unit(record)
    several = len(batches(record)) > 1
    lines = []
    for row in record.rows:
        own = stages_s(row)
        counts = [str(row.recipe.num_steps), str(row.network_calls), *([str(row.recipe.batch)] if several else [])]
        stages = (significant(own[stage] * scale if own.get(stage) else None) for stage in STAGES)
        verdict = "VALID" if row.valid else "INVALID"
        lines.append([*counts, *stages, _bounded(row, scale), str(len(walls_s(row))), verdict])
    heads = ("steps", "calls", *(["batch"] if several else []), *HEADS.values(), "wall clock [95 %]", "runs", "verdict")
    return _grid(f"time of one clip, {unit}, medians; calls: of the network", heads, record, lines)


def _bounded(row: SpeedRow, scale: float) -> str:
    """`174.1 [173.7, 174.4]`: the wall clock of a clip."""
    if not walls_s(row):
        return NOTHING
    median, low, high = (None if x is None else x * scale / row.recipe.batch for x in median_interval(walls_s(row)))
    bounds = "" if low is None or high is None else f" [{significant(low)}, {significant(high)}]"
    return significant(median) + bounds


def _spread(record: SpeedRecord) -> Grid:
    unit, scale = _unit(record)
    lines = []
    for row in record.rows:
        runs = walls_s(row)
        beyond = (percentile(runs, p) for p in PERCENTILES)
        percentiles = (significant(None if x is None else x * scale / row.recipe.batch) for x in beyond)
        cv = significant(100 * coefficient_of_variation(runs), 2) if len(runs) > 1 else NOTHING
        once = [significant(x, 3) for x in (row.load_s, row.first_call_s, row.compile_s)]
        once[-1] = FAILED if any(note.startswith(NOT_COMPILED) for note in row.notes) else once[-1]
        lines.append([*percentiles, cv, *once, row.recipe.fingerprint])
    heads = (*(f"p{p}, {unit}" for p in PERCENTILES), "CV, %", "load, s", "first call, s", "compile, s", "recipe")
    return _grid("spread of a clip's wall clock, what happens once, and the recipe's fingerprint", heads, record, lines)


def _resources(record: SpeedRecord) -> Grid:
    on_gpu = any(peak.allocated_bytes is not None for row in record.rows for peak in row.memory.values())
    unit, size = ("GiB", GIB) if on_gpu else ("MiB", MIB)
    lines = []
    for row in record.rows:
        peaks = [_peak([row.memory[s] for s in own if s in row.memory], size) for own in _MEMORY_STAGES.values()]
        lines.append([*peaks, *(significant(x, 3) for x in _operations(row)), *_against_limits(record, row)])
    what = "allocated/reserved" if on_gpu else "resident"
    heads = (*_MEMORY_STAGES, "TFLOP", "TFLOP/s", "% of matmul", "floor, ms", "x floor")
    return _grid(f"peak memory ({what}, {unit}), operations and roofline floor of one clip", heads, record, lines)


_MEMORY_STAGES = {"text": (TEXT,), "denoising": (FIRST, REMAINING), "VAE decode": (DECODE,), "video encode": (ENCODE,)}


def _operations(row: SpeedRow) -> tuple[float | None, float | None]:
    """TFLOP of a clip, and TFLOP/s of the stages whose operations were counted."""
    own = stages_s(row)
    counted = [stage for stage in row.tflop if own.get(stage)]
    if not counted:
        return None, None
    tflop = sum(row.tflop[stage] for stage in counted) / row.recipe.batch
    return tflop, tflop / sum(own[stage] for stage in counted)


def _against_limits(record: SpeedRecord, row: SpeedRow) -> Iterator[str]:
    """Percent of the measured matmul rate in the row's dtype, the floor in ms, and how many times longer it took."""
    _, reached = _operations(row)
    rate = record.rates.matmul_tflops.get(row.recipe.dtype)
    yield significant(None if reached is None or not rate else 100 * reached / rate, 3)
    own = stages_s(row)
    bounded = [stage for stage in row.floor_s if own.get(stage)]
    floor_s = sum(row.floor_s[stage] for stage in bounded) / row.recipe.batch
    yield significant(1e3 * floor_s if floor_s else None, 3)
    yield significant(sum(own[stage] for stage in bounded) / floor_s if floor_s else None, 3)


def _peak(peaks: Sequence[Peak], size: int) -> str:
    """The most of several stages, such as `6.20/7.00`."""

    def most(of: Callable[[Peak], int | None]) -> str | None:
        known = [value for peak in peaks if (value := of(peak)) is not None]
        return significant(max(known) / size, 3) if known else None

    on_gpu = [most(lambda peak: peak.allocated_bytes), most(lambda peak: peak.reserved_bytes)]
    return "/".join(filter(None, on_gpu)) or most(lambda peak: peak.rss_bytes) or NOTHING


def _grid(title: str, heads: Sequence[str], record: SpeedRecord, lines: Sequence[Sequence[str]]) -> Grid:
    named = zip(record.rows, lines, strict=True)
    return Grid(title, ("row", *heads), tuple(Line((label(row), *cells), row.valid) for row, cells in named))

"""What do timings look like? Stages of a clip as stacked bars, and quality over time where a scored run is given."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from textwrap import fill, wrap
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from turbo_eval.timing.cells import HEADS, label, significant, stages_s, walls_s
from turbo_eval.timing.intervals import median_interval
from turbo_eval.timing.quality import Quality
from turbo_eval.timing.record import STAGES, SpeedRecord, SpeedRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import BboxBase

COLOURS = dict(zip(STAGES, ("#7f8c8d", "#1a5276", "#5dade2", "#e67e22", "#27ae60"), strict=True))
GOOD, BAD = "#1f618d", "#c0392b"
WIDTH_IN, BAR_IN = 10.0, 0.42  # of the picture; of a row, inches
DPI = 110
STAGES_LETTERS, SCATTER_LETTERS = 110, 90  # of a stamp in a line
LINE_IN = 20 / DPI  # its height
FAR = 5
PALE = 0.55  # opacity
BESIDE = ((6, 4), (-6, 4), (6, -4), (-6, -4))  # of a point, in points


def draw_stages(record: SpeedRecord) -> bytes:
    """PNG: of every row the seconds of a clip, stage by stage, and beside it each stage's share of them.

    Lengths are linear, so that they may be compared. Where a row is FAR times as long as another (a teacher and its
    students) the short ones are drawn again, enlarged. INVALID rows are pale.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    rows = [row for row in record.rows if any(row.runs_s.values())]
    totals = [sum(stages_s(row).get(stage, 0.0) for stage in STAGES) for row in rows]
    longest = max(totals, default=1.0)
    short = [total for total in totals if total * FAR <= longest]
    limits = [longest, *([max(short)] if short else [])]
    widths = (3.0, 2.4) if len(limits) == 1 else (2.4, 2.4, 2.2)
    stamp_in = LINE_IN * len(wrap(record.stamp, STAGES_LETTERS))
    height_in = 1.3 + BAR_IN * max(2, len(rows)) + stamp_in
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout="constrained")
    *panels, shares = figure.subplots(1, len(widths), sharey=True, width_ratios=widths)
    for axes, limit in zip(panels, limits, strict=True):
        _times(axes, rows, limit)
        axes.set_xlabel(
            "seconds per clip, medians of the stages" if limit == longest else "the same, enlarged", fontsize=9
        )
    _shares(shares, rows)
    names = panels[0].set_yticks(range(len(rows)), [label(row) for row in rows], fontsize=9)
    for name, row in zip(names, rows, strict=True):
        name.label1.set_color("black" if row.valid else BAD)
    for axes in (*panels, shares):
        axes.tick_params(axis="x", labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.25)
        axes.set_axisbelow(True)
    _stamp(panels[0], record, STAGES_LETTERS)
    keys = [Patch(color=COLOURS[stage], label=HEADS[stage]) for stage in STAGES]
    figure.legend(handles=keys, loc="outside upper center", ncols=len(STAGES), fontsize=8, frameon=False)
    return _png(figure)


def _times(axes: Axes, rows: Sequence[SpeedRow], limit: float) -> None:
    """Bars in seconds. A bar beyond the limit is cut."""
    for place, row in enumerate(rows):
        total = _bar(axes, place, row, 1.0)
        cut = total > limit * (1 + 1e-9)
        text = f"{_time(total)} >" if cut else _time(total)
        style: dict[str, Any] = (
            {"ha": "right", "color": "white" if row.valid else "black"} if cut else {"ha": "left", "color": "black"}
        )
        at, across = (1.25 * limit, -4) if cut else (total, 4)
        axes.annotate(text, (at, place), (across, 0), textcoords="offset points", va="center", fontsize=8, **style)
    axes.set_ylim(max(1, len(rows)) - 0.5, -0.5)
    axes.set_xlim(0, 1.25 * limit)


def _shares(axes: Axes, rows: Sequence[SpeedRow]) -> None:
    for place, row in enumerate(rows):
        own = stages_s(row)
        total, left = sum(own.get(stage, 0.0) for stage in STAGES), 0.0
        _bar(axes, place, row, 100 / total if total else 0.0)
        for stage in STAGES:
            percent = 100 * own.get(stage, 0.0) / total if total else 0.0
            if percent >= 8:
                style: dict[str, Any] = {
                    "color": "white" if row.valid else "black",
                    "ha": "center",
                    "va": "center",
                    "fontsize": 8,
                }
                axes.text(left + percent / 2, place, f"{percent:.0f}", **style)
            left += percent
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the stages, %", fontsize=9)


def _bar(axes: Axes, place: int, row: SpeedRow, scale: float) -> float:
    """Draws a row's stages one after the other. Returns their sum."""
    own, left = stages_s(row), 0.0
    for stage in STAGES:
        length = scale * own.get(stage, 0.0)
        axes.barh(place, length, left=left, height=0.7, color=COLOURS[stage], alpha=1 if row.valid else PALE)
        left += length
    return left


def _time(seconds: float) -> str:
    return f"{significant(seconds, 3)} s" if seconds >= 1 else f"{significant(1e3 * seconds, 3)} ms"


class _Point(NamedTuple):
    row: SpeedRow
    x: float
    x_error: tuple[float, float]
    y: float
    y_error: tuple[float, float]


def draw_scatter(record: SpeedRecord, quality: Quality) -> bytes:
    """PNG: seconds per clip (logarithmic) against a metric, both with 95 % intervals. INVALID rows are hollow."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    points = _points(record, quality)
    figure = Figure(
        figsize=(7.2, 4.6 + LINE_IN * len(wrap(record.stamp, SCATTER_LETTERS))), dpi=DPI, layout="constrained"
    )
    axes = figure.subplots()
    axes.set_xscale("log")
    for point in points:
        colour = GOOD if point.row.valid else BAD
        axes.errorbar(
            [point.x],
            [point.y],
            xerr=[[error] for error in point.x_error],
            yerr=[[error] for error in point.y_error],
            fmt="o",
            color=colour,
            markerfacecolor=colour if point.row.valid else "white",
            capsize=3,
            linewidth=1.2,
        )
    low, high = min(point.x for point in points), max(point.x for point in points)
    axes.set_xlim(low / 1.6, high * 1.6)
    axes.margins(y=0.2)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("seconds per clip, wall clock (logarithmic)", fontsize=9)
    axes.set_ylabel(quality.metric, fontsize=9)
    axes.tick_params(which="both", labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    _stamp(axes, record, SCATTER_LETTERS)
    _name_all(figure, axes, points)
    return _png(figure)


def _points(record: SpeedRecord, quality: Quality) -> list[_Point]:
    """The rows that both have. ValueError: none."""
    found = []
    for row in record.rows:
        score = quality.of_row.get(row.name)
        if score is None or not walls_s(row):
            continue
        median, low, high = (None if x is None else x / row.recipe.batch for x in median_interval(walls_s(row)))
        assert median is not None
        found.append(
            _Point(row, median, _errors(median, low, high), score.mean, _errors(score.mean, score.low, score.high))
        )
    if not found:
        raise ValueError("no row of the timing was scored")
    return found


def _errors(middle: float, low: float | None, high: float | None) -> tuple[float, float]:
    """Lengths below and above; 0 where there is no interval."""
    return (0.0, 0.0) if low is None or high is None else (max(0.0, middle - low), max(0.0, high - middle))


def _name_all(figure: Figure, axes: Axes, points: Sequence[_Point]) -> None:
    """Every point's name beside it or at an end of its interval, where it covers no other name, point or interval."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    taken = []
    for point in points:
        (x, y), (_, low), (_, high) = (
            axes.transData.transform((point.x, y))
            for y in (point.y, point.y - point.y_error[0], point.y + point.y_error[1])
        )
        taken += [Bbox.from_extents(x - 5, y - 5, x + 5, y + 5), Bbox.from_extents(x - 4, low, x + 4, high)]
    inside = axes.get_window_extent()
    for point in points:
        name = axes.annotate(
            label(point.row), (point.x, point.y), xytext=(0, 0), textcoords="offset points", fontsize=8
        )
        for y, across, up, side in _places(point):
            name.xy, name.xyann = (point.x, y), (across, up)
            name.set(ha=side, va="bottom" if up > 0 else "top")
            box = name.get_window_extent()
            if _within(box, inside) and not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)


def _places(point: _Point) -> Iterator[tuple[float, float, float, Literal["left", "center", "right"]]]:
    """Where a name may stand, the best first: on which height, how far off, and which end of it is there."""
    for across, up in BESIDE:
        yield point.y, across, up, "left" if across > 0 else "right"
    for y, up in ((point.y + point.y_error[1], 4), (point.y - point.y_error[0], -4)):
        yield y, 0, up, "center"
        yield y, -4, up, "left"
        yield y, 4, up, "right"


def _within(box: BboxBase, whole: BboxBase) -> bool:
    return box.x0 >= whole.x0 and box.x1 <= whole.x1 and box.y0 >= whole.y0 and box.y1 <= whole.y1


def _stamp(axes: Axes, record: SpeedRecord, letters: int) -> None:
    """What has to stand in every output, over the panel, so many letters a line."""
    if record.stamp:
        axes.set_title(fill(record.stamp, letters), fontsize=9, color=BAD, loc="left")


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})  # no version: equal records, equal bytes
    return stream.getvalue()

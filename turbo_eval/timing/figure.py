"""What do timings look like? Stages of a clip as stacked bars, and quality over time where a scored run is given."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from turbo_eval.timing.cells import HEADS, label, significant, stages_s
from turbo_eval.timing.intervals import median_interval
from turbo_eval.timing.quality import Quality
from turbo_eval.timing.record import STAGES, WALL, SpeedRecord, SpeedRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import BboxBase

COLOURS = dict(zip(STAGES, ("#7f8c8d", "#1a5276", "#5dade2", "#e67e22", "#27ae60"), strict=True))
GOOD, BAD = "#1f618d", "#c0392b"
WIDTH_IN, BAR_IN = 10.0, 0.42  # of the picture; of a row, inches
DPI = 110
SIDES = ((6, 4), (-6, 4), (6, -4), (-6, -4), (6, 16), (6, -16), (6, 28))  # of a point, in points


def draw_stages(record: SpeedRecord) -> bytes:
    """PNG: of every row the seconds of a clip, stage by stage, and beside it each stage's share of them.

    The bars are linear, so that lengths may be compared; where a teacher is twenty times as long, the shares say what
    its students' stages are. INVALID rows are hatched.
    """
    from matplotlib.figure import Figure

    rows = [row for row in record.rows if any(row.runs_s.values())]
    figure = Figure(figsize=(WIDTH_IN, 1.5 + BAR_IN * max(2, len(rows))), dpi=DPI, layout="constrained")
    times, shares = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    totals = [_bar(times, shares, place, row) for place, row in enumerate(rows)]
    for place, total in enumerate(totals):
        times.annotate(_time(total), (total, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    times.set_yticks(range(len(rows)), [label(row) for row in rows], fontsize=9)
    times.set_ylim(len(rows) - 0.5, -0.5)
    times.set_xlim(0, 1.16 * max(totals, default=1.0))
    times.set_xlabel("seconds per clip, medians", fontsize=9)
    shares.set_xlim(0, 100)
    shares.set_xlabel("share of the stages, %", fontsize=9)
    for axes in (times, shares):
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.25)
        axes.set_axisbelow(True)
    times.tick_params(axis="y", labelsize=9)
    figure.legend(
        *times.get_legend_handles_labels(), loc="outside upper center", ncols=len(STAGES), fontsize=8, frameon=False
    )
    _stamp(figure, record)
    return _png(figure)


def _bar(times: Axes, shares: Axes, place: int, row: SpeedRow) -> float:
    """Draws a row's stages in both panels. Returns their sum in seconds."""
    own = stages_s(row)
    total = sum(own.get(stage, 0.0) for stage in STAGES)
    left = 0.0
    for stage in STAGES:
        length = own.get(stage, 0.0)
        style = {"color": COLOURS[stage], "height": 0.7, "hatch": None if row.valid else "////", "edgecolor": "white"}
        times.barh(place, length, left=left, linewidth=0.0, label=HEADS[stage] if not place else None, **style)
        percent, before = (100 * length / total, 100 * left / total) if total else (0.0, 0.0)
        shares.barh(place, percent, left=before, linewidth=0.0, **style)
        if percent >= 8:
            shares.text(
                before + percent / 2, place, f"{percent:.0f}", ha="center", va="center", fontsize=8, color="white"
            )
        left += length
    return total


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
    figure = Figure(figsize=(7.2, 4.6), dpi=DPI, layout="constrained")
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
    _stamp(figure, record)
    _name_all(figure, axes, points)
    return _png(figure)


def _points(record: SpeedRecord, quality: Quality) -> list[_Point]:
    """The rows that both have. ValueError: none."""
    found = []
    for row in record.rows:
        score = quality.of_row.get(row.name)
        if score is None or not row.runs_s[WALL]:
            continue
        median, low, high = (None if x is None else x / row.recipe.batch for x in median_interval(row.runs_s[WALL]))
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
    """Every point's name beside it, on the side where it covers no other name and no point."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    centres = [axes.transData.transform((point.x, point.y)) for point in points]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in centres]
    inside = axes.get_window_extent()
    for own, point in enumerate(points):
        for across, up in SIDES:
            name = axes.annotate(
                label(point.row),
                (point.x, point.y),
                xytext=(across, up),
                textcoords="offset points",
                ha="left" if across > 0 else "right",
                va="bottom" if up > 0 else "top",
                fontsize=8,
            )
            box = name.get_window_extent()
            others = [other for place, other in enumerate(taken) if place != own]
            if (across, up) == SIDES[-1] or (_within(box, inside) and not any(box.overlaps(other) for other in others)):
                taken.append(box)
                break
            name.remove()


def _within(box: BboxBase, whole: BboxBase) -> bool:
    return box.x0 >= whole.x0 and box.x1 <= whole.x1 and box.y0 >= whole.y0 and box.y1 <= whole.y1


def _stamp(figure: Figure, record: SpeedRecord) -> None:
    """What has to stand in every output, over the picture."""
    if record.stamp:
        figure.suptitle(record.stamp, fontsize=9, color=BAD)


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})  # no version: equal records, equal bytes
    return stream.getvalue()

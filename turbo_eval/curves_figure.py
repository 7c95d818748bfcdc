"""What do the curves of a training look like? One panel a metric over the steps, the training's rewards marked."""

from __future__ import annotations

import io
from math import ceil
from typing import TYPE_CHECKING

from turbo_eval.curves import Curves

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 3
WIDTH_IN, HEIGHT_IN = 4.2, 2.6  # of a panel, inches
IN_LOOP, JUDGE, OTHER, FALLEN = "#c0392b", "#1f618d", "#566573", "#000000"


def draw(curves: Curves, title: str) -> bytes:
    """PNG: rewards of the training first (red, `in_loop`), then what is independent. Shaded: 95 % intervals.

    A ring marks the best checkpoint of a metric that fell for sure while a reward of the training rose.
    """
    from matplotlib.figure import Figure

    order = sorted(curves.columns, key=lambda column: not _is_in_loop(curves, column.metric))
    rows = max(1, ceil(len(order) / COLUMNS))
    figure = Figure(figsize=(COLUMNS * WIDTH_IN, rows * HEIGHT_IN + 0.5), dpi=110, layout="constrained")
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True)
    panels = [axes for line in grid for axes in line]
    for axes, column in zip(panels, order, strict=False):
        _panel(axes, curves, column.metric, column.group)
    for axes in panels[len(order) :]:
        axes.set_visible(False)
    for axes in panels[max(0, len(order) - COLUMNS) : len(order)]:
        axes.set_xlabel("training step")
        axes.tick_params(labelbottom=True)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})  # no version: equal curves, equal bytes
    return stream.getvalue()


def _panel(axes: Axes, curves: Curves, metric: str, group: str) -> None:
    points = [point for point in curves.of(metric) if point.mean.mean is not None]
    steps = [point.step for point in points]
    means = [point.mean.mean or 0.0 for point in points]
    in_loop = _is_in_loop(curves, metric)
    colour = IN_LOOP if in_loop else JUDGE if group in ("judges", "oracle") else OTHER
    axes.plot(steps, means, color=colour, marker="o", markersize=3, linewidth=1.4)
    bounded = [(p.step, p.mean.low, p.mean.high) for p in points if p.mean.low is not None and p.mean.high is not None]
    if bounded:
        x, low, high = zip(*bounded, strict=True)
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    change = next((change for change in curves.changes if change.metric == metric), None)
    if change is not None and change.is_hacked:
        best = means[steps.index(change.best_step)]
        axes.plot([change.best_step], [best], "o", markersize=11, markerfacecolor="none", color=FALLEN)
    note = "in_loop" if in_loop else "fell while a reward rose" if change is not None and change.is_hacked else group
    axes.set_title(f"{metric} ({note})", fontsize=9, color=colour)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)


def _is_in_loop(curves: Curves, metric: str) -> bool:
    return metric in (curves.trained_on or ())

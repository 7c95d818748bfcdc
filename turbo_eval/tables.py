"""How do two models compare, metric by metric? From score records to a typed table, and from it to rich, Markdown, CSV.

Each mean has a 95 % interval that resamples prompts (stats.py); the difference is paired by prompt and sample. Clips
without a number are counted beside the mean and never enter it. Rows come in the order of `groups`.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

from turbo_eval.records import ScoreRecord
from turbo_eval.stats import Interval, cluster_bootstrap_mean, paired_difference
from turbo_train.errors import UserError

if TYPE_CHECKING:
    from rich.console import Group

EMBEDDED_NOTE = "embedded encoders: not comparable with VBench"
NOTHING = "-"


class LatencySummary(Protocol):
    """What a table needs of a timing (turbo_eval.timing.measure.Timing fits). Seconds per clip."""

    @property
    def median_s(self) -> float: ...
    @property
    def low_s(self) -> float: ...
    @property
    def high_s(self) -> float: ...


@dataclass(frozen=True)
class Latency:
    """Seconds per clip of one model: median and its interval."""

    model: str
    median_s: float
    low_s: float
    high_s: float


@dataclass(frozen=True)
class Cell:
    """One metric of one model. interval: None when no clip has a number. unscored: clips without one."""

    interval: Interval | None
    unscored: int


@dataclass(frozen=True)
class Row:
    """One metric: a cell per model, and the first model minus the second over the clips that both have."""

    metric: str
    group: str
    scorer: str
    cells: tuple[Cell, ...]
    difference: Interval | None


@dataclass(frozen=True)
class Table:
    """A comparison. unscored: (metric, reason) of metrics with no number at all, and counted reasons of others.

    partial: `PARTIAL: 70 of 72 clips` where clips are missing, else empty.
    """

    title: str
    models: tuple[str, ...]
    rows: tuple[Row, ...]
    latency: tuple[Latency, ...]
    speed_up: float | None
    speed_up_interval: tuple[float, float] | None
    unscored: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    partial: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data for results.json."""
        return asdict(self)


def build_table(
    scores: Sequence[ScoreRecord],
    *,
    models: Sequence[str],
    suite: str,
    groups: Mapping[str, str],
    unscored: Mapping[str, str] | None = None,
    latency: Mapping[str, LatencySummary] | None = None,
    speed_up: tuple[float, float, float] | None = None,
    note: str = EMBEDDED_NOTE,
    partial: str = "",
    seed: int = 0,
    resamples: int = 2000,
) -> Table:
    """The table of one or two models: models[0], and models[1] that it is held against.

    groups: metric -> group, in the order of the rows; other metrics go last. unscored: metrics without a scorer.
    speed_up: ratio, low, high of a race; without it, the ratio of the two medians, which has no interval.
    UserError when a metric was scored by different scorers; ValueError for a clip scored twice.
    """
    by_metric: dict[str, list[ScoreRecord]] = {}
    for score in scores:
        if score.model in models:
            by_metric.setdefault(score.metric, []).append(score)
    order = [*(m for m in groups if m in by_metric), *sorted(m for m in by_metric if m not in groups)]
    rows: list[Row] = []
    without: dict[str, str] = {}
    for metric in order:
        row = _row(metric, groups.get(metric, "other"), by_metric[metric], models, seed, resamples)
        if any(cell.interval for cell in row.cells):
            rows.append(row)
        reasons = Counter(score.unscored for score in by_metric[metric] if score.unscored is not None)
        if reasons:
            without[metric] = "; ".join(f"{reason} ({count} clips)" for reason, count in sorted(reasons.items()))
    listed = [m for m in groups if m in (unscored or {})] + [m for m in (unscored or {}) if m not in groups]
    without |= {metric: (unscored or {})[metric] for metric in listed if metric not in by_metric}
    times = tuple(
        Latency(model, latency[model].median_s, latency[model].low_s, latency[model].high_s)
        for model in models
        if latency and model in latency
    )
    ratio = times[1].median_s / times[0].median_s if len(times) == 2 else None
    return Table(
        title=(f"{partial}: " if partial else "") + _title(models, suite, note),
        models=tuple(models),
        rows=tuple(rows),
        latency=times,
        speed_up=speed_up[0] if speed_up else ratio,
        speed_up_interval=speed_up[1:] if speed_up else None,
        unscored=tuple(without.items()),
        notes=tuple(_notes(models, rows, len(listed))),
        partial=partial,
    )


def _title(models: Sequence[str], suite: str, note: str) -> str:
    return " against ".join(models) + f" on {suite}" + (f" ({note})" if note else "")


def _row(
    metric: str, group: str, scores: Sequence[ScoreRecord], models: Sequence[str], seed: int, resamples: int
) -> Row:
    scorers = sorted({score.scorer for score in scores})
    if len(scorers) > 1:
        who = "; ".join(
            f"{scorer} for {', '.join(sorted({s.model for s in scores if s.scorer == scorer}))}" for scorer in scorers
        )
        raise UserError(
            found=f"{metric} was scored by different scorers: {who}",
            expected="one scorer for all clips, for scores of different scorers are not comparable",
            run_next="score all clips again with one version of turbo-eval, or choose one scorer's records",
        )
    if len({score.clip_id for score in scores}) != len(scores):
        raise ValueError(f"a clip has two scores of {metric}")
    values = {
        model: {(s.prompt_id, s.sample_index): s.value for s in scores if s.model == model and s.value is not None}
        for model in models
    }
    cells = tuple(
        Cell(
            cluster_bootstrap_mean(
                list(values[model].values()), [p for p, _ in values[model]], seed=seed, resamples=resamples
            )
            if values[model]
            else None,
            sum(score.model == model and score.value is None for score in scores),
        )
        for model in models
    )
    difference = None
    if len(models) == 2:
        difference = paired_difference(values[models[0]], values[models[1]], seed=seed, resamples=resamples)
    return Row(metric, group, scorers[0], cells, difference)


def _notes(models: Sequence[str], rows: Sequence[Row], missing: int) -> Iterator[str]:
    yield "mean [95 % interval], prompts resampled (cluster bootstrap)"
    if len(models) == 2:
        yield f"difference: {models[0]} minus {models[1]}, paired by prompt and sample"
    if any(c.interval and c.interval.low is None for row in rows for c in row.cells):
        yield "no interval: too few prompts"
    if missing:
        unscored = "1 dimension is" if missing == 1 else f"{missing} dimensions are"
        yield f"no quality, semantic or total score: {unscored} unscored"


def number(interval: Interval | None, sign: str = "") -> str:
    """`0.9812 [0.9731, 0.9890]`, without bounds where there are none."""
    if interval is None:
        return NOTHING
    text = f"{interval.mean:{sign}.4f}"
    if interval.low is None or interval.high is None:
        return text
    return f"{text} [{interval.low:{sign}.4f}, {interval.high:{sign}.4f}]"


def _clips(row: Row) -> str:
    """How many clips have a number, and how many have none: `72`, or `70 / 72`, or `70 (+2 unscored)`."""
    counts = [
        str(cell.interval.n if cell.interval else 0) + (f" (+{cell.unscored} unscored)" if cell.unscored else "")
        for cell in row.cells
    ]
    return counts[0] if len(set(counts)) == 1 else " / ".join(counts)


def _header(table: Table) -> list[str]:
    return ["metric", *table.models, *(["difference"] if len(table.models) == 2 else []), "clips"]


def _line(table: Table, row: Row) -> list[str]:
    paired = [number(row.difference, "+")] if len(table.models) == 2 else []
    return [row.metric, *(number(cell.interval) for cell in row.cells), *paired, _clips(row)]


def _latency_lines(table: Table) -> list[str]:
    lines = [f"{t.model}: {t.median_s:.3f} s per clip [{t.low_s:.3f}, {t.high_s:.3f}]" for t in table.latency]
    if table.speed_up is not None:
        interval = " [{:.1f}, {:.1f}]".format(*table.speed_up_interval) if table.speed_up_interval else ""
        lines.append(f"speed-up: {table.speed_up:.1f}x{interval}")
    return lines


def to_rich(table: Table) -> Group:
    """The table for a terminal; print it with rich's Console."""
    from rich import box
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    view = RichTable(title=table.title, box=box.SIMPLE_HEAD, title_style="bold", pad_edge=False)
    for i, name in enumerate(_header(table)):
        view.add_column(name, justify="left" if i == 0 else "right", overflow="fold", no_wrap=i == 0)
    group = None
    for row in table.rows:
        if row.group != group:
            view.add_section()
            view.add_row(Text(row.group, style="italic dim"))
            group = row.group
        # No space in the bracket: on a narrow terminal a line ends between a mean and its interval, not inside.
        view.add_row(*(Text(cell.replace(", ", ",")) for cell in _line(table, row)))
    parts: list[Any] = [view, *(Text(line, style="bold") for line in _latency_lines(table))]
    if table.unscored:
        parts.append(Text("unscored:"))
        parts += [Text(f"  {metric}: {reason}") for metric, reason in table.unscored]
    parts += [Text(note, style="dim") for note in table.notes]
    return Group(*parts)


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def to_markdown(table: Table) -> str:
    """The table as GitHub's Markdown."""
    header = ["group", *_header(table), "scorer"]
    lines = [f"## {table.title}", "", "| " + " | ".join(header) + " |"]
    lines.append("|" + "|".join("---" if name in ("group", "metric", "scorer") else "---:" for name in header) + "|")
    for row in table.rows:
        cells = [row.group, *_line(table, row), f"`{row.scorer}`"]
        lines.append("| " + " | ".join(_escape(cell) for cell in cells) + " |")
    lines += ["", *(f"- {line}" for line in _latency_lines(table))]
    if table.unscored:
        lines += ["", "Unscored:", ""]
        lines += [f"- {metric}: {_escape(reason)}" for metric, reason in table.unscored]
    lines += ["", *(f"- {note}" for note in table.notes), ""]
    return "\n".join(line for i, line in enumerate(lines) if line or lines[i - 1])


def to_csv(table: Table) -> str:
    """The table for programs: full precision, one line a metric; the latency in s and unscored metrics follow.

    A partial table has a last column that says so in every line.
    """
    columns = ["group", "metric", "scorer"]
    for model in table.models:
        columns += [f"{model} {name}" for name in ("mean", "low", "high", "clips", "prompts", "unscored")]
    if len(table.models) == 2:
        columns += [f"difference {name}" for name in ("mean", "low", "high", "clips", "prompts")]
    writer = csv.writer(stream := io.StringIO(), lineterminator="\n")
    stamp = [table.partial] if table.partial else []
    writer.writerow([*columns, "reason", *(["partial"] if stamp else [])])
    reasons = dict(table.unscored)
    for row in table.rows:
        fields: list[Any] = [row.group, row.metric, row.scorer]
        for cell in row.cells:
            fields += [*_fields(cell.interval), cell.unscored]
        fields += _fields(row.difference) if len(table.models) == 2 else []
        writer.writerow([*fields, reasons.get(row.metric, ""), *stamp])
    times = {time.model: time for time in table.latency}
    if times:
        fields = ["speed", "latency_s", "median"]
        for model in table.models:
            time = times.get(model)
            fields += [time.median_s, time.low_s, time.high_s, "", "", ""] if time else [""] * 6
        writer.writerow([*fields, *[""] * (len(columns) - len(fields) + 1), *stamp])
    for metric, reason in table.unscored:
        if all(row.metric != metric for row in table.rows):
            writer.writerow(["unscored", metric, *[""] * (len(columns) - 2), reason, *stamp])
    return stream.getvalue()


def _fields(interval: Interval | None) -> list[Any]:
    if interval is None:
        return ["", "", "", 0, 0]
    bounds = ["" if bound is None else bound for bound in (interval.low, interval.high)]
    return [interval.mean, *bounds, interval.n, interval.clusters]

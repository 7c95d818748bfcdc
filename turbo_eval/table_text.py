"""How does a table look to people and programs? A typed table (tables.py) as rich text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from turbo_eval.stats import Interval
from turbo_eval.tables import Cell, Row, Table

if TYPE_CHECKING:
    from rich.console import Group

NOTHING = "-"


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
    return [row.metric, *(_cell(cell) for cell in row.cells), *paired, _clips(row)]


def _cell(cell: Cell) -> str:
    return f"{number(cell.interval)} {cell.mark}".rstrip()


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
    parts += [Text(f"warning: {warning}", style="bold") for warning in table.warnings]
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
    lines += ["", *(f"- warning: {_escape(warning)}" for warning in table.warnings)]
    lines += ["", *(f"- {note}" for note in table.notes), ""]
    return "\n".join(line for i, line in enumerate(lines) if line or lines[i - 1])


def to_csv(table: Table) -> str:
    """The table for programs: full precision, one line a metric; the latency in s and unscored metrics follow.

    A partial table has a last column that says so in every line.
    """
    columns = ["group", "metric", "scorer"]
    more = list(table.rows[0].cells[0].more) if table.rows else []
    for model in table.models:
        columns += [f"{model} {name}" for name in ("mean", "low", "high", "clips", "prompts", "unscored", *more)]
    if len(table.models) == 2:
        columns += [f"difference {name}" for name in ("mean", "low", "high", "clips", "prompts")]
    writer = csv.writer(stream := io.StringIO(), lineterminator="\n")
    stamp = [table.partial] if table.partial else []
    writer.writerow([*columns, "reason", *(["partial"] if stamp else [])])
    reasons = dict(table.unscored)
    for row in table.rows:
        fields: list[Any] = [row.group, row.metric, row.scorer]
        for cell in row.cells:
            fields += [*_fields(cell.interval), cell.unscored, *cell.more.values()]
        fields += _fields(row.difference) if len(table.models) == 2 else []
        writer.writerow([*fields, reasons.get(row.metric, ""), *stamp])
    times = {time.model: time for time in table.latency}
    if times:
        fields = ["speed", "latency_s", "median"]
        for model in table.models:
            time = times.get(model)
            fields += [time.median_s, time.low_s, time.high_s] if time else [""] * 3
            fields += [""] * (3 + len(more))
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

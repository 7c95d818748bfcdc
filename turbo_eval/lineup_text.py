"""How does a line-up look to people and programs? A row a model, a column a metric: Markdown, CSV and JSON lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from turbo_eval.lineup_numbers import SCHEMA_VERSION, Column, Part, Row, RowDifference, RowMean
from turbo_eval.stats import MIN_CLUSTERS

NOTHING = "-"
SECTIONS = {  # of groups that stand in one table
    "judges": "judges and rewards",
    "image rewards": "judges and rewards",
    "video rewards": "judges and rewards",
    "quality": "dimensions",
    "semantic": "dimensions",
}
FIRST = ("oracle", "judges and rewards", "dimensions")
PART_NAMES: Mapping[Part, str] = {
    "all": "all prompts",
    "held_out": "prompts of combinations held out from training",
    "seen": "prompts of combinations seen in training",
}
CSV_COLUMNS = (
    "kind row against part group metric mean low high clips prompts unscored in_loop members member_means scorer"
)


@dataclass(frozen=True)
class Cost:
    """What a clip costs. num_steps, guidance_scale: as it is run, None for finished clips; the others: not measured.

    times_faster: baseline -> ratio of medians, low, high. timed_as: the contestant whose time it is.
    """

    row: str
    num_steps: int | None
    guidance_scale: float | None
    network_evaluations: int | None = None
    median_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None
    times_faster: tuple[tuple[str, float, float, float], ...] = ()
    timed_as: str = ""

    def to_json(self) -> dict[str, Any]:
        """A line for programs."""
        return {"schema_version": SCHEMA_VERSION, "kind": "cost", **asdict(self)}


@dataclass(frozen=True)
class LineupTable:
    """Everything that is printed. unscored: metrics without any number, and why; warnings, notes: sentences."""

    title: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    baselines: tuple[str, ...]
    prompts: Mapping[Part, int]
    means: tuple[RowMean, ...]
    differences: tuple[RowDifference, ...]
    costs: tuple[Cost, ...]
    unscored: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def records(self) -> list[dict[str, Any]]:
        """One object a mean, difference and cost, for programs."""
        scores = [record.to_json() for record in self.scored()]
        return [*scores, *(cost.to_json() for cost in self.costs)]

    def scored(self) -> list[RowMean | RowDifference]:
        """Means, then differences."""
        return [*self.means, *self.differences]


def to_markdown(table: LineupTable) -> str:
    """The table as GitHub's Markdown; bold: a difference whose interval excludes 0."""
    blocks = [f"## {table.title}", *(f"- warning: {_escape(text)}" for text in table.warnings)]
    for part in table.prompts:
        blocks += _of_part(table, part) if part != "seen" else ()
    blocks += _seeds(table)
    if table.unscored:
        blocks.append("Unscored:\n\n" + "\n".join(f"- {metric}: {_escape(why)}" for metric, why in table.unscored))
    blocks.append("\n".join(f"- {_escape(note)}" for note in (*_notes(table), *table.notes)))
    return "\n\n".join(blocks) + "\n"


def _of_part(table: LineupTable, part: Part) -> Iterator[str]:
    where = f"{PART_NAMES[part]} ({table.prompts[part]})"
    means = {(mean.row, mean.metric): mean for mean in table.means if mean.part == part}
    steps = {cost.row: str(cost.num_steps or NOTHING) for cost in table.costs}
    names = [row.name for row in table.rows]
    sections = {name: own for name, own in _sections(table.columns).items() if part == "all" or name != "dimensions"}
    for section, metrics in sections.items():
        shown = ((row, [means.get((row.name, metric)) for metric in metrics]) for row in table.rows)
        lines = [[_label(row), steps[row.name], *map(_mean, own)] for row, own in shown]
        yield f"### {section}, {where}"
        yield grid(["model", "steps", *metrics], lines)
    if part == "all" and any(cost.network_evaluations is not None for cost in table.costs):
        yield "### cost of a clip"
        yield _costs(table)
    for baseline in table.baselines:
        gaps = {(gap.row, gap.metric): gap for gap in table.differences if (gap.against, gap.part) == (baseline, part)}
        for section, metrics in sections.items():
            lines = [[n, steps[n], *(_gap(gaps.get((n, m))) for m in metrics)] for n in names if n != baseline]
            if lines:
                yield f"### {section}, difference to {baseline}, {where}"
                yield grid(["model", "steps", *metrics], lines)


def _sections(columns: Sequence[Column]) -> dict[str, list[str]]:
    """Heading -> its metrics."""
    found: dict[str, list[str]] = {}
    for column in columns:
        found.setdefault(SECTIONS.get(column.group, column.group), []).append(column.metric)
    order = [*(name for name in FIRST if name in found), *(name for name in found if name not in FIRST)]
    return {name: found[name] for name in order}


def _label(row: Row) -> str:
    return f"{row.name} ({len(row.members)} seeds)" if len(row.members) > 1 else row.name


def bounded(mean: float | None, low: float | None, high: float | None, form: str = ".3f") -> str:
    """`0.981 [0.973, 0.989]`, without bounds where there are none; `-` where there is no mean."""
    if mean is None:
        return NOTHING
    return f"{mean:{form}}" + ("" if low is None or high is None else f" [{low:{form}}, {high:{form}}]")


def _mean(mean: RowMean | None) -> str:
    if mean is None:
        return NOTHING
    missing = f" (+{mean.unscored} unscored)" if mean.unscored and mean.mean is not None else ""
    return bounded(mean.mean, mean.low, mean.high) + missing + (" in_loop" if mean.in_loop else "")


def _gap(gap: RowDifference | None) -> str:
    if gap is None:
        return NOTHING
    text = bounded(gap.mean, gap.low, gap.high, "+.3f")
    text = f"**{text}**" if gap.is_sure else text
    if gap.mean is None or len(gap.members) < 2:
        return text
    alike = sum(value is not None and value * gap.mean > 0 for value in gap.member_means)
    return f"{text} {alike}/{len(gap.members)}"


def _costs(table: LineupTable) -> str:
    lines = []
    for row, cost in zip(table.rows, table.costs, strict=True):
        ratios = {baseline: bounded(mean, low, high, ".1f") for baseline, mean, low, high in cost.times_faster}
        time = bounded(cost.median_s, cost.low_s, cost.high_s)
        calls = NOTHING if cost.network_evaluations is None else str(cost.network_evaluations)
        faster = [ratios.get(baseline, NOTHING) for baseline in table.baselines]
        lines.append([_label(row), str(cost.num_steps or NOTHING), calls, time, *faster, cost.timed_as or NOTHING])
    heads = [f"times faster than {baseline}" for baseline in table.baselines]
    return grid(["model", "steps", "network calls", "s per clip", *heads, "timed as"], lines)


def _seeds(table: LineupTable) -> Iterator[str]:
    """Every member's own mean, smallest and largest, of the rows that have several."""
    lines = []
    for mean in table.means:
        known = [value for value in mean.member_means if value is not None]
        if known and mean.part == "all":
            each = " / ".join(bounded(value, None, None) for value in mean.member_means)
            spread = f"{min(known):.3f} to {max(known):.3f}"
            lines.append([mean.row, mean.metric, each, spread, bounded(mean.mean, mean.low, mean.high)])
    if lines:
        yield "### training seeds"
        yield grid(["model", "metric", "each seed", "smallest to largest", "mean, interval over prompts"], lines)
        yield "\n".join(f"- {row.name}: {', '.join(row.members)}" for row in table.rows if len(row.members) > 1)


def _notes(table: LineupTable) -> Iterator[str]:
    yield "mean [95 % interval], prompts resampled (cluster bootstrap); the same noise for every model"
    if table.differences:
        sure = sum(gap.low is not None for gap in table.differences)
        yield (
            "differences are paired by prompt and sample; bold: the interval excludes 0. Each interval is 95 % for "
            f"itself alone: of these {sure} about {sure / 20:.0f} would exclude 0 if nothing differed"
        )
    if any(len(row.members) > 1 for row in table.rows):
        yield (
            "a row of several seeds: each clip's mean over them, so its interval is about other prompts for these "
            "checkpoints and not about other seeds; those show in the values of each seed"
        )
        if table.differences:
            yield "2/3 after a difference: two of the row's three seeds differ in that direction on their own"
    if any(mean.in_loop for mean in table.means):
        yield "in_loop: the model was trained on this reward"
    if any(mean.mean is not None and mean.low is None for mean in table.means):
        yield f"no interval: fewer than {MIN_CLUSTERS} prompts"


def grid(heads: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    rows = ["| " + " | ".join(map(_escape, cells)) + " |" for cells in (heads, *lines)]
    return "\n".join([rows[0], "|---|" + "---:|" * (len(heads) - 1), *rows[1:]])


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def to_csv(table: LineupTable) -> str:
    """One line a mean or difference, and two or more a cost; full precision."""
    columns = CSV_COLUMNS.split()
    writer = csv.DictWriter(stream := io.StringIO(), columns, lineterminator="\n", extrasaction="ignore", restval="")
    writer.writeheader()
    for record in table.scored():
        fields = {name: "" if value is None else value for name, value in record.to_json().items()}
        each = ";".join("" if value is None else str(value) for value in record.member_means)
        writer.writerow({**fields, "members": ";".join(record.members), "member_means": each})
    for cost in table.costs:
        own = {"kind": "cost", "row": cost.row, "members": cost.timed_as}
        if cost.network_evaluations is not None:
            writer.writerow({**own, "metric": "network_evaluations", "mean": cost.network_evaluations})
            writer.writerow(own | _numbers("latency_s", cost.median_s, cost.low_s, cost.high_s))
        for baseline, ratio, low, high in cost.times_faster:
            writer.writerow(own | {"against": baseline} | _numbers("times_faster", ratio, low, high))
    return stream.getvalue()


def _numbers(metric: str, mean: float | None, low: float | None, high: float | None) -> dict[str, object]:
    return {"metric": metric, "mean": mean, "low": low, "high": high}

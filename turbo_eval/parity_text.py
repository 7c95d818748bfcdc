"""How does a comparison of engines look to people and programs? A row a dimension: Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from turbo_eval.lineup_text import NOTHING, grid
from turbo_eval.parity import FLOOR, SCHEMA_VERSION, Row, Speed, speeds

HEADS = "dimension|clips|max abs.|max rel.|flipped|agrees|VBench, s|ours, s|times faster|CPU, s|loading, s|peak, GB"
CSV_COLUMNS = "dimension clip official ours absolute relative why"


def table(rows: Sequence[Row]) -> list[dict[str, str]]:
    """What is printed, heading by heading."""
    headings = HEADS.split("|")
    return [dict(zip(headings, _cells(row, speeds(rows)), strict=True)) for row in rows]


def _cells(row: Row, found: Sequence[Speed]) -> list[str]:
    speed = next((one for one in found if row.dimension in one.dimensions), None)
    ratio = NOTHING
    if speed:
        ratio = f"{speed.times_faster:.2f}" if row.dimension == speed.dimensions[0] else f"with {speed.dimensions[0]}"
    flips = NOTHING if row.flipped is None else str(len(row.flipped))
    verdict = {True: "yes", False: "NO", None: "not compared"}[row.agrees]
    loads = f"{_short(row.official_load_s)} / {_short(row.ours_load_s)}"
    cpu = f"{_short(row.official_cpu_s)} / {_short(row.ours_cpu_s)}"
    peaks = f"{_short(row.official_peak_bytes, 1e9)} / {_short(row.ours_peak_bytes, 1e9)}"
    clips = f"{row.compared}" + (f" of {len(row.clips)}" if row.compared != len(row.clips) else "")
    sizes = [_tiny(row.largest_absolute), _tiny(row.largest_relative)]
    times = [_short(row.official_s), _short(row.ours_s), ratio, cpu, loads, peaks]
    return [row.dimension, clips, *sizes, flips, verdict, *times]


def _tiny(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1e}" if value else "0"


def _short(value: float | None, unit: float = 1.0) -> str:
    return NOTHING if value is None else f"{value / unit:.1f}"


def lines(rows: Sequence[Row], identity: Mapping[str, Any]) -> list[str]:
    """What stands below the table."""
    found = speeds(rows)
    official, ours = sum(one.official_s for one in found), sum(one.ours_s for one in found)
    told = []
    if found:
        names = sum(len(one.dimensions) for one in found)
        told.append(
            f"{_dimensions(names)} together: VBench {official:.1f} s, ours {ours:.1f} s, without loading: "
            f"{official / max(ours, 1e-9):.2f} times faster, with {identity['threads']} threads on {identity['device']}"
        )
    timed = [row for row in rows if row.is_whole and row.official_cpu_s and row.ours_cpu_s]
    if timed:
        cpu = [sum(row.official_cpu_s or 0 for row in timed), sum(row.ours_cpu_s or 0 for row in timed)]
        ratio = cpu[0] / cpu[1]
        told.append(
            f"{_dimensions(len(timed))}, CPU: VBench {cpu[0]:.1f} s, ours {cpu[1]:.1f} s, {ratio:.2f} times less"
        )
    for row in rows:
        told += [f"{row.dimension}: not compared: {row.why_not}"] if row.why_not else []
        told += [f"{row.dimension}: verdicts differ on {name}" for name in row.flipped or ()]
        told += [f"{row.dimension}: {clip.clip}: {clip.why}" for clip in row.clips if clip.why and not row.why_not]
    tolerance = max(row.tolerance for row in rows)
    told.append(f"tolerance: {tolerance:g} of the score (of {FLOOR:g}, for a smaller one); verdicts must be the same")
    pairs = "may leave pairs out whose verdict is certain" if identity["early_exit"] else "computes every pair"
    told.append("max abs., max rel.: the largest difference of a clip's score; CPU, loading and peak: VBench's / ours")
    told.append(
        "loading is without imports; ours may read a weights' file as late as with the first clip, in its seconds"
    )
    told.append(f"seconds hold decoding, which ours repeats here for each dimension; dynamic_degree {pairs}")
    return told


def _dimensions(count: int) -> str:
    return "1 dimension" if count == 1 else f"{count} dimensions"


def to_markdown(rows: Sequence[Row], identity: Mapping[str, Any]) -> str:
    """The table and its lines as GitHub's Markdown."""
    shown = table(rows)
    text = grid(list(shown[0]), [list(row.values()) for row in shown])
    return f"{text}\n\n" + "\n".join(f"- {line}" for line in lines(rows, identity)) + "\n"


def to_csv(rows: Sequence[Row]) -> str:
    """One line a dimension and clip, in full precision."""
    writer = csv.DictWriter(stream := io.StringIO(), CSV_COLUMNS.split(), lineterminator="\n", restval="")
    writer.writeheader()
    for row in rows:
        for clip in row.clips:
            line: dict[str, object] = {"dimension": row.dimension, "clip": clip.clip, "why": clip.why}
            line |= {k: v for k, v in (("official", clip.official), ("ours", clip.ours)) if v is not None}
            if clip.both:
                gap = abs(clip.both[1] - clip.both[0])
                line |= {"absolute": gap, "relative": gap / max(abs(clip.both[0]), FLOOR)}
            writer.writerow(line)
    return stream.getvalue()


def to_json(rows: Sequence[Row], identity: Mapping[str, Any]) -> dict[str, Any]:
    """One document for programs."""
    ratios = [
        {"dimensions": one.dimensions, "official_s": one.official_s, "ours_s": one.ours_s, "ratio": one.times_faster}
        for one in speeds(rows)
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "identity": dict(identity),
        "rows": [row.to_json() for row in rows],
        "speeds": ratios,
    }

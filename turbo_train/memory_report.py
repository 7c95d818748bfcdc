"""How are the measured ways to a reward's gradient shown? memory.json, memory.md, memory.png, and a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from turbo_train.memory import Measured

SCHEMA = 1
MIB = 2**20
NAMES = {"single": "single-step prediction", "consistency": "consistency chain", "ddim": "DDIM chain with guidance"}
HEADINGS = ("through", "K", "recomputed", "kept, MiB", "peak, MiB", "peak / single step", "calls", "seconds", "")


def document_of(world: Sequence[Measured], full_size: Sequence[Measured], about: dict[str, Any]) -> dict[str, Any]:
    """For programs."""
    rows = {"world": [asdict(row) for row in world], "full_size": [asdict(row) for row in full_size]}
    return {"schema": SCHEMA, **about, **rows}


def cells(row: Measured) -> tuple[str, ...]:
    """One line of a table; seconds of the forward and the backward pass together."""
    kept = "" if row.kept_bytes is None else f"{row.kept_bytes / MIB:,.1f}"
    peak, times = f"{row.peak_bytes / MIB:,.1f}", f"{row.times_single:.2f}"
    again = "yes" if row.recomputed else "no"
    seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
    how = "shapes only" if row.shapes_only else ""
    return NAMES[row.chain], str(row.num_steps), again, kept, peak, times, str(row.network_calls), seconds, how


def table_of(title: str, rows: Sequence[Measured]) -> Table:
    """For people."""
    table = Table(title=title, box=None, title_justify="left", header_style="bold", pad_edge=False)
    for place, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if 0 < place < len(HEADINGS) - 1 else "left")
    for row in rows:
        table.add_row(*cells(row))
    return table


def write(folder: Path, document: dict[str, Any], world: Sequence[Measured], full_size: Sequence[Measured]) -> None:
    """memory.json, memory.md and memory.png."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    parts = [_markdown("The embedded world", world)]
    parts += [_markdown("VideoCrafter2's size", full_size)] if full_size else []
    (folder / "memory.md").write_text("\n".join(parts), encoding="utf-8")
    _plot(folder / "memory.png", world)


def _markdown(title: str, rows: Sequence[Measured]) -> str:
    lines = [f"### {title}", "", f"| {' | '.join(HEADINGS)} |", f"|{'---|' * len(HEADINGS)}"]
    lines += [f"| {' | '.join(cells(row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def _plot(path: Path, rows: Sequence[Measured]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    first = rows[0]
    for chain, colour in (("consistency", "tab:blue"), ("ddim", "tab:red")):
        for recomputed, style in ((False, "o-"), (True, "s--")):
            line = [row for row in rows if row.chain == chain and row.recomputed == recomputed]
            label = NAMES[chain] + (", recomputed" if recomputed else "")
            axes.plot([r.num_steps for r in line], [r.peak_bytes / MIB for r in line], style, color=colour, label=label)
    for row in rows:
        if row.chain == "single":
            label = NAMES[row.chain] + (", recomputed" if row.recomputed else "")
            axes.axhline(row.peak_bytes / MIB, color="black", ls="--" if row.recomputed else "-", lw=1, label=label)
    axes.set(xlabel="steps of the sampling chain, K", ylabel="peak memory of the rewards' gradient, MiB", yscale="log")
    axes.set_title(f"Gradient of rewards through a chain; single step {first.peak_bytes / MIB:,.0f} MiB", fontsize=10)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120, metadata={"Software": None})

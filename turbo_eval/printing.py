"""How is a result printed? On stdout: one JSON document for programs, or a table for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer

WIDTH_IN_FILES = 140  # columns when stdout is no terminal


def duration(seconds: float) -> str:
    """`1 h 05 min`, `6 min 30 s`."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours} h {rest // 60:02d} min" if hours else f"{rest // 60} min {rest % 60:02d} s"


def print_json(document: object) -> None:
    """One JSON document. ValueError for NaN and infinities."""
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """A table without a frame; the first row's keys are its headings."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for place, heading in enumerate(rows[0]):
        table.add_column(heading, overflow="fold", no_wrap=not place)  # names can be copied and searched for
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row.values()))
    print_rich(table)


def print_rich(drawing: Any) -> None:
    """Anything that rich draws, as wide as the terminal."""
    from rich.console import Console

    class Ours(Console):
        def on_broken_pipe(self) -> None:
            """Differs: rich would end the program with 1, which here means that a model has become worse."""
            raise BrokenPipeError

    console = Ours()
    if not console.is_terminal:
        console = Ours(width=WIDTH_IN_FILES)
    console.print(drawing)

"""How does a timing look in a report or a paper? The tables and sentences of the terminal as GitHub's Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from turbo_eval.lineup_text import grid
from turbo_eval.timing.cells import grids
from turbo_eval.timing.record import SpeedRecord
from turbo_eval.timing.sentences import paragraphs, recipe_line


def to_markdown(record: SpeedRecord, comparison: tuple[str, ...] = (), pictures: Sequence[str] = ()) -> str:
    """The whole file speed.md. comparison: sentences on an earlier record; pictures: files that lie beside it."""
    blocks = ["# Speed", *([f"**{_escape(record.stamp)}**"] if record.stamp else [])]
    blocks.append(f"{_escape(recipe_line(record))}\n\n    {record.command}\n\nBegan {record.began}.")
    for table in grids(record):
        blocks += [f"## {table.title}", grid(table.heads, [line.cells for line in table.lines])]
    blocks += [f"![{name.removesuffix('.png')}]({name})" for name in pictures]
    for paragraph in paragraphs(record, comparison):
        blocks += [f"## {paragraph.title}", "\n".join(f"- {_escape(line)}" for line in paragraph.lines)]
    return "\n\n".join(blocks) + "\n"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

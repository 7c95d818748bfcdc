"""How does a timing look on a terminal? Three compact tables and sentences (cells.py, sentences.py), drawn by rich."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from turbo_eval.timing.cells import Grid, grids
from turbo_eval.timing.record import SpeedRecord
from turbo_eval.timing.sentences import Paragraph, paragraphs, recipe_line

if TYPE_CHECKING:
    from rich.console import Group

INVALID_STYLE = "red"


def to_rich(record: SpeedRecord, comparison: tuple[str, ...] = ()) -> Group:
    """Everything that a person reads, for a terminal of 120 columns; print it by printing.print_rich.

    comparison: sentences on an earlier record.
    """
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text(record.stamp, style=f"bold {INVALID_STYLE}")] if record.stamp else []
    parts.append(Text(recipe_line(record), style="bold"))
    for grid in grids(record):
        parts += [Text(), drawn(grid)]
    for paragraph in paragraphs(record, comparison):
        parts.append(_paragraph(paragraph))
    return Group(*parts)


def drawn(grid: Grid) -> Group:
    """One grid under its title; rows that are not valid in red."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    view = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    view.show_edge = False
    view.padding = (0, 1, 0, 0)
    for place, head in enumerate(grid.heads):
        justify: Literal["left", "right"] = "right" if place else "left"
        view.add_column(_folded(head), justify=justify, vertical="bottom", overflow="fold", no_wrap=place > 0)
    for line in grid.lines:
        cells = (Text(cell.replace(", ", ",")) for cell in line.cells)
        view.add_row(*cells, style="" if line.valid else INVALID_STYLE)
    return Group(Text(grid.title, style="bold"), view)


def _folded(head: str) -> str:
    """In two lines, at the space nearest to its middle: that saves half of its width."""
    spaces = [place for place, letter in enumerate(head) if letter == " "]
    if not spaces:
        return head
    middle = min(spaces, key=lambda place: abs(place - len(head) / 2))
    return f"{head[:middle]}\n{head[middle + 1 :]}"


def _paragraph(paragraph: Paragraph) -> Any:
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    head = Text(f"\n{paragraph.title}", style=f"bold {INVALID_STYLE}" if paragraph.warns else "bold")
    return Group(head, *(Padding(Text(line), (0, 0, 0, 2)) for line in paragraph.lines))

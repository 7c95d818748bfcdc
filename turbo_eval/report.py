"""Which files does a run leave for people and programs, and what is in each?

scores.jsonl       every score, canonical and sorted, without times or hosts: equal runs are equal bytes
results.json       identity, environment, timings and the table's rows
table.md, .csv     the table that was printed
rewards.jsonl      means and differences of reward models, one line each (reward_records.py)
contact_sheet.png  prompts with frames of each model

Where clips are missing, the names begin with PARTIAL-, and so does what is in them.
"""

from __future__ import annotations

import io
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from turbo_eval.durable import write_atomically
from turbo_eval.records import SCHEMA_VERSION, Prompt, ScoreRecord, canonical_json, canonical_line
from turbo_eval.table_text import to_csv, to_markdown
from turbo_eval.tables import Table

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

    from turbo_eval.manifest import Manifest
    from turbo_eval.provenance import Environment

Frames = NDArray[np.uint8]

PARTIAL = "PARTIAL-"
MARGIN_PX = 12
GAP_PX = 2  # between the frames of one clip
CAPTION_PX = 15  # font size; a line takes CAPTION_PX + 7
LINE_PX = CAPTION_PX + 7
PAPER, INK, PALE = (255, 255, 255), (20, 20, 20), (120, 120, 120)


def write_results(
    folder: Path,
    *,
    scores: Sequence[ScoreRecord],
    table: Table,
    manifest: Manifest,
    environment: Environment,
    timings: Mapping[str, Any],
    missing: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> tuple[Path, ...]:
    """Writes scores.jsonl, results.json, table.md and table.csv, each whole or not at all. Returns their paths.

    missing: the clips that are not there; then the files are stamped PARTIAL and a whole run's are left alone.
    more: further fields of results.json.
    """
    texts = {"table.md": to_markdown(table), "table.csv": to_csv(table)}
    more = {"table": table.to_json(), **(more or {})}
    return write_texts(folder, scores, manifest, environment, timings, missing, texts, more)


def write_texts(
    folder: Path,
    scores: Sequence[ScoreRecord],
    manifest: Manifest,
    environment: Environment,
    timings: Mapping[str, Any],
    missing: Mapping[str, Any] | None,
    texts: Mapping[str, str],
    more: Mapping[str, Any],
) -> tuple[Path, ...]:
    """scores.jsonl, results.json with the fields `more`, and files of these names and texts; else as write_results."""
    described = manifest.to_json()
    results = {
        "schema_version": SCHEMA_VERSION,
        "partial": missing,
        **{name: described[name] for name in ("identity", "scope", "models", "keys")},
        "environment": environment.to_json(),
        "timings": dict(timings),
        **more,
    }
    files = {
        "scores.jsonl": "".join(canonical_line(score) + "\n" for score in sorted(scores, key=lambda s: s.sort_key)),
        "results.json": json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        **texts,
    }
    return tuple(write_stamped(folder, name, missing is not None, text.encode()) for name, text in files.items())


def write_lines(folder: Path, name: str, rows: Sequence[Mapping[str, Any]], *, partial: bool) -> Path:
    """Writes one canonical JSON line a row, stamped as the other files are. Returns the path."""
    return write_stamped(folder, name, partial, "".join(canonical_json(row) + "\n" for row in rows).encode())


def write_stamped(folder: Path, name: str, partial: bool, data: bytes) -> Path:
    """Writes a file under its name, or under PARTIAL-name; a whole run's file ends the partial one."""
    path = write_atomically(folder / (PARTIAL + name if partial else name), data)
    if not partial:
        (folder / (PARTIAL + name)).unlink(missing_ok=True)
    return path


def write_contact_sheet(
    folder: Path,
    rows: Sequence[tuple[Prompt, Mapping[str, Frames]]],
    *,
    models: Sequence[str],
    stamp: str = "",
    max_frames: int = 8,
    scale: float = 3,
) -> Path:
    """contact_sheet.png: one row a prompt, its text above, and of each model up to `max_frames` frames of its clip.

    Frames are (T, H, W, 3) uint8 and are drawn `scale` times as large. A model without a clip has a note instead.
    stamp: `PARTIAL: 70 of 72 clips`, written at the top and into the name.
    """
    from PIL import Image, ImageDraw

    shapes = [frames.shape for _, clips in rows for frames in clips.values()]
    if not shapes:
        raise ValueError("no clip for the contact sheet")
    height = max(1, round(max(shape[1] for shape in shapes) * scale))
    width = max(1, round(max(shape[2] for shape in shapes) * scale))
    strip = min(max_frames, max(shape[0] for shape in shapes)) * (width + GAP_PX)
    head = MARGIN_PX + LINE_PX
    row_px = LINE_PX + height + MARGIN_PX
    size = (MARGIN_PX + len(models) * (strip + MARGIN_PX), head + len(rows) * row_px)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    lefts = {model: MARGIN_PX + i * (strip + MARGIN_PX) for i, model in enumerate(models)}
    for model, left in lefts.items():
        _text(draw, (left, MARGIN_PX // 2), f"{stamp} {model}".strip(), strip, PALE)
    for i, (prompt, clips) in enumerate(rows):
        top = head + i * row_px
        caption = prompt.prompt + (" (held out from training)" if prompt.held_out else "")
        _text(draw, (MARGIN_PX, top), caption, size[0] - 2 * MARGIN_PX, INK)
        for model, left in lefts.items():
            if model in clips:
                _paste(sheet, clips[model], (left, top + LINE_PX), (width, height), max_frames)
            else:
                _text(draw, (left, top + LINE_PX), "no clip", strip, PALE)
    return write_stamped(folder, "contact_sheet.png", bool(stamp), _png(sheet))


def frame_indices(frames: int, max_frames: int) -> list[int]:
    """At most `max_frames` indices, spread evenly from the first frame to the last."""
    return [int(i) for i in np.linspace(0, frames - 1, min(frames, max_frames)).round()]


def _paste(sheet: Image, frames: Frames, corner: tuple[int, int], cell: tuple[int, int], max_frames: int) -> None:
    from PIL import Image

    for place, index in enumerate(frame_indices(len(frames), max_frames)):
        picture = Image.fromarray(np.ascontiguousarray(frames[index]))
        # Enlarged pixels stay square; a photograph that is made smaller is averaged.
        grow = picture.width <= cell[0] and picture.height <= cell[1]
        factor = min(cell[0] / picture.width, cell[1] / picture.height)
        target = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
        picture = picture.resize(target, Image.Resampling.NEAREST if grow else Image.Resampling.LANCZOS)
        sheet.paste(picture, (corner[0] + place * (cell[0] + GAP_PX), corner[1]))


def _text(draw: ImageDraw, corner: tuple[int, int], text: str, width: int, colour: tuple[int, int, int]) -> None:
    """One line, cut with an ellipsis where it would not fit into `width` px."""
    from PIL import ImageFont

    font = ImageFont.load_default(size=CAPTION_PX)
    line = " ".join(text.split())
    if draw.textlength(line, font=font) > width:
        fits = (
            bisect_right(range(len(line)), width, key=lambda n: ceil(draw.textlength(f"{line[:n]}...", font=font))) - 1
        )
        line = line[: max(fits, 0)] + "..."
    draw.text(corner, line, fill=colour, font=font)


def _png(sheet: Image) -> bytes:
    stream = io.BytesIO()
    sheet.save(stream, format="PNG")
    return stream.getvalue()

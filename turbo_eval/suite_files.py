"""Which prompts does a file hold, and is each of them fit for use? JSON lines, CSV, plain text and Parquet.

The same rules for all four (prompts/README.md). A prompt is any text and is kept byte for byte: paths, quotes, emoji,
right-to-left text, U+2028. It never becomes a file name; its prompt_id does. Refused everywhere, by line or row:
control characters (U+0000-U+001F, U+007F-U+009F) and lone surrogates. Tabs and line breaks (LF, CR LF) are legal
inside a string of JSON, CSV and Parquet; in plain text a line break ends the prompt and a tab is refused.
Every reader makes one pass.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbo_eval.records import Prompt
from turbo_train.errors import UserError

Rows = Iterator[tuple[int, Mapping[str, Any]]]  # number of a line or row, and what stands there by field

_ILLEGAL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]|\r(?!\n)")
_ILLEGAL_IN_A_LINE = re.compile(_ILLEGAL.pattern + r"|\t")
# Windows opens a device for these names, whatever follows the first dot (learn.microsoft.com, "Naming Files").
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_PANDAS_INDEX = "__index_level_"  # the name of an index that pandas stored beside the columns
_BLANK = " \t\r\n"
_LONGEST_REASON = 300  # characters: a reason may quote what was found


@dataclass(frozen=True)
class Format:
    """How a kind of file is read. `fields`: what stands in a row -> the fields of a JSON line."""

    rows: Callable[[Path], Rows]
    expected: str
    fields: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    unit: str = "line"
    illegal: re.Pattern[str] = _ILLEGAL


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a file, in its order; blank lines are skipped. UserError names the line or row.

    Without a prompt_id a prompt is called after the file and its index. Ids are unique whatever their case: `A` and
    `a` are one file on a case-insensitive disk.
    """
    form, stem = format_of(path), legal_stem(path.stem)
    prompts: list[Prompt] = []
    first: dict[str, int] = {}
    try:
        for number, row in form.rows(path):
            try:
                prompt = Prompt.from_json(form.fields(row), default_id=f"{stem}-{len(prompts):04d}")
                check_prompt(prompt, form.illegal)
                earlier = first.setdefault(prompt.prompt_id.casefold(), number)
                if earlier != number:
                    raise ValueError(f"prompt_id {prompt.prompt_id!r} again, first in {form.unit} {earlier}")
            except ValueError as error:
                raise _broken(path, number, str(error)) from error
            prompts.append(prompt)
    except OSError as error:
        raise _broken(path, 0, f"cannot be read: {error.strerror or error}") from error
    if not prompts:
        raise _broken(path, 0, "no prompt in the file")
    return prompts


def format_of(path: Path) -> Format:
    """How a file is read, by its suffix. UserError for one that is not."""
    suffix = path.suffix.lower()
    if suffix in FORMATS:
        return FORMATS[suffix]
    kind = f"a {suffix} file" if suffix else "a file without a suffix"
    hint = "; one JSON object a line belongs into a .jsonl file" if suffix in (".json", ".ndjson") else ""
    raise UserError(
        found=f"{path} is {kind}, which is not read as a suite",
        expected=f"a file that ends in {', '.join(FORMATS)}{hint}",
        run_next="the same command with such a file",
    )


def legal_stem(text: str) -> str:
    """`text` with what a prompt_id may not hold replaced by '-': the beginning of the default ids."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80] or "prompts"
    return f"_{stem}" if _DEVICE.fullmatch(stem) else stem


def check_prompt(prompt: Prompt, illegal: re.Pattern[str] = _ILLEGAL) -> None:
    """ValueError for illegal characters in any of its texts and for an id that Windows takes for a device."""
    if _DEVICE.fullmatch(prompt.prompt_id):
        raise ValueError(f"prompt_id {prompt.prompt_id!r} is the name of a device on Windows")
    texts = [("the prompt", prompt.prompt), *(("a dimension", name) for name in prompt.dimensions)]
    for name, value in prompt.attributes.items():
        texts += [("an attribute's name", name), (f"attribute {name!r}", value)]
    for where, text in texts:
        if found := illegal.search(text):
            code = ord(found[0])
            kind = "half of a surrogate pair" if 0xD800 <= code <= 0xDFFF else "control character"
            raise ValueError(f"{kind} U+{code:04X} in {where}, character {found.start() + 1}")


def _broken(path: Path, number: int, reason: str) -> UserError:
    """`number` of the line or row; 0: the file as a whole."""
    form = format_of(path)
    if len(reason) > _LONGEST_REASON:
        reason = reason[:_LONGEST_REASON] + " ..."
    return UserError(
        found=f"{path} {form.unit} {number}: {reason}" if number else f"{path}: {reason}",
        expected=form.expected,
        run_next=f"correct that {form.unit if number else 'file'} and run the same command again",
    )


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their ends. Only LF ends a line: str.splitlines would also break at U+2028 and at others."""
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            if number == 1 and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise _broken(path, number, "UTF-16, not UTF-8 text")
            try:
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise _broken(path, number, f"not UTF-8 text (at byte {error.start + 1})") from error


def _jsonl(path: Path) -> Rows:
    for number, line in _lines(path):
        text = line.rstrip(_BLANK)
        if not text:
            continue
        try:
            data = json.loads(text, object_pairs_hook=_object)
        except json.JSONDecodeError as error:
            raise _broken(path, number, f"not JSON: {error.msg} (character {error.colno})") from error
        except (ValueError, RecursionError) as error:  # a field twice, an endless number; brackets without end
            raise _broken(path, number, str(error)) from error
        if not isinstance(data, dict):
            raise _broken(path, number, "not a JSON object")
        yield number, data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) != len(pairs):
        raise ValueError(f"a field twice in one object, among {', '.join(repr(name) for name, _ in pairs)}")
    return data


def _txt(path: Path) -> Rows:
    for number, line in _lines(path):
        # Spaces around a line are invisible; VBench's own samplers strip its lists as well.
        if text := line.removesuffix("\n").removesuffix("\r").strip(" \t"):
            yield number, {"prompt": text}


def _csv(path: Path) -> Rows:
    """Rows by the line on which they begin; rows without any content, as spreadsheets leave them, are skipped."""
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    header: list[str] = []
    while True:
        start = reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise _broken(path, start, _csv_reason(str(error))) from error
        if row is None:
            return
        if not any(cell.strip(_BLANK) for cell in row):
            continue
        if not header:
            header = [name.strip() for name in row]
            _check_columns(path, start, header)
        elif len(row) != len(header):
            comma = " (a prompt with a comma needs quotes)" if len(row) > len(header) else ""
            raise _broken(path, start, f"{len(row)} fields, the header has {len(header)}{comma}")
        else:
            yield start, dict(zip(header, row, strict=True))


def _csv_reason(reason: str) -> str:
    if "unexpected end of data" in reason:
        return "a quote that is never closed"
    if "new-line character" in reason:
        return "control character U+000D outside quotes; lines end with LF or CR LF"
    if "field limit" in reason:
        return f"{reason}: a quote that is never closed?"
    return f"not CSV: {reason}"


def _parquet(path: Path) -> Rows:
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    number = 0
    try:
        with path.open("rb") as stream, pq.ParquetFile(stream) as file:
            names = list(file.schema_arrow.names)
            _check_columns(path, 0, names)
            for batch in file.iter_batches(batch_size=1000):
                columns = batch.columns
                for index in range(batch.num_rows):
                    number += 1
                    yield number, _cells(path, number, names, [column[index] for column in columns])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _broken(path, 0, f"not readable as Parquet: {error}") from error


def _cells(path: Path, number: int, names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    cells = {}
    for name, value in zip(names, values, strict=True):
        try:
            cells[name] = value.as_py()
        except (ValueError, ArithmeticError) as error:  # text that is not UTF-8, a time beyond Python's
            raise _broken(path, number, f"column {name!r} is not readable: {error}") from error
    return cells


def _check_columns(path: Path, number: int, names: Sequence[str]) -> None:
    seen = [name for name in names if not name.startswith(_PANDAS_INDEX)]
    listed = ", ".join(map(repr, seen)) or "none"
    if "prompt" not in seen:
        raise _broken(path, number, f"no column 'prompt'; the columns are {listed}")
    if len(set(seen)) != len(seen):
        raise _broken(path, number, f"two columns of one name; the columns are {listed}")
    if "" in seen:
        raise _broken(path, number, f"a column without a name (an index of pandas?); the columns are {listed}")
    if "attributes" in seen:
        raise _broken(path, number, f"a column 'attributes'; each attribute has its own; the columns are {listed}")


def _from_cells(cells: Mapping[str, Any]) -> dict[str, Any]:
    """A table's row as the fields of a JSON line. Empty cells are left out, so both have the same sha256."""
    fields: dict[str, Any] = {"prompt": ""}
    attributes: dict[str, str] = {}
    for name, cell in cells.items():
        if cell is None or cell == "" or (isinstance(cell, float) and cell != cell) or name.startswith(_PANDAS_INDEX):
            continue
        if name == "prompt":
            fields[name] = cell
        elif name == "prompt_id":
            fields[name] = str(cell).strip() if isinstance(cell, str) or type(cell) is int else cell
        elif name == "dimensions":
            parts = cell.split(";") if isinstance(cell, str) else cell
            fields[name] = [part.strip() for part in parts if part.strip()] if isinstance(cell, str) else parts
        elif name == "held_out":
            if str(cell).strip().casefold() not in _TRUTH:
                raise ValueError(f"held_out is {cell!r}, not true, false, 1 or 0")
            fields[name] = _TRUTH[str(cell).strip().casefold()]
        elif isinstance(cell, str | int | float):
            attributes[name] = str(cell)
        else:
            raise ValueError(f"column {name!r} holds a {type(cell).__name__}; an attribute is text or a number")
    return {**fields, "attributes": attributes}


FORMATS = {
    ".jsonl": Format(_jsonl, 'one JSON object a line, such as {"prompt_id": "cat-1", "prompt": "a cat walks"}'),
    ".csv": Format(_csv, "UTF-8, fields parted by commas, a first line that names a column `prompt`", _from_cells),
    ".txt": Format(_txt, "UTF-8, one prompt a line, no control characters", illegal=_ILLEGAL_IN_A_LINE),
    ".parquet": Format(_parquet, "a Parquet file with a text column `prompt`", _from_cells, unit="row"),
}
